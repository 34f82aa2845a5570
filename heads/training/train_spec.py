"""What the training engine is asked for, and what it gives."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field

import numpy as np

from featcache.errors import UsageError

OPTIMIZERS = ("adam", "adamw", "sgd")


@dataclass(frozen=True)
class TrainSpec:
    """How one head is trained. See :class:`heads.DenseHeadClassifier` for the meanings."""

    learning_rate: float = 1e-3
    dropout: float = 0.25
    l2: float = 0.0
    optimizer: str = "adam"
    momentum: float = 0.0
    weight_decay: float = 0.004
    epochs: int = 40
    batch_size: int = 32
    shuffle: bool = True
    patience: int | None = None
    checkpoint: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        share, count = "0 or more, and less than 1", "a whole number, at least 1"
        checks = (
            (self.optimizer in OPTIMIZERS, "optimizer", f"one of {', '.join(OPTIMIZERS)}"),
            (_number(self.learning_rate) and self.learning_rate > 0, "learning_rate", "a number, more than 0"),
            (_number(self.dropout) and 0 <= self.dropout < 1, "dropout", share),
            (_number(self.l2) and self.l2 >= 0, "l2", "0 or more"),
            (_number(self.momentum) and 0 <= self.momentum < 1, "momentum", share),
            (_number(self.weight_decay) and self.weight_decay >= 0, "weight_decay", "0 or more"),
            (_count(self.epochs), "epochs", count),
            (_count(self.batch_size), "batch_size", count),
            (self.patience is None or _count(self.patience), "patience", f"{count}, or None"),
        )
        for good, name, expected in checks:
            if not good:
                raise UsageError(f"{name} {getattr(self, name)!r} is out of range; expected {expected}")

    @property
    def program(self) -> tuple[object, ...]:
        """What must be equal for heads to be trained in one stack."""
        return (self.optimizer, self.epochs, self.batch_size, self.patience, self.checkpoint)


def _number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 1


@dataclass(frozen=True)
class Job:
    """One head to train.

    Attributes
    ----------
    spec : how.
    rows : int array, the rows of ``X`` it learns from.
    val_rows : int array, rows it is validated on after each epoch; may be empty.
    sample_weight : float32 array, a weight for each of ``rows``, or None.
    weights : initial weights in Keras' order; None draws them from the spec's seed.
    balance : float32 array of shape (2, n_labels), what a known 0 and a known 1 of each label count in training; None
        is one each.
    unit : (mean, deviation) of a number, or None. It is learnt with the mean taken off and in deviations, so
        ``weights`` are for that, and the trained head gives the number itself: its last layer has the unit in it.
    """

    spec: TrainSpec
    rows: np.ndarray
    val_rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    sample_weight: np.ndarray | None = None
    weights: list[np.ndarray] | None = None
    balance: np.ndarray | None = None
    unit: tuple[float, float] | None = None


@dataclass
class TrainedHead:
    """A trained head: its weights in Keras' order, its learning curves, and the epoch the weights are from.

    Where there is a unit, ``loss`` is in deviations (of squares: squared), and ``mae`` in the unit.
    """

    weights: list[np.ndarray]
    history: dict[str, list[float]]
    epochs_run: int
    best_epoch: int
