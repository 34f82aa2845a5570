"""``DenseHeadClassifier``: the dense head as an sklearn classifier."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dense_head import DenseHead
from .epoch_classifier import EpochClassifier


class DenseHeadClassifier(EpochClassifier, DenseHead):
    """Features > dense > dropout > … > output, trained by mini-batches on cross-entropy.

    Parameters
    ----------
    units : int or tuple of int, default=256
        Width of each hidden layer.
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
    class_weight : None, "balanced" or dict, default=None
        As everywhere in sklearn.
    patience : int, optional
        Stop after so many epochs without a lower validation loss, and go back to the best weights.
    checkpoint : bool, default=False
        Run all epochs, and keep the weights of the lowest validation loss.
    validation_fraction : float, default=0.2
        Share of the rows set aside, stratified, where ``patience`` or ``checkpoint`` needs some and ``fit`` is
        given none.
    random_state : int, RandomState or None, default=None
        What initial weights, order and dropout are drawn from.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The labels, sorted.
    n_features_in_ : int
        Width of the rows.
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
    >>> from heads import DenseHeadClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.array(["covid", "normal"])[np.arange(40) % 2]
    >>> X = rng.normal(size=(40, 16)) + 2 * (y == "covid")[:, None]
    >>> head = DenseHeadClassifier(8, epochs=30, learning_rate=0.01, random_state=0).fit(X, y)
    >>> head.predict(X[:2]).tolist()
    ['covid', 'normal']
    >>> head.predict_proba(X).shape
    (40, 2)
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
        self.class_weight = class_weight

    @property
    def _loss(self) -> str:
        return "class"

    @property
    def _n_targets(self) -> int:
        return len(self.classes_)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or :class:`featcache.StoredRows` of that shape
            The features.

        Returns
        -------
        array of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return self._outputs(X)
