"""Images that are unfit to learn from, each with the figure that made it so.

Some faults show in an image alone. Others only beside the rest of the set: a skin lesion is as smooth as a blurred
radiograph. Of these an image is named where it lies beyond a limit that holds for all images, and far outside of what
the set's own images are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .fitness_measures import MEASURES
from .image_summary import PROPERTIES
from .negatives import AGAINST, shared_shades

_FEW = 8  # images, beside fewer of which none is unusual
_DEVIATIONS = 6.0  # of a set's own spread, by its median deviation, beyond which an image is unusual in it
_SOME, _NONE = 0.01, 0.0005  # of the pixels of an image that is in colour, and of one that is grey
_KIND = 0.9  # of a set's images that are in colour, or grey, from which the others are strays


_Found = tuple[str, int, float, float, str]  # fault, position, value, limit, sentence


@dataclass(frozen=True)
class Rule:
    """What makes an image unfit.

    Attributes
    ----------
    fault : what is wrong with it.
    said : in a sentence; the figure stands for ``{}``.
    value : of each image, from the properties and the measures by name.
    limit : the figure from which it is a fault, or up to which.
    above : whether larger figures are worse.
    beside : where it also has to be unusual in its set, by how much at least; None where the figure alone decides.
    unless : faults that explain the figure: images that have one of them are not named for this one. Their rules stand
        before this one.
    """

    fault: str
    said: str
    value: Callable[[dict[str, np.ndarray]], np.ndarray]
    limit: float
    above: bool = True
    beside: float | None = None
    unless: tuple[str, ...] = ("blank",)


RULES = (
    Rule(
        "tiny",
        "its shorter side has {:.0f} pixels",
        lambda of: np.minimum(of["width"], of["height"]),
        64,
        above=False,
        unless=(),
    ),
    Rule("blank", "its greys deviate by {:.1f} levels", lambda of: of["deviation"], 2, above=False, unless=()),
    Rule("low contrast", "its greys span {:.0f} levels", lambda of: of["spread"], 40, above=False),
    Rule(
        "blurred",
        "it changes little when blurred again: {:.2f} of 1",
        lambda of: of["blur"],
        0.5,
        beside=0.1,
        unless=("blank", "tiny"),  # what is blown up is smooth
    ),
    Rule("overexposed", "{:.0%} of its pixels are white", lambda of: of["white"], 0.2, beside=0.15),
    Rule("underexposed", "{:.0%} of its pixels are black", lambda of: of["black"], 0.5, beside=0.2),
    Rule(
        "odd aspect",
        "its longer side is {:.1f} times its shorter",
        lambda of: np.maximum(of["aspect"], 1 / of["aspect"]),
        3,
        beside=1,
    ),
    Rule("burnt-in text", "{:.0f} letters stand in a line", lambda of: of["letters"], 4),
)
#: Names of all faults, in the order in which they are told.
FAULTS = ("tiny", "blank", "inverted", *(rule.fault for rule in RULES[2:]), "stray colour", "stray grey")


def unfit(
    paths: Sequence[str], properties: np.ndarray, measured: np.ndarray, cells: np.ndarray
) -> list[dict[str, Any]]:
    """What is wrong with which images.

    Parameters
    ----------
    paths : of n images.
    properties : array of shape (n, 7), what :data:`heads.auditing.image_summary.PROPERTIES` names.
    measured : array of shape (n, 7), what :data:`heads.auditing.fitness_measures.MEASURES` names.
    cells : array of shape (n, 256), of their sketches.

    Returns
    -------
    ``path fault value limit said`` of each image and fault, by fault; ``limit`` is what the value is beyond.
    """
    of = dict(zip((*PROPERTIES, *MEASURES), (*properties.T, *measured.T), strict=True))
    found: list[_Found] = []
    faulty: dict[str, np.ndarray] = {}
    for rule in RULES:
        values = rule.value(of)
        limit = rule.limit if rule.beside is None else _limit_beside(values, rule.limit, rule.beside)
        rows = values >= limit if rule.above else values < limit
        for other in rule.unless:
            rows &= ~faulty[other]
        faulty[rule.fault] = rows
        found += [
            (rule.fault, row, float(values[row]), limit, rule.said.format(values[row]))
            for row in np.flatnonzero(rows).tolist()
        ]
    found += [*_negatives(cells), *_strays(of["coloured"])]
    order = {fault: place for place, fault in enumerate(FAULTS)}
    return [
        {"path": paths[row], "fault": fault, "value": value, "limit": limit, "said": said}
        for fault, row, value, limit, said in sorted(found, key=lambda one: (order[one[0]], one[1]))
    ]


def _limit_beside(values: np.ndarray, limit: float, least: float) -> float:
    """From where an image is unusual in its set, and beyond the limit of all; never, of few images."""
    if len(values) < _FEW:
        return np.inf
    middle = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - middle)))
    return max(limit, middle + max(least, _DEVIATIONS * deviation))


def _negatives(cells: np.ndarray) -> Iterator[_Found]:
    alike = shared_shades(cells)
    if alike is None:
        return
    for row in np.flatnonzero(alike < AGAINST).tolist():
        said = f"its shades run against those that the set shares: {alike[row]:.2f}"
        yield "inverted", row, float(alike[row]), AGAINST, said


def _strays(coloured: np.ndarray) -> Iterator[_Found]:
    """Images in colour among grey ones, and the other way round."""
    if len(coloured) < _FEW:
        return
    if (coloured < _SOME).mean() >= _KIND:
        for row in np.flatnonzero(coloured >= _SOME).tolist():
            said = f"{coloured[row]:.0%} of its pixels have a colour, in a grey set"
            yield "stray colour", row, float(coloured[row]), _SOME, said
    elif (coloured >= _SOME).mean() >= _KIND:
        for row in np.flatnonzero(coloured < _NONE).tolist():
            said = "hardly any of its pixels has a colour, in a set of colour"
            yield "stray grey", row, float(coloured[row]), _NONE, said
