"""All runs on one dataset as a page."""
