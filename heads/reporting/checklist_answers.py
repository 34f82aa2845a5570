"""What a page says of the items of a checklist, in sentences to be copied: of its first model and its data.

A sentence repeats what the page shows elsewhere, and claims nothing that the runs and the audit do not say. Where they
say nothing, the item is the authors' to answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import featcache
from featcache.spec import are_random

from .checklists import CLAIM, TRIPOD_AI, Checklist
from .run_reader import Collected, Run
from .shown_metrics import SHOWN
from .verdict import Verdict

_OPEN = "to be answered by the authors"
_LISTED = 12


@dataclass(frozen=True)
class _Told:
    """What sentences are made of: the runs, the first table's first model, and the run it is of."""

    collected: Collected
    board: Mapping[str, Any]
    row: Mapping[str, Any]
    run: Run
    verdict: Verdict
    elsewhere: Sequence[Mapping[str, Any]]
    explained: bool

    @property
    def test(self) -> Mapping[str, Any]:
        return self.row["test"]

    @property
    def audit(self) -> Mapping[str, Any] | None:
        return self.collected.audit.about if self.collected.audit else None

    @property
    def judged(self) -> str:
        """The images that it is judged on."""
        return f"{self.test['n']:,} {'images, each kept out in turn' if self.row.get('by_folds') else 'test images'}"

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        return self.run.about.get("hyperparameters") or {}


def checklist_answers(
    collected: Collected,
    boards: Sequence[Mapping[str, Any]],
    verdict: Verdict,
    elsewhere: Sequence[Mapping[str, Any]],
    explained: bool,
) -> list[dict[str, Any]]:
    """TRIPOD+AI and CLAIM, each as ``name source items answered text``.

    Parameters
    ----------
    collected : the runs, and what belongs to them.
    boards : tables of results, of which the first one's first row is the model that is spoken of.
    verdict : what the page says of it all.
    elsewhere : of :func:`heads.reporting.tables.elsewhere`.
    explained : whether the page has saliency maps.

    Returns
    -------
    Of each checklist its ``items`` as ``number asks said``, the last empty where only the authors can tell; how many
    are ``answered``; and all of it as ``text``, a line each, to be copied.
    """
    board = boards[0]
    row = board["rows"][0]
    run = next(run for run in collected.runs if run.folder.name == row["run"])
    told = _Told(collected, board, row, run, verdict, elsewhere, explained)
    facts = {name: fact(told) for name, fact in FACTS.items()}
    return [_answered(checklist, facts, f"{row['name']}, {row['features']}") for checklist in (TRIPOD_AI, CLAIM)]


def _answered(checklist: Checklist, facts: Mapping[str, str], model: str) -> dict[str, Any]:
    items = [
        {"number": item.number, "asks": item.asks, "said": " ".join(filter(None, (facts[name] for name in item.facts)))}
        for item in checklist.items
    ]
    lines = [f"{item['number']}\t{item['asks']}\t{item['said'] or _OPEN}" for item in items]
    return {
        "name": checklist.name,
        "source": checklist.source,
        "items": items,
        "answered": sum(bool(item["said"]) for item in items),
        "text": "\n".join([f"{checklist.name} {checklist.source}", f"Model: {model}", *lines, ""]),
    }


# -- the study and its data ----------------------------------------------------------------------


def _study(told: _Told) -> str:
    also = f" and evaluated on images of {_several(len(told.elsewhere), 'other place')}" if told.elsewhere else ""
    return f"Heads and classical models on features of frozen image networks are developed{also}, to tell {_aim(told)}."


def _aim(told: _Told) -> str:
    return f"the number {told.board['title']}" if told.board["kind"] == "number" else str(told.board["title"])


def _data(told: _Told) -> str:
    images = told.run.about.get("images")
    kind = "SYNTHETIC images, drawn by a program" if told.run.about.get("synthetic") else "images"
    return "" if images is None else f"{images:,} {kind}, in {told.collected.data}."


