"""Stage two: what is trained on the features that :mod:`featcache` keeps."""
