"""A kept model as one file, from an image to probabilities, that runs without this package."""
