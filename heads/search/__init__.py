"""Hyperparameter search: sklearn's answers, sooner."""
