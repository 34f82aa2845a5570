"""The command line of stage one, and what all verbs share."""
