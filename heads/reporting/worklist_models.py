"""Rows about what models make of the images: shortcuts, weak subgroups, and patients who move the value."""

from __future__ import annotations

import contextlib

from featcache.errors import FeatcacheError

from ..evaluation.listing import with_and
from ..evaluation.metric_titles import TITLES
from ..evaluation.subgroups import subgroups
from .worklist_facts import Facts, influence_of, influence_points, some
from .worklist_rows import LEAVE_OUT, NOT_KNOWN, Choice, Stake, WorklistRow


def shortcuts(facts: Facts) -> list[WorklistRow] | None:
    """What tells the answer without the subject: by how much a score falls without it, where the audit has said so."""
    audit = facts.collected.audit
    if audit is None:
        return None
    flagged = [probe for probe in audit.about.get("shortcuts", ()) if probe["flag"]]
    if not flagged:
        return []
    names = list(dict.fromkeys(str(probe["probe"]) for probe in flagged))
    who = with_and(names)
    rest = audit.about.get("without_shortcuts")
    best = max(flagged, key=lambda probe: probe["score"] - probe["chance"])
    if rest and rest.get("difference") is not None:
        low, high = rest["difference_ci"]
        stake = Stake(100 * max(0.0, rest["difference"]), "estimate")
        told = f" Without it {stake.text} points ({100 * low:.1f} to {100 * high:.1f}) of balanced accuracy are gone."
    else:
        measured = best.get("measure", "balanced accuracy") != "rank correlation"
        stake = Stake(100 * max(0.0, best["score"] - best["chance"]), "at most") if measured else NOT_KNOWN
        told = f" The best reaches {best['score']:.2f}, where guessing gives {best['chance']:.2f}."
    return [
        WorklistRow(
            key="shortcuts",
            source="shortcuts",
            kind="Shortcut",
            stake=stake,
            reason=f"{who[0].upper()}{who[1:]} alone tell{'s' if len(names) == 1 else ''} the answer.{told}",
            to_do="Take the images of all classes from the same places in the same way, as far as you can; until then "
            "judge on images of another place (evaluate).",
        )
    ]


def weak_subgroups(facts: Facts) -> list[WorklistRow] | None:
    """The worst subgroup of each column whose gap is beyond chance: what is lost there, times its share of the test."""
    told = [(run, test) for run in facts.collected.runs for test in run.tests if test.get("subgroups")]
    if not told:
        none = facts.dataset is not None and not facts.dataset.metadata
        return [] if none else None
    run, test = told[0]
    found = test["subgroups"]
    metric, overall = found["metric"], test.get(found["metric"])
    rows = []
    for column, about in found["columns"].items():
        gap = about.get("gap")
        part = about["subgroups"].get(gap["worst"]) if gap and gap["shown"] else None
        if part is None or part.get("value") is None or overall is None:
            continue
        share = part["images"] / test["n"] if test["n"] else 0.0
        lost = abs(overall - part["value"]) * share
        points = 100 * lost if metric != "mae" else 100 * lost / overall if overall else 0.0
        rows.append(
            WorklistRow(
                key=f"subgroup {column} {gap['worst']}",
                source="weak subgroups",
                kind="Weak subgroup",
                stake=Stake(points, "estimate"),
                reason=f"{column} {gap['worst']}, {part['images']:,} test images of {part['patients']:,} patients or "
                f"other groups: {TITLES[metric]} {part['value']:.3f}, of all {overall:.3f} ({run.folder.name}).",
                to_do="Look whether its images or labels differ; gather more of it, and say its own value beside the "
                "whole one.",
                images=_members(facts, column, gap["worst"]),
            )
        )
    return rows


def _members(facts: Facts, column: str, name: str) -> tuple[str, ...]:
    """Test images of a subgroup, where its name tells them: of text, or of few numbers."""
    if facts.dataset is None or not facts.test:
        return ()
    with contextlib.suppress(FeatcacheError):
        mask = subgroups(facts.dataset.metadata, column)[column].get(name)
        if mask is not None:
            return tuple(p for p, own in zip(facts.dataset.paths, mask, strict=True) if own and p in facts.test)
    return ()


def influence(facts: Facts) -> list[WorklistRow] | None:
    """The patient without whom in training the ridge's value changes most, by just that change."""
    found = influence_of(facts.collected)
    if found is None:
        ran = any(run.verb == "baselines" for run in facts.collected.runs)
        return [] if ran or facts.main.kind == "labels" else None
    run, told = found
    most, value = told["most"], told["value"]
    if not most["change"]:
        return []
    paths = tuple(path for path in facts.of_group(str(most["group"])) if facts.part(path) != "test")
    images = "1 image" if most["images"] == 1 else f"{most['images']} images"
    count = "1 image" if len(paths) == 1 else f"{len(paths)} images"
    offered = Choice(f"Leave out {count} of {most['group']}", LEAVE_OUT, paths)
    return [
        WorklistRow(
            key=f"influence {most['group']}",
            source="influence",
            kind="Patient who moves the value most",
            stake=Stake(influence_points(told, most["change"]), "estimate"),
            reason=f"Without {most['group']} ({images}) in training the ridge's {TITLES[told['metric']]} on test would "
            f"be {value + most['change']:.3f} in place of {value:.3f} ({run.folder.name})"
            f"{f': {some(facts, paths)}' if paths else ''}.",
            to_do="Look at the images and their labels. Keep them if they are right: to be unlike the others is no "
            "fault.",
            images=paths,
            choices=(offered,) if paths else (),
            pictured=paths[:4],
        )
    ]
