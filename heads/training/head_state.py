"""One head in training: its weights, its batches to come, its learning curves, and the best that it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .architectures import HeadShape
from .flat_layout import FlatLayout
from .train_spec import Job, TrainedHead
from .weight_layout import WeightLayout

Batches = tuple[np.ndarray, np.ndarray, np.ndarray]
_KNOBS = ("learning_rate", "dropout", "l2", "momentum", "weight_decay")
_SLOTS = {"adam": 2, "adamw": 2, "sgd": 1}  # numbers that an optimiser keeps for each weight


@dataclass
class HeadState:
    """What changes while a head trains, and what it trains with.

    Attributes
    ----------
    job : Job
        What was asked.
    layout : WeightLayout or FlatLayout
        How the program holds the weights.
    measure : str
        What the learning curves have besides ``loss``.
    weights, slots : list of tf.Variable, or of arrays
        The weights, and what the optimiser keeps for them; of arrays all in one, of shape (slots, ...).
    validation : (int32 array, float32 array)
        Rows to validate on, and which of their places are filled.
    balance : float32 array of shape (2, outputs)
        What a known 0 and a known 1 of each label count.
    knobs : dict of tensors
        Learning rate and the like.
    seed : tensor
        Of dropout.
    whole_kernel : array of shape (n_features, units), or None
        The first kernel as it was at the start, where the head trains on some of its columns.
    used : bool array of shape (n_features,), or None
        Which those are.
    """

    job: Job
    layout: WeightLayout | FlatLayout
    measure: str
    weights: list[Any]
    slots: list[Any]
    validation: tuple[np.ndarray, np.ndarray]
    balance: np.ndarray
    knobs: dict[str, Any]
    seed: Any
    whole_kernel: np.ndarray | None = None
    used: np.ndarray | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    best_loss: float = np.inf
    best_epoch: int = 0
    best_weights: list[np.ndarray] | None = None
    stopped_at: int | None = None

    def __post_init__(self) -> None:
        parts = ("", "val_") if len(self.job.val_rows) else ("",)
        self.history = {f"{part}{name}": [] for part in parts for name in ("loss", self.measure)}
        self._rng = np.random.default_rng([self.job.spec.seed, 1])

    @classmethod
    def start(
        cls,
        tf: Any,
        job: Job,
        shape: HeadShape,
        layout: WeightLayout | FlatLayout,
        weights: list[np.ndarray],
        used: np.ndarray | None,
        places: int,
    ) -> HeadState:
        """A head before its first step, from weights in Keras' order.

        ``used`` are the columns it trains on, ``places`` the length that its list of rows to validate on is filled up
        to. In a flat layout it is held in arrays, and ``tf`` may be None.
        """
        whole = weights[0] if used is not None else None
        if used is not None:
            weights = [weights[0][used], *weights[1:]]
        arranged = layout.arrange(weights)
        count, validation = _SLOTS[job.spec.optimizer], padded(job.val_rows, places)
        balance = np.ones((2, shape.n_outputs), np.float32) if job.balance is None else job.balance
        what = (job, layout, shape.measure)
        if isinstance(layout, FlatLayout):
            kept = [np.zeros((count, *w.shape), np.float32) for w in arranged]
            return cls(*what, arranged, kept, validation, balance, {}, None, whole, used)
        knobs = {name: tf.constant(getattr(job.spec, name), tf.float32) for name in _KNOBS}
        return cls(
            *what,
            [tf.Variable(w) for w in arranged],
            [tf.Variable(tf.zeros_like(arranged[place])) for place in layout.trainable for _ in range(count)],
            validation,
            balance,
            {**knobs, "balance": tf.constant(balance)},
            tf.constant(job.spec.seed % 2**31),
            whole,
            used,
        )

    @property
    def own_steps(self) -> int:
        """Steps in an epoch of this head; not more than the stack has places for."""
        return -(-len(self.job.rows) // self.job.spec.batch_size)

    @property
    def latest(self) -> dict[str, float]:
        """The last values of the learning curves."""
        return {name: values[-1] for name, values in self.history.items()}

    def batches(self, epochs: int, steps: int) -> Batches:
        """Rows, sample weights and presence of each place in each batch, arrays of shape (epochs, steps, batch).

        The last batch of an epoch is short, as in Keras: its empty places point at row 0 and are not present.
        """
        spec, rows, count = self.job.spec, self.job.rows, len(self.job.rows)
        size = (epochs, steps * spec.batch_size)
        order, weight, present = np.zeros(size, np.int32), np.zeros(size, np.float32), np.zeros(size, np.float32)
        for epoch in range(epochs):
            shuffled = self._rng.permutation(count) if spec.shuffle else np.arange(count)
            order[epoch, :count] = rows[shuffled]
            weight[epoch, :count] = 1 if self.job.sample_weight is None else self.job.sample_weight[shuffled]
        present[:, :count] = 1
        parts = (epochs, steps, spec.batch_size)
        return order.reshape(parts), weight.reshape(parts), present.reshape(parts)

    def note(self, curves: np.ndarray, epoch: int) -> None:
        """Take in the values of some epochs, of which ``epoch`` is the last; keep the best weights, and stop where
        patience has run out."""
        scale = 1.0 if self.job.unit is None else self.job.unit[1]
        for position, values in enumerate(self.history.values()):
            values += (curves[:, position] * scale if position % 2 else curves[:, position]).tolist()
        spec = self.job.spec
        if spec.patience is None and not spec.checkpoint:
            return
        loss = self.history["val_loss"][-1]
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_weights = loss, epoch, self.current()
        elif spec.patience is not None and epoch - self.best_epoch >= spec.patience:
            self.stopped_at = epoch

    def current(self) -> list[np.ndarray]:
        """The weights as they stand, in Keras' order, and in the target's unit."""
        weights = self.layout.restore([w if isinstance(w, np.ndarray) else w.numpy() for w in self.weights])
        if self.whole_kernel is not None:
            kernel = self.whole_kernel.copy()
            kernel[self.used] = weights[0]
            weights[0] = kernel
        if self.job.unit is not None:
            mean, deviation = self.job.unit
            weights[-2] = (weights[-2] * np.float64(deviation)).astype(np.float32)
            weights[-1] = (weights[-1] * np.float64(deviation) + mean).astype(np.float32)
        return weights

    def result(self, done: int) -> TrainedHead:
        """The head after ``done`` epochs of its stack."""
        ran = self.stopped_at or done
        history = {name: list(values) for name, values in self.history.items()}
        weights = self.best_weights if self.best_weights is not None else self.current()
        return TrainedHead(weights, history, ran, self.best_epoch or ran)


def padded(rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """A list of rows filled up to ``length``, int32, and which places are filled, float32."""
    index, filled = np.zeros(length, np.int32), np.zeros(length, np.float32)
    index[: len(rows)], filled[: len(rows)] = rows, 1
    return index, filled
