"""The training engine, and the classifiers that train by epochs."""
