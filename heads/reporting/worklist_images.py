"""Rows about single images: labels that may be wrong, copies, torn patients, and images unfit to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..evaluation.listing import first_few
from .worklist_facts import Facts, some
from .worklist_rows import LEAVE_OUT, NOT_KNOWN, RELABEL, Choice, Stake, WorklistRow

_CLASSES = 20  # of more, only the suggested one is offered


def wrong_labels(facts: Facts) -> list[WorklistRow] | None:
    """A row for each suspect of a search for wrong labels.

    At stake is the image's share of the test, times the suspicion: so much of the value is expected to be wrong where
    the label is. Of an image that is learnt from it is its share of what leaving out its patient does to the
    ridge, times the suspicion, where that was measured.
    """
    searches = facts.collected.label_errors
    if not searches:
        return [] if facts.main.kind == "number" else None
    return [_suspect(facts, run.classes, run.kind, one) for run in searches for one in run.about["suspects"]]


def _suspect(facts: Facts, classes: Sequence[str], kind: str, one: Mapping[str, Any]) -> WorklistRow:
    path, copy = str(one["path"]), one.get("copy")
    score, about = float(one["score"]), one.get("about")
    part = facts.part(path, str(one.get("part", "")))
    if facts.parts and part != "test":
        moved = facts.moved.get(str(one.get("group", "")))
        stake = NOT_KNOWN if moved is None else Stake(score * moved, "estimate")
    else:
        of = facts.answers if facts.parts else facts.images
        stake = Stake(100 * score / of if of else None, "estimate" if of else "not known")
    where = {"test": "in test", "train": "in train", "val": "in val"}.get(part, "")
    images = (path,) if copy is None else (path, str(copy))
    choices = _relabelled(path, [one["suggested"]], " (suggested)") if kind == "classes" else ()
    if kind == "classes" and len(classes) <= _CLASSES:
        others = [name for name in classes if name not in (one["label"], one["suggested"])]
        choices += _relabelled(path, others)
    choices += (Choice("Leave it out", LEAVE_OUT, (path,)),)
    if copy is not None:
        choices += (Choice("Leave out both copies", LEAVE_OUT, images),)
    said = f"relabel it as {one['suggested']} if you agree" if kind == "classes" else "leave it out if you agree"
    return WorklistRow(
        key=f"label {about or ''} {path}",
        source="wrong labels",
        kind="Copies with different labels" if copy is not None else "Label that may be wrong",
        stake=stake,
        reason=f"{some(facts, [path])}{f', {where},' if where else ''} stands as {one['label']}: {one['reason']}.",
        to_do=f"Look at it; {said}, else keep it.",
        images=images,
        choices=choices,
        pictured=images,
        doubt=score + (copy is not None),
    )


def _relabelled(path: str, labels: Sequence[str], note: str = "") -> tuple[Choice, ...]:
    return tuple(Choice(f"Relabel as {label}{note}", f"{RELABEL}{label}", (path,)) for label in labels)


@dataclass(frozen=True)
class _Set:
    """Images that show one exposure, with what each is labelled and which part it is in."""

    labels: dict[str, str]
    parts: dict[str, str]
    conflict: bool

    @property
    def tested(self) -> tuple[str, ...]:
        return tuple(path for path, part in self.parts.items() if part == "test")

    @property
    def learnt(self) -> tuple[str, ...]:
        return tuple(path for path, part in self.parts.items() if part in ("train", "val"))


def _sets(facts: Facts) -> list[_Set]:
    """Copies, exact and near, joined where one image stands in several pairs."""
    audit = facts.collected.audit
    assert audit is not None
    found: dict[int, _Set] = {}
    of_path: dict[str, _Set] = {}
    for paths, labels, splits, conflict in _linked(audit.about):
        whole = _Set({}, {}, conflict)
        parts = [facts.part(path, split) for path, split in zip(paths, splits, strict=True)]
        for old in {id(of_path[path]): of_path[path] for path in paths if path in of_path}.values():
            whole = _Set(whole.labels | old.labels, whole.parts | old.parts, whole.conflict or old.conflict)
            del found[id(old)]
        whole.labels.update(zip(paths, labels, strict=True))
        whole.parts.update(zip(paths, parts, strict=True))
        found[id(whole)] = whole
        of_path.update(dict.fromkeys(whole.labels, whole))
    return list(found.values())


def _linked(about: Mapping[str, Any]) -> Iterator[tuple[list[str], list[str], list[str], bool]]:
    for same in about.get("duplicates", ()):
        labels = same["labels"]
        if not len(same["paths"]) == len(labels) == len(same["splits"]):
            continue  # of a file that was not written here
        yield same["paths"], labels, same["splits"], bool(same.get("conflict", len(set(labels)) > 1))
    for pair in about.get("near_duplicates", ()):
        yield [pair["a"], pair["b"]], list(pair["labels"]), list(pair["splits"]), pair["kind"] == "label conflict"


def copies(facts: Facts) -> list[WorklistRow] | None:
    """Copies with different labels, a row each; copies of test images that are learnt from; copies within a part."""
    if facts.collected.audit is None:
        return None
    sets = _sets(facts)
    searched = [one for run in facts.collected.label_errors for one in run.about["suspects"]]
    suspects = {str(one["path"]) for one in searched if one.get("copy")}
    rows = [_conflict(facts, one) for one in sets if one.conflict and not suspects & set(one.labels)]
    across = [one for one in sets if one.tested and one.learnt]
    if across:
        tested = tuple(path for one in across for path in one.tested)
        learnt = tuple(path for one in across for path in one.learnt)
        rows.append(
            WorklistRow(
                key="copies across parts",
                source="copies",
                kind="Copies across parts",
                stake=facts.excess(tested),
                reason=f"{_count(tested, 'test image')} {'have' if len(tested) > 1 else 'has'} a copy among the images "
                f"that are learnt from: {some(facts, tested)}.",
                to_do="Leave the copies out of training, so that the test images are new to the model.",
                images=tested + learnt,
                choices=(
                    Choice(f"Leave out {_count(learnt, 'copy', 'copies')} learnt from", LEAVE_OUT, learnt),
                    Choice(f"Leave out {_count(tested, 'test image')}", LEAVE_OUT, tested),
                ),
                pictured=tuple(path for one in across for path in (one.tested[0], one.learnt[0])),
            )
        )
    within = [one for one in sets if not (one.tested and one.learnt) and not one.conflict]
    if within:
        again = tuple(path for one in within for path in list(one.labels)[1:])
        rows.append(
            WorklistRow(
                key="copies within a part",
                source="copies",
                kind="Copies within a part",
                stake=facts.change(again),
                reason=f"{_count(again, 'image')} {'show' if len(again) > 1 else 'shows'} what another one of the same "
                f"part shows, and so count{'' if len(again) > 1 else 's'} twice: {some(facts, again)}.",
                to_do="Leave the copies out; the first of each set stays.",
                images=tuple(path for one in within for path in one.labels),
                choices=(Choice(f"Leave out {_count(again, 'copy', 'copies')}", LEAVE_OUT, again),),
                pictured=tuple(path for one in within for path in list(one.labels)[:2]),
            )
        )
    return rows


def _conflict(facts: Facts, one: _Set) -> WorklistRow:
    """One of the labels is wrong. Which, nobody has asked: each is as likely to be."""
    paths = tuple(one.labels)
    there = list(dict.fromkeys(one.labels.values()))
    wrong = 1 - 1 / len(there)
    points = 100 * wrong * facts.share(paths) if facts.counted.share else None
    said = ", ".join(f"{some(facts, [path])} ({label})" for path, label in list(one.labels.items())[:4])
    choices: tuple[Choice, ...] = ()
    if facts.main.kind == "classes":
        for label in there:
            others = tuple(path for path in paths if one.labels[path] != label)
            choices += (Choice(f"Relabel as {label}, all of them", f"{RELABEL}{label}", others),)
    choices += (Choice("Leave them all out", LEAVE_OUT, paths),)
    return WorklistRow(
        key=f"conflict {' '.join(sorted(paths))}",
        source="copies",
        kind="Copies with different labels",
        stake=Stake(points, "estimate" if points is not None else "not known"),
        reason=f"They show one exposure, and one label is wrong: {said}.",
        to_do="Look at them and give all the label that is right; leave all out if you cannot tell.",
        images=paths,
        choices=choices,
        pictured=paths[:4],
        doubt=2.0,
    )


def torn_groups(facts: Facts) -> list[WorklistRow] | None:
    """Patients, or other groups, with images in test and among those that are learnt from."""
    audit = facts.collected.audit
    if audit is None:
        return None
    torn = [leak for leak in audit.about.get("group_leaks", ()) if "test" in leak["splits"]]
    if not torn:
        return []
    names = [str(leak["group"]) for leak in torn]
    of_torn = [path for name in names for path in facts.of_group(name)]
    tested = tuple(path for path in of_torn if facts.part(path) == "test")
    learnt = tuple(path for path in of_torn if facts.part(path) in ("train", "val"))
    offered = (
        Choice(f"Leave out {_count(learnt, 'image')} learnt from", LEAVE_OUT, learnt),
        Choice(f"Leave out {_count(tested, 'test image')}", LEAVE_OUT, tested),
    )
    are = "patients or other groups have" if len(names) > 1 else "patient or other group has"
    return [
        WorklistRow(
            key="torn groups",
            source="torn patients",
            kind="Patients in several parts",
            stake=facts.excess(tested) if tested else Stake(None, "not known"),
            reason=f"{len(names)} {are} images in test and among those that are learnt from: {first_few(names, 3)}.",
            to_do="Leave their images out of training, or use the audit's manifest.csv, whose splits tear none apart.",
            images=tested + learnt,
            choices=tuple(choice for choice in offered if choice.images),
            pictured=tested[:2] + learnt[:2],
        )
    ]


_FAULTS = {
    "tiny": "smaller than 64 pixels",
    "blank": "one shade all over",
    "inverted": "the negative of what others show",
    "low contrast": "few shades of grey",
    "stray colour": "in colour among grey ones",
    "stray grey": "grey among ones in colour",
}


def unfit_images(facts: Facts) -> list[WorklistRow] | None:
    """Images unfit to learn from or to judge by, a row for each fault; and files that cannot be read."""
    audit = facts.collected.audit
    if audit is None:
        return None
    faults: dict[str, list[str]] = {}
    for fault, paths in audit.about.get("quality", {}).items():
        faults.setdefault(fault.replace("_", " "), []).extend(map(str, paths))
    said: dict[tuple[str, str], str] = {}
    for one in audit.about.get("unfit", ()):
        fault, path = str(one["fault"]).replace("_", " "), str(one["path"])
        faults.setdefault(fault, []).append(path)
        said[fault, path] = str(one["said"])
    rows = [
        _unfit(facts, fault, tuple(dict.fromkeys(paths)), said.get((fault, paths[0]), ""))
        for fault, paths in faults.items()
        if paths
    ]
    unreadable = {str(one["path"]): str(one["reason"]) for one in audit.about.get("unreadable", ())}
    if unreadable:
        paths = tuple(unreadable)
        share = len(paths) / (facts.images or len(paths))
        rows.append(
            WorklistRow(
                key="unfit unreadable",
                source="unfit images",
                kind="Files that cannot be read",
                stake=Stake(100 * min(1.0, share), "at most"),
                reason=f"{_count(paths, 'file')} cannot be read, so no value speaks of "
                f"{'them' if len(paths) > 1 else 'it'}: {some(facts, paths)} ({next(iter(unreadable.values()))}).",
                to_do="Get them again from where they came; leave out what cannot be had.",
                images=paths,
                choices=(Choice(f"Leave out {_count(paths, 'file')}", LEAVE_OUT, paths),),
            )
        )
    return rows


def _unfit(facts: Facts, fault: str, paths: tuple[str, ...], said: str) -> WorklistRow:
    """A row for a fault; ``said`` is what makes the first of the images have it."""
    tested = sum(facts.part(path) == "test" for path in paths)
    what = _FAULTS.get(fault)
    return WorklistRow(
        key=f"unfit {fault}",
        source="unfit images",
        kind=f"Unfit images: {fault}",
        stake=facts.change(paths),
        reason=f"{fault.capitalize()}{f' ({what})' if what else ''}: {_count(paths, 'image')}"
        f"{f', {tested} of them in test' if facts.parts else ''}: {some(facts, paths)}"
        f"{f'; of the first: {said}' if said else ''}.",
        to_do="Look at them; leave out what shows nothing of the subject, and keep the rest.",
        images=paths,
        choices=(Choice(f"Leave out {_count(paths, 'image')}", LEAVE_OUT, paths),),
        pictured=paths[:4],
    )


def _count(paths: Sequence[str], one: str, several: str = "") -> str:
    return f"1 {one}" if len(paths) == 1 else f"{len(paths):,} {several or one + 's'}"
