"""How good a model is and how far that can be trusted: splits, metrics, intervals, calibration, plots."""
