"""Which images there are, where they lie, and how a file becomes pixels."""