def _target(told: _Told) -> str:
    what = {"classes": "One of several classes", "labels": "Labels that an image has, has not, or does not tell"}
    return (
        f"{what.get(told.board['kind'], 'A number')}, as the data's folders or table name them: {told.board['title']}."
    )


def _parts(told: _Told) -> str:
    parts = _sizes(told.run)
    if not parts:
        return ""
    made = told.run.about.get("made") or []
    how = f" ({' and '.join(made)} set aside at random)" if made else ", as the data name them"
    return f"Images by part: {', '.join(f'{name} {size:,}' for name, size in parts.items())}{how}."


def _sizes(run: Run) -> dict[str, int]:
    return {part: sum(counts.values()) for part, counts in (run.about.get("per_split") or {}).items()}


def _groups(told: _Told) -> str:
    images, groups = told.run.about.get("images"), told.run.about.get("groups")
    if images is None or groups is None:
        return ""
    if groups == images:
        return "No patients are known: each image counts as one of its own."
    of = f"{images:,} images are of {groups:,} patients or other groups"
    if told.audit is None:
        return f"{of}; whether each of them is in one part was not audited."
    torn = len(told.audit.get("group_leaks") or ())
    return f"{of}; " + (f"{torn:,} of them stand in several parts." if torn else "each of them is in one part.")


def _outcomes(told: _Told) -> str:
    parts = told.run.about.get("per_split") or {}
    if told.board["kind"] == "number" or not parts:
        return ""
    names = list(told.board["classes"])[:_LISTED]
    counts = [f"{name} {' / '.join(f'{part.get(name, 0):,}' for part in parts.values())}" for name in names]
    more = len(told.board["classes"]) - len(names)
    listed = "; ".join(counts) + (f"; and {more} more" if more > 0 else "")
    return f"Images by {' / '.join(parts)}: {listed}."


def _characteristics(told: _Told) -> str:
    found = told.test.get("subgroups")
    if not found:
        return ""
    columns = []
    for name, column in found["columns"].items():
        counts = [f"{value} {part['images']:,}" for value, part in list(column["subgroups"].items())[:_LISTED]]
        columns.append(f"{name}: {', '.join(counts)}")
    return f"Test images by {'; by '.join(columns)}."


def _unreadable(told: _Told) -> str:
    if told.audit is None:
        return ""
    files = len(told.audit.get("unreadable") or ())
    return "Every file could be read." if not files else f"{_several(files, 'file')} could not be read."


def _quality(told: _Told) -> str:
    if told.audit is None:
        return ""
    copies, near = len(told.audit.get("duplicates") or ()), len(told.audit.get("near_duplicates") or ())
    return f"An audit looked for copies: {_several(copies, 'set')} of exact ones, {_several(near, 'pair')} nearly so."


def _missing(told: _Told) -> str:
    if told.board["kind"] != "labels":
        return ""
    known = [f"{name} {told.test['n'] - label['n']:,}" for name, label in told.test["labels"].items()][:_LISTED]
    return (
        "What is not known counts neither for a label nor against it; test images without an answer: "
        f"{', '.join(known)}."
    )


# -- the model -----------------------------------------------------------------------------------


def _preparation(told: _Told) -> str:
    return (
        f"Each image is resized and scaled as its frozen network's makers do, and told by {told.row['features']}; the "
        "set's spec names size, scaling, layer and precision."
    )


def _model(told: _Told) -> str:
    return f"{told.row['name']}: {told.row['detail'] or 'settings as scikit-learn has them'}."


def _tuning(told: _Told) -> str:
    searches = [run for run in told.collected.runs if run.verb == "grid" and run.classes == told.run.classes]
    said = [
        f"{run.about['candidates']} candidates of {run.about['model']} were searched by {run.about['folds']} folds."
        for run in searches
    ]
    if told.run.verb == "baselines":
        said.append("Each model's settings were chosen by folds of the training images.")
    return " ".join(said) or "Settings were given, not searched."


