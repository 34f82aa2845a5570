"""A kept model as a folder: its format, its proof, and models to files without pickle."""
