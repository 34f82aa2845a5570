"""What images are of, as far as the names of their classes say.

Findings speak of lungs where there are some, and of no disease where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Whole words of class names that only chest radiographs have: findings of NIH ChestX-ray14, CheXpert and the covid
# collections.
_CHEST = frozenset(
    [
        "atelectasis",
        "cardiomegaly",
        "consolidation",
        "covid",
        "effusion",
        "emphysema",
        "fibrosis",
        "hernia",
        "infiltration",
        "lung",
        "opacity",
        "pneumonia",
        "pneumothorax",
        "sars",
        "tb",
        "tuberculosis",
    ]
)


@dataclass(frozen=True)
class Words:
    """Parts of sentences.

    Attributes
    ----------
    blind : how a probe tells the classes apart.
    knows : what a model that does as well need not do.
    itself : what is no shortcut, but may show in brightness.
    column : head of a table of probes.
    """

    blind: str
    knows: str
    itself: str
    column: str


_OF_CHEST = Words("without seeing a lung", "know no medicine", "the disease", "without a lung")
_OF_ANYTHING = Words("without seeing the subject", "know nothing about it", "the subject itself", "without the subject")


def words_for(classes: Sequence[str]) -> Words:
    """The words that fit images of these classes."""
    words = {word for name in classes for word in re.findall(r"[a-z]+", name.lower())}
    return _OF_CHEST if words & _CHEST else _OF_ANYTHING
