"""The cache: immutable shards of rows, an index over them, and their maintenance."""
