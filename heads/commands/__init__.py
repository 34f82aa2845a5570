"""The command line of stage two."""
