"""From images to the page in one command, and the same again from a file."""
