"""The parts of a spread of a model that learns, against what they are in truth.

    python tests/benchmarks/spread_of_a_ridge.py

A ridge classifier on normal features of two classes, whose accuracy in the whole population is known for whatever it
has learnt. Each line has 250 sets of patients, one image each, with 40 divisions; the truth of *split* is what 3,000
training sets of independent patients differ by.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from heads.evaluation.spread_parts import Spread, variance_over_patients

SETS, REPEATS, TRUE, JUDGED = 250, 40, 3000, 0.2
CASES = ((100, 20, 0.8), (200, 60, 1.0), (400, 100, 1.0), (200, 10, 1.0))


def draw(rng, patients, columns, apart):
    y = rng.permutation(np.arange(patients) % 2)
    X = rng.normal(size=(patients, columns))
    X[:, 0] += apart * (y * 2 - 1)
    return X, y


def fit(X, y):
    target, mean = y * 2 - 1.0, X.mean(axis=0)
    centred = X - mean
    weights = np.linalg.solve(centred.T @ centred + np.eye(X.shape[1]), centred.T @ (target - target.mean()))
    return weights, target.mean() - mean @ weights


def true_accuracy(weights, bias, apart):
    sides = norm.cdf((apart * weights[0] + np.array([bias, -bias])) / np.linalg.norm(weights))
    return sides.mean()


def one_set(rng, patients, columns, apart):
    """The estimates of one set of patients, as variances, and how far its training sets differ in truth."""
    X, y = draw(rng, patients, columns, apart)
    values, variances, true = np.empty((REPEATS, 1)), np.empty(REPEATS), np.empty(REPEATS)
    for repeat in range(REPEATS):
        each = int(patients * JUDGED / 2)
        test = np.concatenate([rng.permutation(np.flatnonzero(y == label))[:each] for label in (0, 1)])
        train = np.setdiff1d(np.arange(patients), test)
        weights, bias = fit(X[train], y[train])
        hits = ((X[test] @ weights + bias > 0) == y[test]).astype(float)
        values[repeat], true[repeat] = hits.mean(), true_accuracy(weights, bias, apart)
        influences = (hits - hits.mean())[None] / len(test)
        variances[repeat] = variance_over_patients(influences, test, y[test])
    spread = Spread(values, variances, JUDGED, None)
    test_images = spread.about()["parts"]["test_images"] ** 2
    # Not the square of what is told, which is never below 0: the mean of that would be too high.
    return test_images, values.var(ddof=1) - (1 - JUDGED) * test_images, true.var(ddof=1)


def main() -> None:
    rng = np.random.default_rng(0)
    print("patients columns | test images: true, estimated | split: independent, of the same patients, estimated")  # noqa: T201
    for patients, columns, apart in CASES:
        learnt = int(patients * (1 - JUDGED))
        known = [true_accuracy(*fit(*draw(rng, learnt, columns, apart)), apart) for _ in range(TRUE)]
        found = np.mean([one_set(rng, patients, columns, apart) for _ in range(SETS)], axis=0)
        mean = np.mean(known)
        sizes = np.sqrt([mean * (1 - mean) / (patients - learnt), found[0], np.var(known), found[2], max(0, found[1])])
        print(patients, columns, "|", " ".join(f"{size:.4f}" for size in sizes))  # noqa: T201


if __name__ == "__main__":
    main()
