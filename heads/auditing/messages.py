"""What an audit found, in words that can stand beside a metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..evaluation.listing import first_few, with_and
from .subject import words_for

NOT_AUDITED = "not audited: run 'python cli.py audit' to learn whether metrics on these images can be trusted"
_KINDS = ("shortcut", "column", "leak", "labels", "copies", "images", "balance", "sample")
_FAULTS = {  # that cannot be said with "is" and their name
    "odd_aspect": ("has an odd aspect", "have an odd aspect"),
    "burnt-in_text": ("has burnt-in text", "have burnt-in text"),
    "stray_colour": ("is in colour, in a grey set", "are in colour, in a grey set"),
    "stray_grey": ("is grey, in a set of colour", "are grey, in a set of colour"),
}
_MATTERS = 0.02  # of a score, that comes from a shortcut at least
_SKEWED = 4  # times as many images of one class as of another


def warnings_of(result: Mapping[str, Any]) -> list[str]:
    """The findings of :func:`heads.audit` that a reader of metrics must know, what misleads most first."""
    return [
        *_shortcuts(result),
        *_without(result),
        *_other_names(result),
        *_leaks(result),
        *_labels(result),
        *_copies(result),
        *_images(result),
        *_balance(result),
        *_sample(result),
    ]


def from_audit(warning: str) -> bool:
    """Whether a warning is one of these."""
    return warning.startswith(_KINDS)


def says_unaudited(warning: str) -> bool:
    """Whether a warning is :data:`NOT_AUDITED`, in these words or those of an earlier version."""
    return warning.startswith("not audited:")


def _sample(result: Mapping[str, Any]) -> Iterator[str]:
    if result["images"] < result["of"]:
        yield (
            f"sample: the audit looked at {result['images']:,} of {result['of']:,} images; copies among the others, "
            "and of them, are not known"
        )


def _shortcuts(result: Mapping[str, Any]) -> Iterator[str]:
    words = words_for(result["classes"])
    flagged = [probe for probe in result["shortcuts"] if probe["flag"]]
    blind = [probe for probe in flagged if not probe["disease_shows"] and probe["of"] == "image"]
    if blind:
        yield f"shortcut: {words.blind}, {_scores(blind)}: a model can score as much and {words.knows}"
    metadata = [probe for probe in flagged if probe["of"] == "metadata"]
    if metadata:
        seen = f"a model that sees it in the picture can score as much and {words.knows}"
        yield f"shortcut, by metadata: {_scores(metadata)}: {seen}"
    partly = [probe for probe in flagged if probe["disease_shows"]]
    if partly:
        yield f"shortcut, in part: {_scores(partly)}; some of it may be {words.itself}, where it changes brightness"


def _without(result: Mapping[str, Any]) -> Iterator[str]:
    rest = result["without_shortcuts"]
    if rest and (rest["net"] is None or rest["difference_ci"][0] > _MATTERS):
        yield f"shortcut, and the score: {rest['said'][0].lower()}{rest['said'][1:]}"


def _other_names(result: Mapping[str, Any]) -> Iterator[str]:
    named = [probe for probe in result["shortcuts"] if probe["names_label"]]
    for name in dict.fromkeys(probe["probe"] for probe in named):
        labels = [probe["label"] for probe in named if probe["probe"] == name]
        yield (
            f"column {name}: {_few(labels)} follow{'s' if len(labels) == 1 else ''} from it without exception: is it "
            "another name of the label? Else it is a shortcut, and a perfect one"
        )


def _scores(probes: Sequence[Mapping[str, Any]]) -> str:
    return _SCORES[probes[0]["measure"]](probes)


def _of_classes(probes: Sequence[Mapping[str, Any]]) -> str:
    scores = [f"{probe['score']:.0%} by {probe['probe']}" for probe in probes]
    return f"the classes are told apart to {with_and(scores)} alone (guessing: {probes[0]['chance']:.0%})"


def _of_labels(probes: Sequence[Mapping[str, Any]]) -> str:
    """By probe, the labels that it tells best first."""
    texts = []
    for name in dict.fromkeys(probe["probe"] for probe in probes):
        told = sorted((one for one in probes if one["probe"] == name), key=lambda one: -one["score"])
        labels = [f"{one['label']} ({one['score']:.2f})" for one in told]
        texts.append(f"{_few(labels)} by {name}")
    return f"labels are told, by their ROC areas, to {with_and(texts)} alone (guessing: 0.50)"


def _of_numbers(probes: Sequence[Mapping[str, Any]]) -> str:
    scores = [f"{probe['score']:.2f} by {probe['probe']}" for probe in probes]
    return f"{probes[0]['label']} is told with a rank correlation of {with_and(scores)} alone (guessing: 0)"


_SCORES: dict[str, Callable[[Sequence[Mapping[str, Any]]], str]] = {
    "balanced accuracy": _of_classes,
    "ROC area": _of_labels,
    "rank correlation": _of_numbers,
}


def _leaks(result: Mapping[str, Any]) -> Iterator[str]:
    leaks = result["split_leaks"]
    copies = [
        _count(leaks["duplicates"], "set", "of identical files"),
        _count(leaks["near_duplicates"], "pair", "of near-copies"),
    ]
    if any(leaks.values()):
        texts = with_and([text for text in copies if text])
        yield f"leak: {texts} in different splits; the test has partly been seen in training"
    if groups := result["group_leaks"]:
        first = groups[0]
        text = _count(len(groups), "group", "in more than one split")
        yield f"leak: {text}, such as {first['group']} in {with_and(first['splits'])}"
    inflation = result["leak_inflation"]
    if inflation and inflation["interval"][0] > 0:
        low, high = inflation["interval"]
        yield (
            f"leak inflation: folds that tear groups apart overestimate by {100 * inflation['difference']:.1f} points "
            f"({100 * low:.1f} to {100 * high:.1f})"
        )


def _labels(result: Mapping[str, Any]) -> Iterator[str]:
    conflicts = sum(pair["kind"] == "label conflict" for pair in result["near_duplicates"])
    conflicts += sum(group["conflict"] for group in result["duplicates"])
    if conflicts:
        yield f"labels: {_count(conflicts, 'pair', 'of copies')} labelled differently, so one label of each is wrong"


def _copies(result: Mapping[str, Any]) -> Iterator[str]:
    near = sum(pair["kind"] == "same class" for pair in result["near_duplicates"])
    same = sum(not group["conflict"] and len(set(group["splits"])) == 1 for group in result["duplicates"])
    texts = [_count(same, "set", "of identical files"), _count(near, "pair", "of near-copies")]
    if near or same:
        found = with_and([text for text in texts if text])
        yield f"copies: {found} within a class; there are fewer patients than images"


def _images(result: Mapping[str, Any]) -> Iterator[str]:
    if result["unreadable"]:
        yield f"images: {len(result['unreadable'])} cannot be read"
    for fault, paths in result["quality"].items():
        if paths:
            is_so, are_so = _FAULTS.get(fault, (f"is {fault.replace('_', ' ')}", f"are {fault.replace('_', ' ')}"))
            yield f"images: {len(paths)} {are_so if len(paths) > 1 else is_so}"


def _balance(result: Mapping[str, Any]) -> Iterator[str]:
    if result["learns"]["kind"] != "classes":
        return  # a label may be rare, and each image has the one number
    counts: Counter[str] = Counter()
    for of_split in result["per_split"].values():
        counts.update(of_split)
    (most, many), *_, (least, few) = counts.most_common()
    if many > _SKEWED * few:
        yield f"balance: {many} images of {most}, {few} of {least}; look at the balanced accuracy"


def _few(names: Sequence[str], most: int = 5) -> str:
    return with_and(names) if len(names) <= most else first_few(names, most)


def _count(number: int, thing: str, rest: str) -> str:
    return f"{number} {thing}{'s' if number != 1 else ''} {rest}" if number else ""
