"""What metrics are called in sentences, tables and pictures."""

from __future__ import annotations

TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "recall": "recall",
    "roc_auc": "ROC area",
    "mean_roc_auc": "mean ROC area",
    "mae": "mean absolute error",
}
