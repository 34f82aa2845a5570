"""``OwnCNNClassifier``: the reference's own network, trained end to end on pixels, as an sklearn classifier."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted, validate_data

from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.backbones.weights import seeded
from featcache.features.stored_rows import StoredRows

from .architectures import HeadShape, own_cnn
from .checked_rows import check_stored
from .cnn_memory import PREDICT_BATCH, require_room
from .epoch_classifier import EpochClassifier
from .epoch_estimator import Layer, OnEpoch
from .epoch_watch import EpochWatch
from .image_batches import image_batches
from .train_spec import TrainSpec


class OwnCNNClassifier(EpochClassifier):
    """Two convolutions, two dense layers with dropout, trained by Adam on cross-entropy.

    There is no frozen part, so nothing is to be cached but the decoded images (backbone ``pixels``); it is trained by
    Keras, fed through ``tf.data``.

    Parameters
    ----------
    units : int, default=64
        Width of the second dense layer; the first has 128.
    activation : {"relu", "sigmoid", "tanh", "elu", "gelu", "linear"}, default="relu"
        Of the dense layers.
    dropout : float, default=0.25
        Share of each dense layer that a training step leaves out.
    learning_rate : float, default=0.001
        Of Adam.
    epochs : int, default=40
        How often each image is learnt from.
    batch_size : int, default=32
        Images of one step.
    class_weight : None, "balanced" or dict, default=None
        As everywhere in sklearn.
    patience : int, optional
        Stop after so many epochs without a lower validation loss, and go back to the best weights.
    checkpoint : bool, default=False
        Run all epochs, and keep the weights of the lowest validation loss.
    validation_fraction : float, default=0.2
        Share of the images set aside, stratified, where ``patience`` or ``checkpoint`` needs some and ``fit`` is
        given none.
    random_state : int, RandomState or None, default=None
        What initial weights, order and dropout are drawn from.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The labels, sorted.
    image_shape_ : tuple of int
        (size, size, 3).
    weights_ : list of float32 arrays
        In Keras' order.
    history_ : dict of str to list of float
        Learning curves: ``loss``, ``accuracy``, and ``val_loss``, ``val_accuracy`` where there was validation.
    n_iter_ : int
        Epochs run.
    best_epoch_ : int
        The epoch that the weights are from.

    Examples
    --------
    >>> import numpy as np
    >>> from heads import OwnCNNClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(12) % 2
    >>> X = rng.integers(0, 100, (12, 16, 16, 3), dtype=np.uint8)
    >>> X[y == 1] += 100  # one class is brighter
    >>> network = OwnCNNClassifier(4, epochs=2, batch_size=6, random_state=0).fit(X, y)
    >>> network.predict_proba(X).shape
    (12, 2)
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
        X : uint8 array of shape (n_samples, size, size, 3), or :class:`featcache.StoredRows` of that shape
            Decoded images.
        y : array of shape (n_samples,)
            Their labels.
        sample_weight : array of shape (n_samples,), optional
            What each image counts in the loss.
        groups : array of shape (n_samples,), optional
            Which images belong together, such as those of one patient: what ``patience`` or ``checkpoint`` sets aside
            to validate on are whole groups.
        validation_data : (X, y), optional
            Images to validate on after each epoch.
        on_epoch : callable, optional
            Called after each epoch with its number, from 1, and a list of one dict, the curves' latest values.

        Returns
        -------
        OwnCNNClassifier
            Itself, fitted.

        Raises
        ------
        ValueError
            Fewer than two classes, unknown classes in the validation data, or images of another shape.
        UsageError
            A parameter that no fit can take, or a network that does not fit below the memory limit.
        """
        return self._fit(X, y, sample_weight, groups, validation_data, on_epoch)

    def fit_stages(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any,
        stages: Sequence[int],
        on_stage: Callable[[int, OwnCNNClassifier], None],
    ) -> None:
        """Train once, and give what trainings of several lengths would.

        Parameters
        ----------
        X : array of shape (n_samples, size, size, 3)
            As in :meth:`fit`.
        y : array of shape (n_samples,)
            As in :meth:`fit`.
        sample_weight : array of shape (n_samples,), or None
            As in :meth:`fit`.
        groups : array of shape (n_samples,), or None
            As in :meth:`fit`.
        stages : sequence of int
            Numbers of epochs.
        on_stage : callable
            Called after each of them as ``on_stage(epochs, network)``.
        """
        longest = clone(self).set_params(epochs=max(stages))

        def at_epoch(epoch: int, watch: EpochWatch) -> None:
            for stage in stages:
                if stage == epoch or (watch.stopped and stage > epoch):
                    on_stage(stage, copy.copy(longest)._adopt(watch).set_params(epochs=stage))

        longest._fit(X, y, sample_weight, groups, None, None, at_epoch)

    def check(self) -> None:
        """Raise for a parameter that no fit can take, whatever the data.

        Raises
        ------
        UsageError
            Names the parameter and what is expected.
        """
        TrainSpec(
            learning_rate=self.learning_rate,
            dropout=self.dropout,
            epochs=self.epochs,
            batch_size=self.batch_size,
            patience=self.patience,
            checkpoint=self.checkpoint,
        )
        HeadShape(1, 2, (self.units,), self.activation)
        self._check_validation_fraction()

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any,
        validation_data: tuple[Any, Any] | None,
        on_epoch: OnEpoch | None,
        at_epoch: Callable[[int, EpochWatch], None] | None = None,
    ) -> OwnCNNClassifier:
        self.check()
        ready = self.prepare(X, y, sample_weight, validation_data, groups)
        _, keras = load_tensorflow()  # which takes room, too
        require_room(self.image_shape_[0], self.units, len(self.classes_), min(self.batch_size, len(ready.rows)))
        with seeded(ready.seed):  # initial weights and the layers' own seeds are drawn here
            model = self._build()
        loss = "binary_crossentropy" if len(self.classes_) == 2 else "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.Adam(self.learning_rate), loss, metrics=["accuracy"], jit_compile=False)
        watch = EpochWatch(keras, self.patience, self.checkpoint, on_epoch, at_epoch)
        validation = image_batches(self.batch_size, ready, ready.val_rows, None) if len(ready.val_rows) else None
        batches = image_batches(self.batch_size, ready, ready.rows, np.random.default_rng([ready.seed, 1]))
        besides = {"epochs": self.epochs, "shuffle": False, "verbose": 0, "callbacks": [watch.callback]}
        try:
            model.fit(batches, validation_data=validation, **besides)
            return self._adopt(watch)
        finally:
            _let_go(model)

    def _adopt(self, watch: EpochWatch) -> OwnCNNClassifier:
        self.weights_ = watch.best_weights or watch.callback.model.get_weights()
        self.history_ = {name: list(values) for name, values in watch.history.items()}
        self.n_iter_ = len(watch.history["loss"])
        self.best_epoch_ = watch.best_epoch or self.n_iter_
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array of shape (n_samples, size, size, 3), or :class:`featcache.StoredRows` of that shape
            Decoded images.

        Returns
        -------
        array of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        last = self._run(X, self.to_keras())
        if last.shape[1] == 1:
            last = np.concatenate([1 - last, last], axis=1)
        last = last.astype(np.float64)
        return last / last.sum(axis=1, keepdims=True)  # float32's softmax adds up to 1 only nearly

    def hidden(self, X: Any) -> np.ndarray:
        """Activations of the first dense layer, as t-SNE draws them.

        Parameters
        ----------
        X : array of shape (n_samples, size, size, 3), or :class:`featcache.StoredRows` of that shape
            Decoded images.

        Returns
        -------
        array of shape (n_samples, 128)
            After the activation.
        """
        _, keras = load_tensorflow()
        model = self.to_keras()
        first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
        return self._run(X, keras.Model(model.inputs[0], first.output))

    def to_keras(self) -> Any:
        """The network as an ordinary Keras model.

        Returns
        -------
        keras.Model
            From images to probabilities, weights and all.
        """
        check_is_fitted(self)
        model = self._build()
        model.set_weights(self.weights_)
        return model

    def weight_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of ``weights_``.

        Returns
        -------
        list of tuple of int
            In Keras' order.
        """
        return [tuple(variable.shape) for variable in self._build().weights]

    def layers(self) -> list[Layer]:
        """The layer table, the input not counted.

        Returns
        -------
        list of Layer
            Name, shape of the output, and parameters of each.
        """
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
        starts = range(0, len(X), PREDICT_BATCH)
        return np.concatenate([model(X[s : s + PREDICT_BATCH], training=False).numpy() for s in starts])

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True  # the nearest tag there is for images
        return tags


def _let_go(model: Any) -> None:
    """Have a trained network hold nothing.

    TensorFlow keeps the graph of Keras' training step for good, and with it the variables: each training would leave
    weights and moments behind (287 MB at 224 pixels).
    """
    tf, _ = load_tensorflow()
    for variable in {id(v): v for v in [*model.variables, *model.optimizer.variables]}.values():
        empty = tf.zeros((0,), variable.dtype)
        tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=empty, validate_shape=False)
