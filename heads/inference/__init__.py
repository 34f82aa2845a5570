"""A kept model at work: on new images, beside another, and what speaks for its answers."""
