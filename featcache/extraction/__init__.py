"""Stage one: from images to rows in the store, each computed once."""
