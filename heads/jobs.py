"""What the training engine is asked for, and what it gives."""

from __future__ import annotations

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
        checks = (
            (self.optimizer in OPTIMIZERS, f"optimizer {self.optimizer!r}", f"one of {', '.join(OPTIMIZERS)}"),
            (self.learning_rate > 0, f"learning_rate {self.learning_rate!r}", "more than 0"),
            (0 <= self.dropout < 1, f"dropout {self.dropout!r}", "0 or more, and less than 1"),
            (self.l2 >= 0, f"l2 {self.l2!r}", "0 or more"),
            (self.epochs >= 1, f"epochs {self.epochs!r}", "at least 1"),
            (self.batch_size >= 1, f"batch_size {self.batch_size!r}", "at least 1"),
            (self.patience is None or self.patience >= 1, f"patience {self.patience!r}", "at least 1, or None"),
        )
        for good, found, expected in checks:
            if not good:
                raise UsageError(f"{found} is out of range; expected {expected}")

    @property
    def program(self) -> tuple[object, ...]:
        """What must be equal for heads to be trained in one stack."""
        return (self.optimizer, self.epochs, self.batch_size, self.patience, self.checkpoint)


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
    """

    spec: TrainSpec
    rows: np.ndarray
    val_rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    sample_weight: np.ndarray | None = None
    weights: list[np.ndarray] | None = None


@dataclass
class TrainedHead:
    """A trained head: its weights in Keras' order, its learning curves, and the epoch the weights are from."""

    weights: list[np.ndarray]
    history: dict[str, list[float]]
    epochs_run: int
    best_epoch: int
