"""The reference: what the students' report of :data:`TITLE` trained, with the metrics it states, as data.

Its settings are the defaults of ``fit-head``; its metrics stand beside ours in ``reproduce``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featcache.errors import UsageError

TITLE = "Chest X-Ray Scan Classification"


@dataclass(frozen=True)
class ReferenceRow:
    """One network that the reference trained.

    Attributes
    ----------
    id : str
        Short name: ``b`` is the binary task, ``m`` that of four classes.
    task : str
        ``binary`` or ``multiclass``.
    backbone : str
        A frozen backbone, or ``own-cnn``.
    settings : mapping of str to object
        Hyperparameters, as :func:`heads.fit_head` takes them.
    total, trainable : int or None
        Parameters, as in its layer tables; None where it shows none.
    metrics : mapping of str to float
        ``train_accuracy``, ``val_loss`` … as it states them; empty where it states none.
    """

    id: str
    task: str
    backbone: str
    settings: Mapping[str, Any]
    total: int | None
    trainable: int | None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """``dense`` or ``own-cnn``."""
        return "own-cnn" if self.backbone == "own-cnn" else "dense"


_DEFAULTS: dict[str, dict[str, Any]] = {
    "binary": {"activation": "relu", "dropout": 0.25, "learning_rate": 0.005, "epochs": 40},
    "multiclass": {"activation": "relu", "dropout": 0.25, "learning_rate": 0.0001, "epochs": 100},
}


def defaults(task: str, model: str) -> dict[str, Any]:
    """The reference's settings before tuning.

    Raises :class:`UsageError` for an unknown task.
    """
    if task not in _DEFAULTS:
        raise UsageError(f"task {task!r} is unknown; expected {' or '.join(_DEFAULTS)}")
    return {**_DEFAULTS[task], "units": 64 if model == "own-cnn" else 256}


def _row(
    id: str,
    backbone: str,
    parameters: tuple[int, int] | None,
    changes: Mapping[str, Any] | None = None,
    **stated: tuple[float, float | None],
) -> ReferenceRow:
    """A row; ``parameters`` are the total and the trainable ones, and each part has its accuracy and loss."""
    task = "binary" if id.startswith("b") else "multiclass"
    settings = {**defaults(task, "own-cnn" if backbone == "own-cnn" else "dense"), **(changes or {})}
    metrics = {
        f"{part}_{name}": value
        for part, values in stated.items()
        for name, value in zip(("accuracy", "loss"), values, strict=True)
        if value is not None
    }
    total, trainable = parameters or (None, None)
    return ReferenceRow(id, task, backbone, settings, total, trainable, metrics)


_TUNED_BINARY = {"dropout": 0.20, "learning_rate": 0.001, "epochs": 120}
_TUNED_VGG16 = {"activation": "sigmoid", "dropout": 0.15, "epochs": 120, "checkpoint": True}
_TUNED_OWN = {"dropout": 0.15, "units": 32, "learning_rate": 0.001, "epochs": 120, "checkpoint": True}
_VGG16_BINARY, _VGG16_MULTICLASS = (21_137_729, 6_423_041), (21_138_500, 6_423_812)
ROWS = (
    _row("b-own", "own-cnn", (23_935_041, 23_935_041)),
    _row("b-vgg16", "vgg16", _VGG16_BINARY, train=(0.96, None), val=(0.90, None)),
    _row("b-vgg19", "vgg19", (26_447_425, 6_423_041), train=(0.91, None), val=(0.95, None)),
    _row("b-resnet50", "resnet50", (49_278_337, 25_690_625), train=(0.98, None), val=(0.50, None)),
    _row("b-vgg16-tuned", "vgg16", _VGG16_BINARY, _TUNED_BINARY, train=(0.96, 0.1068), val=(1.00, None)),
    _row("m-vgg16", "vgg16", _VGG16_MULTICLASS, train=(0.79, 0.55), val=(0.68, 0.74)),
    _row("m-inceptionresnetv2", "inceptionresnetv2", (64_168_420, 9_831_684), train=(0.76, 0.57), val=(0.32, 3.86)),
    _row("m-resnet50", "resnet50", (49_279_108, 25_691_396), train=(0.815, 0.3685), val=(0.41, 4.1713)),
    _row("m-xception", "xception", (46_552_876, 25_691_396), train=(0.76, 0.5768), val=(0.3864, 2.2823)),
    _row("m-own", "own-cnn", (23_935_236, 23_935_236), train=(0.51, 1.1029), val=(0.52, 0.9131)),
    _row(
        "m-vgg16-tuned",
        "vgg16",
        _VGG16_MULTICLASS,
        _TUNED_VGG16,
        train=(0.82, 0.4535),
        val=(0.63, 0.7785),
        test=(0.7222, 0.587),
    ),
    _row(
        "m-own-tuned",
        "own-cnn",
        None,
        _TUNED_OWN,
        train=(0.5619, 0.9462),
        val=(0.5682, 0.4992),
        test=(0.4166, 1.163),
    ),
)
# Networks whose first dense layer the reference draws by t-SNE.
TSNE_OF = ("b-vgg16-tuned", "m-vgg16-tuned", "m-own-tuned")
# Its toy problem: 32 filters of 3 x 3 x 3 over 120 images of 224 x 224 x 3, 50 times, in seconds.
CONVOLUTION = {"cpu_seconds": 14.5, "gpu_seconds": 0.31}

# Its grids, and the best of each; both by 3 folds. Without epochs of its own, a grid stops early, at most after the
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