def _folds(told: _Told) -> str:
    by_folds = told.run.about.get("cross_validated")
    return f"Judged by {by_folds['folds']} folds of all images too." if by_folds else ""


def _weighting(told: _Told) -> str:
    if told.board["kind"] != "classes" or "class_weight" not in told.hyperparameters:
        return ""
    given = told.hyperparameters["class_weight"]
    return "Classes are not weighted." if given is None else f"Classes are weighted in training ({given})."


def _initialization(told: _Told) -> str:
    weights = str(told.run.about.get("weights", ""))
    if are_random(weights):
        return "The frozen network has RANDOM weights."
    return f"The frozen network's weights: {weights}." if weights else ""


def _threshold(told: _Told) -> str:
    if told.board["kind"] == "labels":
        given = {label.get("threshold") for label in told.test["labels"].values()} - {None}
        if not given:
            return ""
        low, high = min(given), max(given)
        at = f"{low:.3g}" if low == high else f"one for each label, from {low:.3g} to {high:.3g}"
        return f"A probability for each label; it is called from a threshold on: {at}."
    if told.board["kind"] == "number":
        return "A number, without a threshold."
    chosen = told.run.about.get("threshold") or {}
    if chosen:
        return f"A probability for each class; called from {chosen['value']:.3g} on, chosen on the validation images."
    return "A probability for each class; the most probable one is called."


def _calibration(told: _Told) -> str:
    if told.board["kind"] == "number":
        return ""
    mended = told.run.about.get("calibration")
    return (
        "Probabilities were recalibrated on the validation images."
        if mended
        else "Probabilities were not recalibrated."
    )


def _specification(told: _Told) -> str:
    if not (told.run.folder / "bundle").is_dir():
        return ""
    return f"The whole model, its network's digest and its preprocessing are kept as a bundle in {told.row['run']}."


def _selection(told: _Told) -> str:
    count = len(told.board["rows"])
    if count == 1:
        return "One model was judged."
    return (
        f"{count} models were judged on the test images and this one is the first of them, so that its result is "
        "overestimated a little."
    )


def _software(told: _Told) -> str:
    return f"featcache {featcache.__version__}; a bundle names the versions of all libraries that made it."


# -- what was found ------------------------------------------------------------------------------


def _metrics(told: _Told) -> str:
    return f"{_titles(told)}, on {told.judged}."


def _titles(told: _Told) -> str:
    titles = [metric.title for metric in SHOWN[told.board["kind"]].metrics]
    return f"{', '.join(titles[:-1])} and {titles[-1]}"


def _intervals(told: _Told) -> str:
    return "95% intervals, in which all images of a patient or other group count together."


def _performance(told: _Told) -> str:
    shown = SHOWN[told.board["kind"]].metrics
    values = [
        f"{metric.title} {cell['text']} ({cell['range']})"
        for metric, cell in zip(shown, told.row["cells"], strict=True)
        if cell
    ]
    return f"On {told.judged}: {', '.join(values)}." if values else ""


def _external(told: _Told) -> str:
    said = [
        f"On {model['n_outside']:,} images of {model['name']}: {model['headline']} {model['outside']['text']} "
        f"({model['outside']['range']})."
        for model in told.elsewhere
        if model["outside"]
    ]
    return " ".join(said)


def _predictive(told: _Told) -> str:
    found = told.test.get("predictive_values")
    if not found:
        return ""
    values = [
        f"{name}: positive {_value(of, 'ppv')}, negative {_value(of, 'npv')}"
        for name, of in list(found["of"].items())[:_LISTED]
    ]
    return f"Predictive values at a prevalence of {found['prevalence']:.3g}: {'; '.join(values)}."


def _value(of: Mapping[str, Any], name: str) -> str:
    if of[name] is None or of[f"{name}_ci"] is None:
        return "not to be told"
    return "{:.3f} ({:.3f} to {:.3f})".format(of[name], *of[f"{name}_ci"])


