"""What the report "Chest X-Ray Scan Classification" trained, with the figures it gives, as data.

Its settings are the defaults of ``fit-head``; its figures stand beside ours in ``reproduce``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featcache.errors import UsageError


@dataclass(frozen=True)
class ReportRow:
    """One network the report trained.

    Attributes
    ----------
    id : short name: ``b`` is the binary task, ``m`` that of four classes.
    backbone : a frozen backbone, or ``own-cnn``.
    settings : hyperparameters, as :func:`heads.experiments.head_fit.fit_head` takes them.
    total, trainable : parameters, as in its layer tables; None where it shows none.
    figures : ``train_accuracy``, ``val_loss`` … as it states them; empty where it states none.
    """

    id: str
    task: str
    backbone: str
    settings: Mapping[str, Any]
    total: int | None
    trainable: int | None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """``dense`` or ``own-cnn``."""
        return "own-cnn" if self.backbone == "own-cnn" else "dense"


_DEFAULTS: dict[str, dict[str, Any]] = {
    "binary": {"activation": "relu", "dropout": 0.25, "learning_rate": 0.005, "epochs": 40},
    "multiclass": {"activation": "relu", "dropout": 0.25, "learning_rate": 0.0001, "epochs": 100},
}


def defaults(task: str, model: str) -> dict[str, Any]:
    """The report's settings before tuning.

    Raises :class:`UsageError` for an unknown task.
    """
    if task not in _DEFAULTS:
        raise UsageError(f"task {task!r} is unknown; expected {' or '.join(_DEFAULTS)}")
    return {**_DEFAULTS[task], "units": 64 if model == "own-cnn" else 256}


def _row(
    id: str,
    backbone: str,
    total: int | None,
    trainable: int | None,
    changes: Mapping[str, Any] | None = None,
    **figures: float,
) -> ReportRow:
    task = "binary" if id.startswith("b") else "multiclass"
    settings = {**defaults(task, "own-cnn" if backbone == "own-cnn" else "dense"), **(changes or {})}
    return ReportRow(id, task, backbone, settings, total, trainable, figures)


ROWS = (
    _row("b-own", "own-cnn", 23_935_041, 23_935_041),
    _row("b-vgg16", "vgg16", 21_137_729, 6_423_041, train_accuracy=0.96, val_accuracy=0.90),
    _row("b-vgg19", "vgg19", 26_447_425, 6_423_041, train_accuracy=0.91, val_accuracy=0.95),
    _row("b-resnet50", "resnet50", 49_278_337, 25_690_625, train_accuracy=0.98, val_accuracy=0.50),
    _row(
        "b-vgg16-tuned", "vgg16", 21_137_729, 6_423_041,
        {"dropout": 0.20, "learning_rate": 0.001, "epochs": 120},
        train_accuracy=0.96, val_accuracy=1.00, train_loss=0.1068,
    ),
    _row(
        "m-vgg16", "vgg16", 21_138_500, 6_423_812,
        train_accuracy=0.79, val_accuracy=0.68, train_loss=0.55, val_loss=0.74,
    ),
    _row(
        "m-inceptionresnetv2", "inceptionresnetv2", 64_168_420, 9_831_684,
        train_accuracy=0.76, val_accuracy=0.32, train_loss=0.57, val_loss=3.86,
    ),
    _row(
        "m-resnet50", "resnet50", 49_279_108, 25_691_396,
        train_accuracy=0.815, val_accuracy=0.41, train_loss=0.3685, val_loss=4.1713,
    ),
    _row(
        "m-xception", "xception", 46_552_876, 25_691_396,
        train_accuracy=0.76, val_accuracy=0.3864, train_loss=0.5768, val_loss=2.2823,
    ),
    _row(
        "m-own", "own-cnn", 23_935_236, 23_935_236,
        train_accuracy=0.51, val_accuracy=0.52, train_loss=1.1029, val_loss=0.9131,
    ),
    _row(
        "m-vgg16-tuned", "vgg16", 21_138_500, 6_423_812,
        {"activation": "sigmoid", "dropout": 0.15, "epochs": 120, "checkpoint": True},
        train_accuracy=0.82, val_accuracy=0.63, train_loss=0.4535, val_loss=0.7785, test_accuracy=0.7222,
        test_loss=0.587,
    ),
    _row(
        "m-own-tuned", "own-cnn", None, None,
        {"dropout": 0.15, "units": 32, "learning_rate": 0.001, "epochs": 120, "checkpoint": True},
        train_accuracy=0.5619, val_accuracy=0.5682, train_loss=0.9462, val_loss=0.4992, test_accuracy=0.4166,
        test_loss=1.163,
    ),
)  # fmt: skip
# Networks whose first dense layer the report draws by t-SNE.
TSNE_OF = ("b-vgg16-tuned", "m-vgg16-tuned", "m-own-tuned")
# Its toy problem: 32 filters of 3 x 3 x 3 over 120 images of 224 x 224 x 3, 50 times, in seconds.
CONVOLUTION = {"cpu_seconds": 14.5, "gpu_seconds": 0.31}

# Its grids, and what each found best; both by 3 folds. Without epochs of its own, a grid stops early, at most after the
# task's number of epochs.
GRIDS: dict[tuple[str, str], dict[str, list[Any]]] = {
    ("binary", "dense"): {
        "learning_rate": [0.001, 0.005, 0.01, 0.05, 0.1],
        "epochs": [40, 80, 120],
        "activation": ["sigmoid", "relu"],
        "dropout": [0.15, 0.2, 0.25],
    },
    ("multiclass", "dense"): {
        "learning_rate": [0.0001, 0.001, 0.00001],
        "activation": ["sigmoid", "relu"],
        "dropout": [0.15, 0.2, 0.25],
    },
    ("multiclass", "own-cnn"): {
        "learning_rate": [0.0001, 0.001, 0.01],
        "activation": ["sigmoid", "relu"],
        "dropout": [0.15, 0.2, 0.25],
        "units": [32, 64],
    },
}
BEST: dict[tuple[str, str], dict[str, Any]] = {
    ("binary", "dense"): {"learning_rate": 0.001, "epochs": 120, "activation": "relu", "dropout": 0.2},
    ("multiclass", "dense"): {"learning_rate": 0.0001, "activation": "sigmoid", "dropout": 0.15},
    ("multiclass", "own-cnn"): {"learning_rate": 0.001, "activation": "relu", "dropout": 0.15, "units": 32},
}
