"""What is done after each epoch of a training by Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .epoch_estimator import OnEpoch


class EpochWatch:
    """After each epoch: note loss and accuracy, keep the best weights, stop where patience has run out."""

    def __init__(
        self,
        keras: Any,
        patience: int | None,
        checkpoint: bool,
        on_epoch: OnEpoch | None,
        at_epoch: Callable[[int, EpochWatch], None] | None,
    ) -> None:
        self.history: dict[str, list[float]] = {}
        self.best_weights: list[np.ndarray] | None = None
        self.best_epoch = 0
        self.stopped = False
        self._best = np.inf
        self._watching = patience is not None or checkpoint
        self._patience, self._on_epoch, self._at_epoch = patience, on_epoch, at_epoch
        self.callback = keras.callbacks.LambdaCallback(on_epoch_end=self._end_of_epoch)

    def _end_of_epoch(self, epoch: int, logs: dict[str, float]) -> None:
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        if self._on_epoch:
            self._on_epoch(epoch + 1, [dict(logs)])
        if self._watching:
            self._keep_best(epoch + 1, logs["val_loss"])
        if self._at_epoch:
            self._at_epoch(epoch + 1, self)

    def _keep_best(self, epoch: int, loss: float) -> None:
        model = self.callback.model
        if loss < self._best:
            self._best, self.best_epoch, self.best_weights = loss, epoch, model.get_weights()
        elif self._patience is not None and epoch - self.best_epoch >= self._patience:
            model.stop_training = self.stopped = True
