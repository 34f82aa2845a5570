"""``DenseHeadClassifier``: the dense head as an sklearn classifier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special
from sklearn.utils.validation import check_is_fitted

from featcache.system import memory

from . import engine
from .architectures import BN_EPSILON, HeadShape, dense_head
from .epoch_classifier import EpochClassifier, Layer, OnEpoch, Prepared, blocks
from .train_spec import Job, TrainedHead, TrainSpec


@dataclass(frozen=True)
class _Hidden:
    """A hidden layer's part in one pass: what enters its activation, what batch normalisation multiplies by (ones where
    there is none), and what leaves it."""

    kernel: np.ndarray
    before: np.ndarray
    scale: np.ndarray
    output: np.ndarray


class DenseHeadClassifier(EpochClassifier):
    """Features > dense > dropout > … > output, trained by mini-batches on cross-entropy.

    Parameters
    ----------
    units : int or tuple of int
        Width of each hidden layer.
    activation : {"relu", "sigmoid", "tanh", "elu", "gelu", "linear"}
    dropout : float
        Share of each hidden layer that a training step leaves out; not used with ``batch_norm``.
    batch_norm : bool
        Batch normalisation after each hidden layer, in place of dropout.
    l2 : float
        Penalty on the squares of the hidden kernels.
    optimizer : {"adam", "adamw", "sgd"}
    learning_rate, momentum, weight_decay : float
        ``momentum`` is for sgd, ``weight_decay`` for adamw.
    epochs, batch_size : int
    shuffle : bool
        Whether each epoch takes the rows in a new order.
    class_weight : None, "balanced" or dict
        As everywhere in sklearn.
    patience : int, optional
        Stop after so many epochs without a lower validation loss, and go back to the best weights.
    checkpoint : bool
        Run all epochs, and keep the weights of the lowest validation loss.
    validation_fraction : float
        Share of the rows set aside, stratified, where ``patience`` or ``checkpoint`` needs some and ``fit`` is
        given none.
    random_state : int, RandomState or None

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    n_features_in_ : int
    weights_ : list of arrays, in Keras' order
    history_ : dict of learning curves: loss, accuracy, and val_loss, val_accuracy where there was validation
    n_iter_ : int, epochs run
    best_epoch_ : int, the epoch that the weights are from
    """

    def __init__(
        self,
        units: int | tuple[int, ...] = 256,
        *,
        activation: str = "relu",
        dropout: float = 0.25,
        batch_norm: bool = False,
        l2: float = 0.0,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.004,
        epochs: int = 40,
        batch_size: int = 32,
        shuffle: bool = True,
        class_weight: Any = None,
        patience: int | None = None,
        checkpoint: bool = False,
        validation_fraction: float = 0.2,
        random_state: Any = None,
    ) -> None:
        self.units = units
        self.activation = activation
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.l2 = l2
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.class_weight = class_weight
        self.patience = patience
        self.checkpoint = checkpoint
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        validation_data: tuple[Any, Any] | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> DenseHeadClassifier:
        """Train from scratch.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or :class:`featcache.StoredRows` of that shape
        y : array of shape (n_samples,)
        sample_weight : array of shape (n_samples,), optional
        groups : array of shape (n_samples,), optional
            Which rows belong together, such as images of one patient: what ``patience`` or ``checkpoint`` sets aside to
            validate on are whole groups. :class:`heads.FastGridSearchCV` hands on the groups that it is given.
        validation_data : (X, y), optional
            Rows to validate on after each epoch.
        on_epoch : callable, optional
            Called after each epoch; see :func:`heads.training.engine.train`.

        Raises
        ------
        ValueError
            Fewer than two classes, unknown classes in the validation data, or features that are not finite.
        """
        self.check()
        ready = self.prepare(X, y, sample_weight, validation_data, groups)
        shape, job = self.job(ready)
        engine.require_room(shape, memory.limit())
        return self.adopt(engine.train(ready.X, ready.codes, shape, [job], on_epoch)[0])

    def check(self) -> None:
        self._spec(0)
        self._shape(1, 2)
        self._check_validation_fraction()

    def job(self, ready: Prepared, rows: np.ndarray | None = None) -> tuple[HeadShape, Job]:
        """What the engine is to train; ``rows`` says where in a larger array the prepared rows stand."""
        train, val = ready.rows, ready.val_rows
        if rows is not None:
            train, val = rows[train], rows[val]
        job = Job(self._spec(ready.seed), train, val, ready.weight[ready.rows])
        return self._shape(ready.X.shape[1], len(self.classes_)), job

    def adopt(self, trained: TrainedHead) -> DenseHeadClassifier:
        """Take over a head that the engine trained; returns self, fitted."""
        self.weights_ = trained.weights
        self.history_ = trained.history
        self.n_iter_ = trained.epochs_run
        self.best_epoch_ = trained.best_epoch
        return self

    def _shape(self, n_features: int, n_classes: int) -> HeadShape:
        units = tuple(self.units) if isinstance(self.units, tuple | list | np.ndarray) else (self.units,)
        return HeadShape(n_features, n_classes, units, self.activation, self.batch_norm)

    def _spec(self, seed: int) -> TrainSpec:
        return TrainSpec(
            learning_rate=self.learning_rate,
            dropout=0.0 if self.batch_norm else self.dropout,
            l2=self.l2,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            patience=self.patience,
            checkpoint=self.checkpoint,
            seed=seed,
        )

    # -- what a fitted one gives ---------------------------------------------------------------

    def hidden(self, X: Any) -> np.ndarray:
        """Activations of the first hidden layer, array of shape (n_samples, units), as t-SNE draws them."""
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        return np.concatenate([self._activate(x @ self.weights_[0] + self.weights_[1]) for x in blocks(X)])

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, array of shape (n_samples, n_classes), in the order of ``classes_``."""
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        return np.concatenate([self._probabilities(x) for x in blocks(X)])

    def _probabilities(self, X: np.ndarray) -> np.ndarray:
        for layer in self._hidden_layers(X):
            X = layer.output
        logits = (X @ self.weights_[-2] + self.weights_[-1]).astype(np.float64)
        if logits.shape[1] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def logit_gradient(self, X: np.ndarray, target: np.ndarray) -> np.ndarray:
        """How a class's logit changes with each feature.

        Parameters
        ----------
        X : float32 array of shape (n_samples, n_features)
        target : int array of shape (n_samples,)
            Positions in ``classes_``. Of two classes, which share one output, the first has the negative of its logit.

        Returns
        -------
        array of shape (n_samples, n_features), dropout and batch normalisation as in prediction
        """
        check_is_fitted(self)
        layers = list(self._hidden_layers(X))
        last = self.weights_[-2].T
        gradient = last[target] if len(last) > 1 else last * np.where(target == 1, 1, -1)[:, None].astype(last.dtype)
        for layer in reversed(layers):
            gradient = (gradient * self._slope(layer.before) * layer.scale) @ layer.kernel.T
        return gradient

    def _hidden_layers(self, X: np.ndarray) -> Iterator[_Hidden]:
        shape = self._shape(X.shape[1], len(self.classes_))
        at = 0
        for _ in shape.units:
            kernel, bias = self.weights_[at : at + 2]
            before = X @ kernel + bias
            X, scale = self._activate(before), np.ones_like(bias)
            at += 2
            if shape.batch_norm:
                gamma, beta, mean, variance = self.weights_[at : at + 4]
                X = (X - mean) / np.sqrt(variance + BN_EPSILON) * gamma + beta
                scale = gamma / np.sqrt(variance + BN_EPSILON)
                at += 4
            yield _Hidden(kernel, before, scale, X)

    def to_keras(self) -> Any:
        """The head as a ``keras.Model`` from features to probabilities, weights and all."""
        check_is_fitted(self)
        return dense_head(self._shape(self.n_features_in_, len(self.classes_)), self.dropout, self.l2, self.weights_)

    def weight_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of ``weights_``, known from the parameters and the input's width alone."""
        return self._shape(self.n_features_in_, len(self.classes_)).weight_shapes

    def layers(self) -> list[Layer]:
        """The layer table, the input not counted."""
        check_is_fitted(self)
        shape = self._shape(self.n_features_in_, len(self.classes_))
        table = []
        for inputs, outputs in shape.widths[:-1]:
            table.append(Layer(f"dense, {self.activation}", (outputs,), inputs * outputs + outputs))
            between = Layer("batch normalisation", (outputs,), 4 * outputs)
            table.append(between if self.batch_norm else Layer(f"dropout {self.dropout:g}", (outputs,), 0))
        inputs, outputs = shape.widths[-1]
        last = "sigmoid" if outputs == 1 else "softmax"
        return [*table, Layer(f"output, {last}", (outputs,), inputs * outputs + outputs)]

    def _activate(self, x: np.ndarray) -> np.ndarray:
        if self.activation == "relu":
            return np.maximum(x, 0)
        if self.activation == "sigmoid":
            return special.expit(x)
        if self.activation == "tanh":
            return np.tanh(x)
        if self.activation == "elu":
            return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
        if self.activation == "gelu":
            return (0.5 * x * (1 + special.erf(x / np.sqrt(2)))).astype(x.dtype)
        return x

    def _slope(self, x: np.ndarray) -> np.ndarray:
        """Derivative of :meth:`_activate`."""
        if self.activation == "relu":
            return (x > 0).astype(x.dtype)
        if self.activation == "sigmoid":
            return special.expit(x) * special.expit(-x)
        if self.activation == "tanh":
            return 1 - np.tanh(x) ** 2
        if self.activation == "elu":
            return np.exp(np.minimum(x, 0))
        if self.activation == "gelu":
            return (special.ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)).astype(x.dtype)
        return np.ones_like(x)
