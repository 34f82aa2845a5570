"""``DenseHeadRegressor``: the dense head as an sklearn regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array

from featcache.data.tasks import Regression
from featcache.errors import UsageError

from .dense_head import DenseHead
from .epoch_estimator import Prepared
from .rows_aside import whole_strata

_LOSSES = ("squared", "huber")
_LARGEST = float(np.finfo(np.float32).max)  # which the last layer's weights can still give


class DenseHeadRegressor(RegressorMixin, DenseHead):
    """Features > dense > dropout > … > one number, trained by mini-batches.

    What is learnt is y with the mean of the rows learnt from taken off, in their standard deviations; so learning rates
    that suit one number suit another. What a fitted one gives is in y's own unit: its last layer has the unit in it.

    Parameters
    ----------
    units : int or tuple of int, default=256
        Width of each hidden layer.
    loss : {"squared", "huber"}, default="squared"
        Squared differences, or Huber's loss, which grows evenly beyond one standard deviation: outliers pull less.
    activation : {"relu", "sigmoid", "tanh", "elu", "gelu", "linear"}, default="relu"
        Of the hidden layers.
    dropout : float, default=0.25
        Share of each hidden layer that a training step leaves out; not used with ``batch_norm``.
    batch_norm : bool, default=False
        Batch normalisation after each hidden layer, in place of dropout.
    l2 : float, default=0.0
        Penalty on the squares of the hidden kernels.
    optimizer : {"adam", "adamw", "sgd"}, default="adam"
        As in Keras.
    learning_rate : float, default=0.001
        Of the optimiser.
    momentum : float, default=0.0
        Of sgd.
    weight_decay : float, default=0.004
        Of adamw.
    epochs : int, default=40
        How often each row is learnt from.
    batch_size : int, default=32
        Rows of one step.
    shuffle : bool, default=True
        Whether each epoch takes the rows in a new order.
    patience : int, optional
        Stop after so many epochs without a lower validation loss, and go back to the best weights.
    checkpoint : bool, default=False
        Run all epochs, and keep the weights of the lowest validation loss.
    validation_fraction : float, default=0.2
        Share of the rows set aside, stratified by fifths of y, where ``patience`` or ``checkpoint`` needs some and
        ``fit`` is given none.
    random_state : int, RandomState or None, default=None
        What initial weights, order and dropout are drawn from.

    Attributes
    ----------
    n_features_in_ : int
        Width of the rows.
    weights_ : list of float32 arrays
        In Keras' order; what they give is in y's unit.
    history_ : dict of str to list of float
        Learning curves: ``loss``, in standard deviations of y (squared differences: in their squares); ``mae``, the
        mean absolute error, in y's unit; and ``val_loss``, ``val_mae`` where there was validation.
    n_iter_ : int
        Epochs run.
    best_epoch_ : int
        The epoch that the weights are from.

    Examples
    --------
    >>> import numpy as np
    >>> from heads import DenseHeadRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(80, 16))
    >>> age = 50 + 10 * X[:, 0] + rng.normal(size=80)
    >>> head = DenseHeadRegressor(16, dropout=0.0, epochs=60, learning_rate=0.01, random_state=0).fit(X, age)
    >>> head.predict(X).shape
    (80,)
    >>> head.score(X, age) > 0.95
    True
    """

    def __init__(
        self,
        units: int | tuple[int, ...] = 256,
        *,
        loss: str = "squared",
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
        super().__init__(
            units,
            activation=activation,
            dropout=dropout,
            batch_norm=batch_norm,
            l2=l2,
            optimizer=optimizer,
            learning_rate=learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            patience=patience,
            checkpoint=checkpoint,
            validation_fraction=validation_fraction,
            random_state=random_state,
        )
        self.loss = loss

    def check(self) -> None:
        """Raise for a parameter that no fit can take, whatever the data.

        Raises
        ------
        UsageError
            Names the parameter and what is expected.
        """
        if self.loss not in _LOSSES:
            raise UsageError(f"loss {self.loss!r} is unknown; expected one of {', '.join(_LOSSES)}")
        super().check()

    @property
    def _loss(self) -> str:
        return self.loss

    @property
    def _n_targets(self) -> int:
        return 1

    def _checked(self, *arrays: Any, reset: bool) -> Any:
        if len(arrays) == 1:
            return super()._checked(*arrays, reset=reset)
        X, y = super()._checked(*arrays, reset=reset)
        return X, self.targets_of(y)

    def _new_targets(self, y: np.ndarray) -> np.ndarray:
        return y

    def targets_of(self, y: Any) -> np.ndarray:
        """Numbers as they are learnt.

        Parameters
        ----------
        y : array of shape (n_samples,)
            The numbers.

        Returns
        -------
        float64 array of shape (n_samples,)
            The same.

        Raises
        ------
        ValueError
            What is no number, not finite, or too large for float32.
        """
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y").reshape(-1)
        if len(y) and np.abs(y).max() > _LARGEST:
            raise ValueError(f"y holds {y[np.abs(y).argmax()]:g}; expected numbers of at most {_LARGEST:.3g}")
        return y

    def _strata(self, targets: np.ndarray) -> np.ndarray:
        return whole_strata(Regression("y").strata(targets), self.validation_fraction)

    def _besides(self, ready: Prepared) -> dict[str, Any]:
        counting = ready.rows[ready.weight[ready.rows] != 0]
        y = ready.targets[counting if len(counting) else ready.rows]
        return {"unit": (float(y.mean()), float(y.std()) or 1.0)}

    def predict(self, X: Any) -> np.ndarray:
        """The number of each row.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or :class:`featcache.StoredRows` of that shape
            The features.

        Returns
        -------
        float64 array of shape (n_samples,)
            In y's unit.
        """
        return self._outputs(X)
