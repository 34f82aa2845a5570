"""Ridge regression as a linear smoother: what it gives rows that are left out follows from one decomposition of all.

With an unpenalised intercept, predictions of the rows learnt from are ``H y``, ``H = 11'/n + U diag(s / (s + l)) U'``
for the centred rows' left singular vectors U, their squared singular values s, and a penalty l. Of a model that did not
learn from the rows of a group g, the errors there are ``(I - H_gg)^-1 r_g``, r being the errors of the one that learnt
from all (Allen 1974 of single rows; Cook and Weisberg 1982, 4.3, of several). So every group and every penalty is
exact, and nothing is fitted anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import linalg

_PENALTIES = np.logspace(-3, 3, 13)  # in units of the mean squared length of a centred row
_NOTHING = 64 * np.finfo(np.float64).eps  # a direction with less than this part of the largest square is rounding


def classifier_targets(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """What sklearn's ``RidgeClassifier`` regresses on: 1 in the column of a row's class and -1 in the others, of two
    classes the second's column alone; float64 array of shape (n, n_classes) or (n, 1).

    Parameters
    ----------
    labels : int array of shape (n,), classes counted from 0.
    n_classes : how many there are, two or more.
    """
    signs = np.where(labels[:, None] == np.arange(n_classes), 1.0, -1.0)
    return signs[:, 1:] if n_classes == 2 else signs


class RidgeSmoother:
    """The decomposition of some rows.

    Parameters
    ----------
    X : array of shape (n, d); computed with in float64.
    weight : how much each row counts, array of shape (n,) of numbers above 0; None counts all alike.
    intercept : whether there is one; without it the rows are taken as they stand.
    """

    def __init__(self, X: np.ndarray, weight: np.ndarray | None = None, *, intercept: bool = True) -> None:
        rows = np.asarray(X, np.float64)
        weight = np.ones(len(rows)) if weight is None else np.asarray(weight, np.float64)
        self._roots = np.sqrt(weight)[:, None]
        self._level = self._roots / np.sqrt(weight.sum()) * intercept  # the direction of the intercept
        self._middle = np.average(rows, axis=0, weights=weight) * intercept
        self._rows = self._roots * (rows - self._middle)
        count, columns = rows.shape
        if count <= columns + intercept:
            products = self._rows @ self._rows.T
            # Lifted above all others, the intercept's direction is the last; what is left spans all that is beside it,
            # and no error is a difference of large numbers.
            products += (np.linalg.norm(products) or 1.0) * (self._level @ self._level.T)
            squares, directions = linalg.eigh(products)
            self._directions, squares = directions[:, : count - intercept], squares[: count - intercept]
            self._squares = np.where(squares > _NOTHING * squares.max(initial=0.0), squares, 0.0)
        else:
            squares, axes = linalg.eigh(self._rows.T @ self._rows)
            there = squares > _NOTHING * squares.max()
            self._squares = squares[there]
            self._directions = (self._rows @ axes[:, there]) / np.sqrt(self._squares)
        self._unit = float(self._squares.sum() / weight.sum()) or 1.0
        self._spans_all = len(self._squares) == count - intercept

    @property
    def largest(self) -> float:
        """The largest squared singular value: penalties are weak or strong beside it."""
        return float(self._squares.max(initial=0.0))

    def penalties(self) -> np.ndarray:
        """A ladder of penalties that suits these rows, the weakest first."""
        return _PENALTIES * self._unit

    def left_out(self, targets: np.ndarray, groups: Sequence[np.ndarray], penalty: float) -> list[np.ndarray]:
        """What models that did not learn from a group give its rows.

        Parameters
        ----------
        targets : array of shape (n, m), or (n,).
        groups : positions of the rows of each; they may overlap, and leave rows to learn from.
        penalty : above 0, of the squared length of the slopes.

        Returns
        -------
        For each group an array of shape (rows, m), or (rows,).
        """
        targets = np.asarray(targets, np.float64)
        known = self._roots * targets.reshape(len(targets), -1)
        errors = self._errors(known, penalty)
        lost = self._lost(penalty)
        found: list[np.ndarray] = [np.empty(0)] * len(groups)
        sizes = np.array([len(rows) for rows in groups])
        for size in np.unique(sizes):
            places = np.flatnonzero(sizes == size)
            step = max(1, int(2e7 // max(1, size * max(size, len(lost)))))
            for some in np.array_split(places, -(-len(places) // step)):
                rows = np.stack([np.asarray(groups[place]) for place in some])
                own, level = self._directions[rows], self._level[rows]
                left = (own * lost) @ own.transpose(0, 2, 1)
                if not self._spans_all:
                    left += np.eye(size) - level @ level.transpose(0, 2, 1) - own @ own.transpose(0, 2, 1)
                there = np.linalg.solve(left, errors[rows])
                given = (known[rows] - there) / self._roots[rows]
                for place, one in zip(some, given, strict=True):
                    found[place] = one.reshape(size, *targets.shape[1:])
        return found

    def held_out(self, targets: np.ndarray, folds: Sequence[np.ndarray], penalty: float) -> np.ndarray:
        """The same of folds in which every row stands once, as an array of the targets' shape."""
        whole = np.empty(np.shape(targets))
        for rows, given in zip(folds, self.left_out(targets, folds, penalty), strict=True):
            whole[rows] = given
        return whole

    def best_penalty(self, targets: np.ndarray, folds: Sequence[np.ndarray]) -> float:
        """The penalty of the ladder with the least squared error on what is held out."""
        weight, targets = self._roots**2, np.asarray(targets, np.float64)

        def error(penalty: float) -> float:
            missed = self.held_out(targets, folds, penalty) - targets
            return float((weight * missed.reshape(len(weight), -1) ** 2).sum())

        return float(min(self.penalties(), key=error))

    def model(self, targets: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Slopes of shape (d, m) and intercepts of shape (m,) of the model that learnt from all rows.

        That of the model which did not learn from a group is the same with the group's targets replaced by what
        :meth:`left_out` gives them: they then pull it nowhere.
        """
        targets = np.asarray(targets, np.float64).reshape(len(self._rows), -1)
        along = self._directions.T @ (self._roots * targets)
        slopes = self._rows.T @ (self._directions @ (self._gains(penalty)[:, None] * along))
        return slopes, self._average(targets) - self._middle @ slopes

    def answers(self, X: np.ndarray, penalty: float) -> np.ndarray:
        """What other rows are given by the model of all is ``answers @ targets``.

        Parameters
        ----------
        X : array of shape (k, d).
        penalty : above 0.

        Returns
        -------
        Array of shape (k, n).
        """
        along = (np.asarray(X, np.float64) - self._middle) @ (self._rows.T @ self._directions)
        slopes = (along * self._gains(penalty)) @ self._directions.T
        return np.asarray((slopes + (self._level / np.sqrt(np.square(self._roots).sum())).T) * self._roots.T)

    def _average(self, targets: np.ndarray) -> np.ndarray:
        """Of the targets as the rows count; 0 without an intercept."""
        scale = np.sqrt(np.square(self._roots).sum())
        return np.asarray((self._level * self._roots * targets).sum(axis=0) / scale)

    def _gains(self, penalty: float) -> np.ndarray:
        """What a slope is of a target along each direction, beside the rows' own extent; no slope is of rounding."""
        return np.where(self._squares > 0, 1 / (self._squares + penalty), 0.0)

    def _lost(self, penalty: float) -> np.ndarray:
        """The share of a target along each direction that the model does not follow."""
        return penalty / (self._squares + penalty)

    def _errors(self, known: np.ndarray, penalty: float) -> np.ndarray:
        """Targets minus what the model of all rows gives them, in the weights' roots."""
        along = self._directions.T @ known
        errors = self._directions @ (self._lost(penalty)[:, None] * along)
        if not self._spans_all:
            errors += known - self._level @ (self._level.T @ known) - self._directions @ along
        return np.asarray(errors)
