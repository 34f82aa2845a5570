"""The dense head as an estimator: all but what it learns, which its classes say."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from featcache.system import memory

from . import engine, numpy_forward
from .architectures import HeadShape, dense_head
from .checked_rows import blocks
from .epoch_estimator import EpochEstimator, Layer, OnEpoch, Prepared
from .train_spec import Job, TrainedHead, TrainSpec


class DenseHead(EpochEstimator):
    """Features > dense > dropout > … > output, trained by mini-batches.

    :class:`heads.DenseHeadClassifier` has the meanings of the parameters.
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
    ) -> Self:
        """Train from scratch.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or :class:`featcache.StoredRows` of that shape
            The features.
        y : array of shape (n_samples,) or (n_samples, n_labels)
            Their classes, labels or numbers.
        sample_weight : array of shape (n_samples,), optional
            What each row counts in the loss.
        groups : array of shape (n_samples,), optional
            Which rows belong together, such as images of one patient: what ``patience`` or ``checkpoint`` sets aside to
            validate on are whole groups. :class:`heads.FastGridSearchCV` hands on the groups that it is given.
        validation_data : (X, y), optional
            Rows to validate on after each epoch.
        on_epoch : callable, optional
            Called after each epoch with its number, from 1, and a list of one dict, the curves' latest values.

        Returns
        -------
        DenseHead
            Itself, fitted.

        Raises
        ------
        ValueError
            Targets that cannot be learnt from, such as fewer than two classes or a row without a known label;
            validation data of other targets; or features that are not finite.
        UsageError
            A parameter that no fit can take, or a head that does not fit below the memory limit.
        """
        self.check()
        ready = self.prepare(X, y, sample_weight, validation_data, groups)
        shape, job = self.job(ready)
        engine.require_room(shape, memory.limit())
        return self.adopt(engine.train(ready.X, ready.targets, shape, [job], on_epoch)[0])

    def check(self) -> None:
        """Raise for a parameter that no fit can take, whatever the data.

        Raises
        ------
        UsageError
            Names the parameter and what is expected.
        """
        self._spec(0)
        self._shape(1, 2)
        self._check_validation_fraction()

    def job(self, ready: Prepared, rows: np.ndarray | None = None) -> tuple[HeadShape, Job]:
        """What the engine is asked for, for data that :meth:`prepare` has checked.

        Parameters
        ----------
        ready : Prepared
            What :meth:`prepare` gave.
        rows : int array, optional
            Where the rows of ``ready`` stand in what the engine is given.

        Returns
        -------
        shape : HeadShape
            The head's tensors.
        job : Job
            Rows, weights and settings.
        """
        train, val = ready.rows, ready.val_rows
        if rows is not None:
            train, val = rows[train], rows[val]
        job = Job(self._spec(ready.seed), train, val, ready.weight[ready.rows], **self._besides(ready))
        return self._shape(ready.X.shape[1], self._n_targets), job

    def adopt(self, trained: TrainedHead) -> Self:
        """Take over a head that the engine trained.

        Parameters
        ----------
        trained : TrainedHead
            Weights, learning curves and epochs.

        Returns
        -------
        DenseHead
            Itself, fitted.
        """
        self.weights_ = trained.weights
        self.history_ = trained.history
        self.n_iter_ = trained.epochs_run
        self.best_epoch_ = trained.best_epoch
        return self

    @property
    def _loss(self) -> str:
        """What is learnt: one of :data:`heads.training.architectures.LOSSES`."""
        raise NotImplementedError

    @property
    def _n_targets(self) -> int:
        """Classes, labels, or 1 for a number, once they are known."""
        raise NotImplementedError

    def _besides(self, ready: Prepared) -> dict[str, Any]:
        """What a :class:`Job` is told besides."""
        return {}

    def _shape(self, n_features: int, n_targets: int) -> HeadShape:
        units = tuple(self.units) if isinstance(self.units, tuple | list | np.ndarray) else (self.units,)
        return HeadShape(n_features, n_targets, units, self.activation, self.batch_norm, self._loss)

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
        """Activations of the first hidden layer, as t-SNE draws them.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or :class:`featcache.StoredRows` of that shape
            The features.

        Returns
        -------
        array of shape (n_samples, units)
            Before batch normalisation, where there is one.
        """
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        kernel, bias = self.weights_[:2]
        return np.concatenate([numpy_forward.activated(self.activation, x @ kernel + bias) for x in blocks(X)])

    def logit_gradient(self, X: np.ndarray, target: np.ndarray) -> np.ndarray:
        """How what a head says of a class, a label or a number changes with each feature.

        Of classes and labels it is the logit, of a number the number itself.

        Parameters
        ----------
        X : float32 array of shape (n_samples, n_features)
            The features.
        target : int array of shape (n_samples,)
            Positions of classes, or of labels; 0 for a number. Of two classes, which share one output, the first has
            the negative of its logit.

        Returns
        -------
        array of shape (n_samples, n_features)
            With dropout and batch normalisation as in prediction.
        """
        check_is_fitted(self)
        return numpy_forward.logit_gradient(self._fitted_shape(), self.weights_, X, target)

    def to_keras(self) -> Any:
        """The head as an ordinary Keras model.

        Returns
        -------
        keras.Model
            From features to probabilities or numbers, weights and all.
        """
        check_is_fitted(self)
        return dense_head(self._fitted_shape(), self.dropout, self.l2, self.weights_)

    def weight_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of ``weights_``, known from the parameters and the input's width alone.

        Returns
        -------
        list of tuple of int
            In Keras' order.
        """
        return self._fitted_shape().weight_shapes

    def layers(self) -> list[Layer]:
        """The layer table, the input not counted.

        Returns
        -------
        list of Layer
            Name, shape of the output, and parameters of each.
        """
        check_is_fitted(self)
        shape = self._fitted_shape()
        table = []
        for inputs, outputs in shape.widths[:-1]:
            table.append(Layer(f"dense, {self.activation}", (outputs,), inputs * outputs + outputs))
            between = Layer("batch normalisation", (outputs,), 4 * outputs)
            table.append(between if self.batch_norm else Layer(f"dropout {self.dropout:g}", (outputs,), 0))
        inputs, outputs = shape.widths[-1]
        return [*table, Layer(f"output, {shape.output_activation}", (outputs,), inputs * outputs + outputs)]

    def _fitted_shape(self) -> HeadShape:
        return self._shape(self.n_features_in_, self._n_targets)

    def _outputs(self, X: Any) -> np.ndarray:
        """What the head gives for rows, as :func:`heads.training.numpy_forward.outputs`."""
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        shape = self._fitted_shape()
        return np.concatenate([numpy_forward.outputs(shape, self.weights_, x) for x in blocks(X)])
