"""Sets and intervals of MAPIE and crepes on made-up scores: tests/golden/conformal.json, which was made by this.

    python -m venv other && other/bin/pip install mapie crepes
    other/bin/python tests/benchmarks/conformal_references.py > tests/golden/conformal.json

One image a patient, since neither knows patients. crepes takes any score, so that its sets are of this package's score,
0 of what is said; MAPIE's are of its own (LAC).
"""

from __future__ import annotations

import importlib.metadata
import json
import sys

import numpy as np
from crepes import ConformalClassifier, ConformalRegressor
from mapie.classification import SplitConformalClassifier
from mapie.regression import SplitConformalRegressor
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class Probabilities(ClassifierMixin, BaseEstimator):
    """Rows are the probabilities."""

    def fit(self, X, y):
        self.classes_, self.n_features_in_ = np.arange(X.shape[1]), X.shape[1]
        return self

    def predict_proba(self, X):
        return X

    def predict(self, X):
        return X.argmax(axis=1)


class Numbers(RegressorMixin, BaseEstimator):
    """The one column is the prediction."""

    def fit(self, X, y):
        self.n_features_in_ = 1
        return self

    def predict(self, X):
        return X[:, 0]


def drawn(rng, count):
    y, scores = rng.integers(0, 3, count), rng.normal(0, 1, (count, 3))
    scores[np.arange(count), y] += 1.0
    p = np.exp(scores)
    p = np.round(p / p.sum(axis=1, keepdims=True), 4)
    return y, p / p.sum(axis=1, keepdims=True)


def far(p):
    scores = 1 - p
    scores[np.arange(len(p)), p.argmax(axis=1)] = 0
    return scores


def case(rng, count, coverage):
    (y, p), (_, new) = drawn(rng, count), drawn(rng, 12)
    model = SplitConformalClassifier(Probabilities().fit(p, y), coverage, conformity_score="lac", prefit=True)
    mapie_sets = model.conformalize(p, y).predict_set(new)[1][:, :, 0]
    own = far(p)[np.arange(count), y]
    crepes = ConformalClassifier().fit(own)
    plain = {"confidence": coverage, "smoothing": False}
    by_class = [
        np.asarray(ConformalClassifier().fit(own[y == label]).predict_set(far(new)[:, [label]], **plain))[:, 0]
        for label in range(3)
    ]
    true = rng.normal(50, 10, count).round(2)
    predicted, new_predicted = (true + rng.normal(0, 3, count)).round(2), rng.normal(50, 10, 12).round(2)
    numbers = SplitConformalRegressor(Numbers().fit(predicted[:, None], true), coverage, prefit=True)
    mapie_intervals = numbers.conformalize(predicted[:, None], true).predict_interval(new_predicted[:, None])[1][
        :, :, 0
    ]
    crepes_intervals = ConformalRegressor().fit(true - predicted).predict_int(new_predicted, confidence=coverage)
    return {
        "coverage": coverage,
        "y": y.tolist(),
        "probabilities": p.tolist(),
        "new": new.tolist(),
        "mapie_lac_sets": mapie_sets.astype(int).tolist(),
        "crepes_sets": crepes.predict_set(far(new), confidence=coverage, smoothing=False).astype(int).tolist(),
        "crepes_sets_by_class": np.stack(by_class, axis=1).astype(int).tolist(),
        "numbers": true.tolist(),
        "predicted": predicted.tolist(),
        "new_predicted": new_predicted.tolist(),
        "mapie_intervals": mapie_intervals.tolist(),
        "crepes_intervals": np.asarray(crepes_intervals).tolist(),
    }


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    cases = [case(generator, count, coverage) for count, coverage in ((11, 0.9), (30, 0.9), (30, 0.85), (57, 0.95))]
    versions = {name: importlib.metadata.version(name) for name in ("mapie", "crepes")}
    json.dump({"made_by": versions, "cases": cases}, sys.stdout)
