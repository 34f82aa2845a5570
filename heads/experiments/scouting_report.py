"""What a scouting has to say: a row for each network, and sentences that claim no more than was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featcache.extraction.extract_paths import ExtractResult

from ..evaluation.elimination import Standing
from ..evaluation.listing import with_and
from .scouted_images import ScoutedImages

BEST, RUNNING = "best", "in the running"


@dataclass
class Scouted:
    """A network, and what became of it.

    Attributes
    ----------
    name : what rows call it.
    command : what computes the rest.
    weights, random_weights : their short name, and whether they were drawn.
    feature_set : id of the set that was filled.
    standing : after the last round that it took part in.
    images, patients : of that round.
    computed, reused : images, over all rounds.
    seconds : that computing took, loading the network counted in.
    paid : seconds an image, when those computed here were; where none was, when they all were.
    """

    name: str
    command: str | None = None
    weights: str = ""
    random_weights: bool = False
    feature_set: str = ""
    standing: Standing | None = None
    images: int = 0
    patients: int = 0
    computed: int = 0
    reused: int = 0
    seconds: float = 0.0
    paid: float = 0.0
    _network: float = 0.0

    def add(self, result: ExtractResult) -> None:
        """Count what a round's extraction did."""
        self.feature_set = result.feature_set
        self.reused = result.reused - self.computed  # those of the rounds before have features, too
        self.computed += result.computed
        self._network += result.seconds
        self.seconds += result.seconds + result.phases["ready"]
        if self.computed:
            self.paid = self._network / self.computed
        elif result.reused:
            self.paid = result.saved_seconds / result.reused

    @property
    def stopped(self) -> bool:
        """Whether it is out."""
        return self.standing is not None and self.standing.stopped

    def row(self, alone: bool) -> dict[str, Any]:
        """Plain values; ``alone`` says that it is the only one left."""
        assert self.standing is not None
        gap = self.standing.gap
        status = f"stopped after {self.images} images" if self.stopped else BEST if alone else RUNNING
        return {
            "backbone": self.name,
            "weights": self.weights,
            "feature_set": self.feature_set,
            "score": self.standing.score,
            "score_ci": list(self.standing.score_ci),
            "images": self.images,
            "patients": self.patients,
            "status": status,
            "difference": None if gap is None else gap.value,
            "difference_ci": None if gap is None else list(gap.ci),
            "p": self.standing.p,
            "computed": self.computed,
            "reused": self.reused,
            "seconds": round(self.seconds, 2),
            "images_per_second": round(1 / self.paid, 2) if self.paid else None,
            "random_weights": self.random_weights,
        }


def report_of(
    networks: Sequence[Scouted], images: ScoutedImages, history: Sequence[Mapping[str, int]], seed: int
) -> dict[str, Any]:
    """The result of :func:`heads.scout`, without the task."""
    ranked = sorted(networks, key=lambda one: (one.stopped, -one.images, -_score(one)))
    left = [one for one in ranked if not one.stopped]
    saved = sum((len(images) - one.images) * one.paid for one in ranked if one.stopped)
    return {
        "rows": [one.row(len(left) == 1) for one in ranked],
        "said": _sentences(ranked, left, images, history),
        "rounds": [dict(a_round) for a_round in history],
        "next": [one.command for one in left if one.command is not None],
        "classes": list(images.classes),
        "data": images.data,
        "images": len(images),
        "patients": len(set(images.groups)),
        "images_computed": sum(one.computed for one in ranked),
        "seconds": round(sum(one.seconds for one in ranked), 2),
        "seconds_saved": round(saved, 1),
        "warnings": list(images.warnings),
        "synthetic": images.synthetic,
        "seed": seed,
    }


def _score(one: Scouted) -> float:
    assert one.standing is not None
    return one.standing.score


def _sentences(
    ranked: Sequence[Scouted], left: Sequence[Scouted], images: ScoutedImages, history: Sequence[Mapping[str, int]]
) -> list[str]:
    leader, last = left[0], history[-1]
    seen = _counted(last)
    said = []
    if len(left) == 1:
        said.append(f"{leader.name} is the best of these {len(ranked)} on images like these, as {seen} show")
    else:
        widest = max(
            one.standing.gap.ci[1] for one in left if one.standing is not None and one.standing.gap is not None
        )
        said.append(
            f"{with_and([one.name for one in left])} cannot be told apart with {seen}. That is not equality: "
            f"{leader.name} could be better by up to {widest:.3f}. Take the cheapest of them, or bring more images"
        )
        timed = [one for one in left if one.paid]
        if len(timed) == len(left):
            fastest = min(timed, key=lambda one: one.paid)
            said.append(f"{fastest.name} is the fastest of them here: {1 / fastest.paid:.1f} images/s")
    for one in ranked:
        if one.standing is not None and one.standing.stopped and one.standing.gap is not None:
            gap, (low, high) = one.standing.gap.value, one.standing.gap.ci
            said.append(
                f"{one.name} was stopped after {one.images} images: {gap:.3f} below the leader then ({low:.3f} to "
                f"{high:.3f}), p = {one.standing.p:.2g} corrected for all looks"
            )
    drawn = [one.name for one in ranked if one.random_weights]
    if drawn:
        said.append(f"RANDOM weights: {with_and(drawn)} learnt nothing; such a score shows what needs no learning")
    if any(one.stopped for one in ranked):
        said.append(
            "A network that gains more than the others from more images may have been stopped too early: what is shown "
            "holds for as many as it was given"
        )
    said.append(
        "A score says nothing of shortcuts: what the features tell apart may be the scanner. See featcache audit"
    )
    return said


def _counted(a_round: Mapping[str, int]) -> str:
    patients, images = a_round["patients"], a_round["images"]
    return f"{images} images" if patients == images else f"{patients} patients ({images} images)"
