"""Labels that are probably wrong, from probabilities of models that did not learn from them: confident learning.

Northcutt, Jiang & Chuang 2021. A class's threshold is the mean probability that its own images are given of it: what a
model is used to say of it where it is there. An image is counted as really of a class where its probability reaches
that class's threshold; the table of given against so counted classes, scaled to the images that each class has, tells
how many labels of each class are wrong, and which other class they are likely of. Models that are bold or timid about
a class shift its threshold with it, so that no probability has to be calibrated. Of several thresholds that are reached
the most probable class counts, as the paper has it.

Labels are int arrays of shape (n,), probabilities arrays of shape (n, n_classes) whose rows add up to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_NEAR = 1e-6  # by which a probability may miss a threshold: of a class of one image the threshold is that very value


@dataclass(frozen=True)
class LabelNoise:
    """How many labels are wrong, by class.

    Attributes
    ----------
    thresholds : float array of shape (n_classes,): mean probability that a class's own images are given of it; 1 of a
        class without any.
    joint : float array of shape (n_classes, n_classes): images by the class they are given (rows) and the one they are
        likely of (columns). Rows add up to the images of each class.
    """

    thresholds: np.ndarray
    joint: np.ndarray

    @property
    def wrong(self) -> float:
        """Labels that are estimated to be wrong."""
        return float(self.joint.sum() - np.trace(self.joint))


def label_noise(labels: np.ndarray, probabilities: np.ndarray) -> LabelNoise:
    """Estimate how many labels of each class are wrong; see the module."""
    n, classes = probabilities.shape
    counts = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, probabilities[np.arange(n), labels], minlength=classes)
    thresholds = np.where(counts > 0, own / np.maximum(counts, 1), 1.0)
    sure = probabilities >= thresholds - _NEAR
    # Of several classes that are reached, the most probable; none of an image that reaches no threshold.
    likely = np.where(sure, probabilities, -1).argmax(axis=1)
    said = sure.any(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[said], likely[said]), 1)
    # A class of which no image reaches its own threshold is not for that reason all wrong.
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    joint *= (counts / joint.sum(axis=1))[:, None]
    return LabelNoise(thresholds, joint)


def likely_classes(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The most probable class other than the one given, int array of shape (n,)."""
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1
    return others.argmax(axis=1)


def doubts(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How much speaks against each label, float array of shape (n,), from 0 to 1: 1 minus its probability.

    It is the plainest of five ways: neither the margin to the likeliest other class, nor entropies, nor probabilities
    shifted or scaled by the thresholds ranked labels of radiographs that were made wrong better by more than chance.
    """
    return 1 - probabilities[np.arange(len(labels)), labels]


def suspected(labels: np.ndarray, probabilities: np.ndarray, noise: LabelNoise) -> np.ndarray:
    """Which labels are suspect, bool array of shape (n,): of each pair of classes as many as are estimated to be wrong.

    "Prune by noise rate": of the images that are given one class, those that another class exceeds by most, as many as
    the joint table says are really of that one. An image whose given class is the most probable one is none of them.
    """
    classes = probabilities.shape[1]
    found = np.zeros(len(labels), bool)
    counts = _rounded(noise.joint)
    for given in range(classes):
        rows = np.flatnonzero(labels == given)
        margins = probabilities[rows] - probabilities[rows, given][:, None]
        for likely in range(classes):
            most = int(counts[given, likely])
            if likely != given and most:
                worst = np.argsort(-margins[:, likely], kind="stable")[:most]
                found[rows[worst]] = True
    return found & (probabilities.argmax(axis=1) != labels)


def _rounded(table: np.ndarray) -> np.ndarray:
    """Whole numbers whose rows add up to what they did: what rounding down leaves goes to the largest remainders."""
    whole = np.floor(table + 1e-9)
    for row, left in zip(whole, table - whole, strict=True):
        missing = round(float(left.sum()))
        row[np.argsort(-left, kind="stable")[:missing]] += 1
    return whole