def _subgroups(told: _Told) -> str:
    found = told.test.get("subgroups")
    if not found:
        return ""
    shown = [name for name, column in found["columns"].items() if (column.get("gap") or {}).get("shown")]
    return (
        f"Judged in subgroups by {', '.join(found['columns'])}; "
        f"{'they differ by more than chance by ' + ', '.join(shown) if shown else 'no difference is shown'}."
    )


def _sites(told: _Told) -> str:
    left = told.run.about.get("leave_out")
    return "" if not left else f"Each {left['column']} was judged by a model that learnt from all the others."


def _differences(told: _Told) -> str:
    metadata = ((told.audit or {}).get("against") or {}).get("metadata") or {}
    columns = [row["column"] for row in metadata.get("columns", ()) if row["p"] < 0.05]
    if "columns" not in metadata:
        return ""
    return f"Columns that differ between the two sets of images: {', '.join(columns) or 'none is shown'}."


def _failures(told: _Told) -> str:
    if told.board["kind"] != "classes":
        return ""
    table = told.test["confusion"]
    wrong = told.test["n"] - sum(table[i][i] for i in range(len(table)))
    return f"{wrong:,} of {told.judged} are classified wrongly; a table shows which class as which."


def _shortcuts(told: _Told) -> str:
    probes = (told.audit or {}).get("shortcuts") or []
    if not probes:
        return ""
    flagged = list(dict.fromkeys(probe["probe"] for probe in probes if probe["flag"]))
    found = f"told by {', '.join(flagged[:_LISTED])}" if flagged else "none of them tells more than chance would"
    return f"{_several(len(probes), 'probe')} asked what tells the answer without the image's subject: {found}."


def _spread(told: _Told) -> str:
    spread = told.row.get("spread")
    if not spread or spread["mean"] is None:
        return ""
    parts = [
        f"{name.replace('_', ' ')} {deviation:.3f}"
        for name, deviation in spread["parts"].items()
        if deviation is not None
    ]
    metric = spread["metric"].replace("_", " ")
    return (
        f"Over {_several(spread['repeats'], 'division')} of the patients and {_several(spread['seeds'], 'seed')} on "
        f"each the mean {metric} is {spread['mean']:.3f}; standard deviations: {', '.join(parts)}."
    )


def _label_errors(told: _Told) -> str:
    found = next((run.about for run in told.collected.label_errors if run.classes == told.run.classes), None)
    if found is None:
        return ""
    return f"Of {_several(found['labels'], 'label')}, {found['estimated_wrong']:,} are estimated to be wrong."


def _limitations(told: _Told) -> str:
    return " ".join([f"Can these numbers be trusted? {told.verdict.answer}", *told.verdict.reasons])


def _explanation(told: _Told) -> str:
    return "Saliency maps stand beside the images of the map." if told.explained else ""


def _several(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


FACTS: dict[str, Callable[[_Told], str]] = {
    "study": _study,
    "data": _data,
    "target": _target,
    "parts": _parts,
    "groups": _groups,
    "outcomes": _outcomes,
    "characteristics": _characteristics,
    "unreadable": _unreadable,
    "quality": _quality,
    "missing": _missing,
    "preparation": _preparation,
    "model": _model,
    "tuning": _tuning,
    "folds": _folds,
    "weighting": _weighting,
    "initialization": _initialization,
    "threshold": _threshold,
    "calibration": _calibration,
    "specification": _specification,
    "selection": _selection,
    "software": _software,
    "metrics": _metrics,
    "intervals": _intervals,
    "performance": _performance,
    "external": _external,
    "predictive": _predictive,
    "subgroups": _subgroups,
    "sites": _sites,
    "differences": _differences,
    "failures": _failures,
    "shortcuts": _shortcuts,
    "spread": _spread,
    "label_errors": _label_errors,
    "limitations": _limitations,
    "explanation": _explanation,
}
