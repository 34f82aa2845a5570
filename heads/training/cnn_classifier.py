"""``OwnCNNClassifier``: the report's own network, trained end to end on pixels, as an sklearn classifier."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted, validate_data

from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.backbones.weights import seeded
from featcache.errors import UsageError
from featcache.features.stored_rows import StoredRows
from featcache.system import memory

from .architectures import HeadShape, own_cnn, own_cnn_sizes
from .epoch_classifier import EpochClassifier, Layer, OnEpoch, Prepared, check_stored
from .train_spec import TrainSpec

_PREDICT_BATCH = 32
_trained: set[tuple[int, int, int, int]] = set()  # here before: what one takes is part of what this process holds since
# Measured on a CPU as growth of the process's peak, in multiples of the weights' bytes and of one image's activations:
# weights, gradients, Adam's two moments and their copies in passing; activations and their gradients; Keras' own.
_OF_WEIGHTS, _OF_ACTIVATIONS, _BESIDES = 9, 2.2, 100_000_000


def bytes_of(size: int, units: int, n_classes: int, batch_size: int) -> int:
    """What training the network on images of ``size`` pixels, and predicting with it, takes at its peak."""
    parameters, values = own_cnn_sizes(n_classes, size, units)
    return int(4 * (_OF_WEIGHTS * parameters + max(_OF_ACTIVATIONS * batch_size, _PREDICT_BATCH) * values)) + _BESIDES


def require_room(size: int, units: int, n_classes: int, batch_size: int) -> None:
    """Raise :class:`UsageError` where the network does not fit below the limit in force; without one nothing is asked."""
    limit = memory.limit()
    shape = (size, units, n_classes, batch_size)
    if limit is None or shape in _trained:
        return
    held, more = memory.resident(), bytes_of(*shape)
    if limit - held < more:
        raise UsageError(
            f"memory: {limit / 1e6:,.0f} MB are too little; the process holds {held / 1e6:,.0f} MB, and training the own CNN "
            f"on {batch_size} images of {size} x {size} at once takes {more / 1e6:,.0f} MB more. Allow "
            f"{(held + more) / 1e6:,.0f} MB, or take a smaller batch size"
        )
    _trained.add(shape)


class OwnCNNClassifier(EpochClassifier):
    """Two convolutions, two dense layers with dropout, trained by Adam on cross-entropy.

    There is no frozen part, so nothing is to be cached but the decoded images (backbone ``pixels``); it is trained by
    Keras, fed through ``tf.data``.

    Parameters
    ----------
    units : int
        Width of the second dense layer; the first has 128.
    activation : str
        Of the dense layers.
    dropout, learning_rate, epochs, batch_size, class_weight, patience, checkpoint, validation_fraction, random_state
        As in :class:`heads.DenseHeadClassifier`.

    Attributes
    ----------
    classes_, weights_, history_, n_iter_, best_epoch_
        As in :class:`heads.DenseHeadClassifier`.
    image_shape_ : tuple, (size, size, 3)
    """

    def __init__(
        self,
        units: int = 64,
        *,
        activation: str = "relu",
        dropout: float = 0.25,
        learning_rate: float = 1e-3,
        epochs: int = 40,
        batch_size: int = 32,
        class_weight: Any = None,
        patience: int | None = None,
        checkpoint: bool = False,
        validation_fraction: float = 0.2,
        random_state: Any = None,
    ) -> None:
        self.units = units
        self.activation = activation
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
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
    ) -> OwnCNNClassifier:
        """Train from scratch.

        Parameters
        ----------
        X : uint8 array of shape (n_samples, size, size, 3)
        y, sample_weight, groups, validation_data, on_epoch
            As in :meth:`heads.DenseHeadClassifier.fit`.
        """
        return self._fit(X, y, sample_weight, groups, validation_data, on_epoch)

    def fit_stages(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, stages: Sequence[int],
        on_stage: Callable[[int, OwnCNNClassifier], None],
    ) -> None:  # fmt: skip
        """Train for the most of ``stages`` epochs; after each of them ``on_stage(epochs, network)`` is called with what a
        training of so many gives."""
        longest = clone(self).set_params(epochs=max(stages))

        def at_epoch(epoch: int, watch: _Watch) -> None:
            for stage in stages:
                if stage == epoch or (watch.stopped and stage > epoch):
                    on_stage(stage, copy.copy(longest)._adopt(watch).set_params(epochs=stage))

        longest._fit(X, y, sample_weight, groups, None, None, at_epoch)

    def check(self) -> None:
        TrainSpec(
            learning_rate=self.learning_rate, dropout=self.dropout, epochs=self.epochs, batch_size=self.batch_size,
            patience=self.patience, checkpoint=self.checkpoint,
        )  # fmt: skip
        HeadShape(1, 2, (self.units,), self.activation)
        self._check_validation_fraction()

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, validation_data: tuple[Any, Any] | None,
        on_epoch: OnEpoch | None, at_epoch: Callable[[int, _Watch], None] | None = None,
    ) -> OwnCNNClassifier:  # fmt: skip
        self.check()
        ready = self.prepare(X, y, sample_weight, validation_data, groups)
        _, keras = load_tensorflow()  # which takes room, too
        require_room(self.image_shape_[0], self.units, len(self.classes_), min(self.batch_size, len(ready.rows)))
        with seeded(ready.seed):  # initial weights and the layers' own seeds are drawn here
            model = self._build()
        loss = "binary_crossentropy" if len(self.classes_) == 2 else "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.Adam(self.learning_rate), loss, metrics=["accuracy"], jit_compile=False)
        watch = _Watch(keras, self.patience, self.checkpoint, on_epoch, at_epoch)
        validation = self._batches(ready, ready.val_rows, None) if len(ready.val_rows) else None
        batches = self._batches(ready, ready.rows, np.random.default_rng([ready.seed, 1]))
        try:
            model.fit(
                batches,
                validation_data=validation,
                epochs=self.epochs,
                shuffle=False,
                verbose=0,
                callbacks=[watch.callback],
            )
            return self._adopt(watch)
        finally:
            _let_go(model)

    def _adopt(self, watch: _Watch) -> OwnCNNClassifier:
        self.weights_ = watch.best_weights or watch.callback.model.get_weights()
        self.history_ = {name: list(values) for name, values in watch.history.items()}
        self.n_iter_ = len(watch.history["loss"])
        self.best_epoch_ = watch.best_epoch or self.n_iter_
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, array of shape (n_samples, n_classes), in the order of ``classes_``."""
        last = self._run(X, self.to_keras())
        if last.shape[1] == 1:
            last = np.concatenate([1 - last, last], axis=1)
        last = last.astype(np.float64)
        return last / last.sum(axis=1, keepdims=True)  # float32's softmax adds up to 1 only nearly

    def hidden(self, X: Any) -> np.ndarray:
        """Activations of the first dense layer, array of shape (n_samples, 128), as t-SNE draws them."""
        _, keras = load_tensorflow()
        model = self.to_keras()
        first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
        return self._run(X, keras.Model(model.inputs[0], first.output))

    def to_keras(self) -> Any:
        """The network as a ``keras.Model`` from images to probabilities, weights and all."""
        check_is_fitted(self)
        model = self._build()
        model.set_weights(self.weights_)
        return model

    def weight_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of ``weights_``."""
        return [tuple(variable.shape) for variable in self._build().weights]

    def layers(self) -> list[Layer]:
        """The layer table, the input not counted."""
        check_is_fitted(self)
        return [
            Layer(layer.name, tuple(layer.output.shape[1:]), layer.count_params())
            for layer in self._build().layers
            if layer.count_params() or "rescaling" not in layer.name
        ]

    def _build(self) -> Any:
        return own_cnn(len(self.classes_), self.image_shape_[0], self.units, self.dropout, self.activation)

    def _run(self, X: Any, model: Any) -> np.ndarray:
        X = self._checked(X, reset=False)
        starts = range(0, len(X), _PREDICT_BATCH)
        return np.concatenate([model(X[s : s + _PREDICT_BATCH], training=False).numpy() for s in starts])

    def _checked(self, *arrays: Any, reset: bool) -> Any:
        if isinstance(arrays[0], StoredRows):
            checked = check_stored(self, *arrays, reset=reset)
        else:
            checked = validate_data(self, *arrays, dtype=None, allow_nd=True, reset=reset)
        X = checked[0] if isinstance(checked, tuple) else checked
        if X.ndim != 4 or X.shape[1] != X.shape[2] or X.shape[3] != 3:
            raise ValueError(
                f"X has shape {X.shape}; expected decoded images of shape (n_samples, size, size, 3), as "
                'featcache.load("pixels", pooling="map") gives'
            )
        if reset:
            self.image_shape_ = X.shape[1:]
        elif X.shape[1:] != self.image_shape_:
            raise ValueError(f"X holds images of {X.shape[1:]}; this network was fitted on {self.image_shape_}")
        return checked

    def _batches(self, ready: Prepared, rows: np.ndarray, rng: np.random.Generator | None) -> Any:
        """Batches ``(X, y, weight)`` as a ``tf.data.Dataset``, in a new order each epoch where ``rng`` is given."""
        tf, _ = load_tensorflow()
        count = -(-len(rows) // self.batch_size)

        def batches() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
            order = rows if rng is None else rng.permutation(rows)
            for start in range(0, len(order), self.batch_size):
                part = order[start : start + self.batch_size]
                weight = np.ones(len(part), np.float32) if rng is None else ready.weight[part]
                yield ready.X[part], ready.codes[part], weight

        signature = (
            tf.TensorSpec((None, *ready.X.shape[1:]), ready.X.dtype),
            tf.TensorSpec((None,), tf.int64),
            tf.TensorSpec((None,), tf.float32),
        )
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(tf.data.AUTOTUNE)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True  # the nearest tag there is for images
        return tags


def _let_go(model: Any) -> None:
    """Have a trained network hold nothing: TensorFlow keeps the graph of Keras' training step for good, and with it the
    variables, so that each training would leave weights and moments behind (287 MB at 224 pixels)."""
    tf, _ = load_tensorflow()
    for variable in {id(v): v for v in [*model.variables, *model.optimizer.variables]}.values():
        empty = tf.zeros((0,), variable.dtype)
        tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=empty, validate_shape=False)


class _Watch:
    """After each epoch: note the figures, keep the best weights, stop where patience has run out."""

    def __init__(
        self, keras: Any, patience: int | None, checkpoint: bool, on_epoch: OnEpoch | None,
        at_epoch: Callable[[int, _Watch], None] | None,
    ) -> None:  # fmt: skip
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
