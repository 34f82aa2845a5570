"""``DenseHeadMultilabelClassifier``: the dense head as an sklearn classifier of several labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import check_array, check_consistent_length

from featcache.data.tasks import Multilabel
from featcache.errors import UsageError

from .dense_head import DenseHead
from .epoch_estimator import Prepared
from .rows_aside import whole_strata


class DenseHeadMultilabelClassifier(ClassifierMixin, DenseHead):
    """Features > dense > dropout > … > a sigmoid for each label, trained by mini-batches on what is known.

    What a row loses is the sum of the binary cross-entropies of its known labels, divided by the number of all labels.
    So each known label of each row counts alike, and an unknown one adds nothing.

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
    class_weight : None or "balanced", default=None
        Balanced, those of a label's rows that have it and those that have not count alike, and together as before.
    patience : int, optional
        Stop after so many epochs without a lower validation loss, and go back to the best weights.
    checkpoint : bool, default=False
        Run all epochs, and keep the weights of the lowest validation loss.
    validation_fraction : float, default=0.2
        Share of the rows set aside, stratified by each row's rarest label, where ``patience`` or ``checkpoint`` needs
        some and ``fit`` is given none.
    random_state : int, RandomState or None, default=None
        What initial weights, order and dropout are drawn from.

    Attributes
    ----------
    n_outputs_ : int
        Number of labels.
    classes_ : list of n_outputs_ arrays
        Of each label, [0, 1]: not there, and there.
    n_features_in_ : int
        Width of the rows.
    weights_ : list of float32 arrays
        In Keras' order.
    history_ : dict of str to list of float
        Learning curves: ``loss``, ``accuracy`` (the share of known labels that are right), and ``val_loss``,
        ``val_accuracy`` where there was validation.
    n_iter_ : int
        Epochs run.
    best_epoch_ : int
        The epoch that the weights are from.

    Notes
    -----
    sklearn's own metrics, and so ``score`` and a search's scorers by name, refuse unknown labels; so does the choice of
    folds from a number. Give a search a splitter, such as ``KFold(5)``, and a function that scores what is known.

    Examples
    --------
    >>> import numpy as np
    >>> from heads import DenseHeadMultilabelClassifier
    >>> rng = np.random.default_rng(0)
    >>> Y = rng.integers(0, 2, (60, 2)).astype(float)
    >>> X = np.repeat(Y, 8, axis=1) + rng.normal(size=(60, 16))
    >>> Y[:20, 0] = np.nan  # of these rows, only the second label is known
    >>> head = DenseHeadMultilabelClassifier(8, epochs=30, learning_rate=0.01, random_state=0).fit(X, Y)
    >>> head.predict_proba(X).shape
    (60, 2)
    >>> float((head.predict(X) == Y)[20:].mean()) > 0.9
    True
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

    def check(self) -> None:
        """Raise for a parameter that no fit can take, whatever the data.

        Raises
        ------
        UsageError
            Names the parameter and what is expected.
        """
        super().check()
        if not (self.class_weight is None or self.class_weight == "balanced"):
            raise UsageError(f"class_weight {self.class_weight!r}: expected 'balanced' or None, with several labels")

    @property
    def _loss(self) -> str:
        return "labels"

    @property
    def _n_targets(self) -> int:
        return self.n_outputs_

    @property
    def classes_(self) -> list[np.ndarray]:
        """Of each label, [0, 1]: not there, and there."""
        return [np.array([0, 1])] * self.n_outputs_

    def _checked(self, *arrays: Any, reset: bool) -> Any:
        if len(arrays) == 1 or arrays[1] is None:  # without y, sklearn says that it is needed
            return super()._checked(*arrays, reset=reset)
        X, Y = super()._checked(arrays[0], reset=reset), self.targets_of(arrays[1])
        check_consistent_length(X, Y)
        nothing = np.flatnonzero(np.isnan(Y).all(axis=1))
        if len(nothing):
            raise ValueError(
                f"of {len(nothing)} of {len(Y)} rows no label is known, the first is row {nothing[0]}; leave them out"
            )
        if not reset and Y.shape[1] != self.n_outputs_:
            raise ValueError(f"the validation data has {Y.shape[1]} labels; the training data has {self.n_outputs_}")
        return X, Y

    def _new_targets(self, y: np.ndarray) -> np.ndarray:
        nobody = np.flatnonzero(np.isnan(y).all(axis=0))
        if len(nobody):
            which = ", ".join(map(str, nobody))
            raise ValueError(f"label(s) {which}, counted from 0, are known of no row; leave them out")
        self.n_outputs_ = y.shape[1]
        return y

    def targets_of(self, y: Any) -> np.ndarray:
        """Labels as they are learnt.

        Parameters
        ----------
        y : array of shape (n_samples, n_labels)
            1, 0, or NaN where a label is not known.

        Returns
        -------
        float32 array of shape (n_samples, n_labels)
            The same.

        Raises
        ------
        ValueError
            Another shape, or other values.
        """
        Y = check_array(y, dtype=np.float32, ensure_all_finite="allow-nan", input_name="Y")
        odd = ~np.isnan(Y) & (Y != 0) & (Y != 1)
        if odd.any():
            raise ValueError(f"Y holds {Y[odd][0]:g}; expected 1, 0, or NaN where a label is not known")
        return Y

    def _strata(self, targets: np.ndarray) -> np.ndarray:
        return whole_strata(Multilabel().strata(targets), self.validation_fraction)

    def _besides(self, ready: Prepared) -> dict[str, Any]:
        if self.class_weight is None:
            return {}
        Y = ready.targets[ready.rows]
        counts = np.stack([(Y == 0).sum(axis=0), (Y == 1).sum(axis=0)])
        # Where all that is known is the same, there is nothing to balance.
        even = counts.sum(axis=0) / (2 * np.maximum(counts, 1))
        return {"balance": np.where(counts.min(axis=0) > 0, even, 1).astype(np.float32)}

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each label by itself.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or :class:`featcache.StoredRows` of that shape
            The features.

        Returns
        -------
        array of shape (n_samples, n_labels)
            That it is there.
        """
        return self._outputs(X)

    def predict(self, X: Any) -> np.ndarray:
        """The labels that are more probable than not.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or :class:`featcache.StoredRows` of that shape
            The features.

        Returns
        -------
        int array of shape (n_samples, n_labels)
            1 where a label is there, else 0.
        """
        return (self._outputs(X) > 0.5).astype(np.int64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.classifier_tags.multi_class = False
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        return tags
