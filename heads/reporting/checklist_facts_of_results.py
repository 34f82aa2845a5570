"""Facts of what was found, in sentences that a checklist is answered with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .checklist_subject import LISTED, Subject, several
from .shown_metrics import SHOWN


def _metrics(told: Subject) -> str:
    return f"{_titles(told)}, on {told.judged}."


def _titles(told: Subject) -> str:
    titles = [metric.title for metric in SHOWN[told.board["kind"]].metrics]
    return f"{', '.join(titles[:-1])} and {titles[-1]}"


def _intervals(told: Subject) -> str:
    return "95% intervals, in which all images of a patient or other group count together."


def _performance(told: Subject) -> str:
    shown = SHOWN[told.board["kind"]].metrics
    values = [
        f"{metric.title} {cell['text']} ({cell['range']})"
        for metric, cell in zip(shown, told.row["cells"], strict=True)
        if cell
    ]
    return f"On {told.judged}: {', '.join(values)}." if values else ""


def _external(told: Subject) -> str:
    said = [
        f"On {model['n_outside']:,} images of {model['name']}: {model['headline']} {model['outside']['text']} "
        f"({model['outside']['range']})."
        for model in told.elsewhere
        if model["outside"]
    ]
    return " ".join(said)


def _predictive(told: Subject) -> str:
    found = told.test.get("predictive_values")
    if not found:
        return ""
    values = [
        f"{name}: positive {_value(of, 'ppv')}, negative {_value(of, 'npv')}"
        for name, of in list(found["of"].items())[:LISTED]
    ]
    return f"Predictive values at a prevalence of {found['prevalence']:.3g}: {'; '.join(values)}."


def _value(of: Mapping[str, Any], name: str) -> str:
    if of[name] is None or of[f"{name}_ci"] is None:
        return "not to be told"
    return "{:.3f} ({:.3f} to {:.3f})".format(of[name], *of[f"{name}_ci"])


def _subgroups(told: Subject) -> str:
    found = told.test.get("subgroups")
    if not found:
        return ""
    shown = [name for name, column in found["columns"].items() if (column.get("gap") or {}).get("shown")]
    return (
        f"Judged in subgroups by {', '.join(found['columns'])}; "
        f"{'they differ by more than chance by ' + ', '.join(shown) if shown else 'no difference is shown'}."
    )


def _sites(told: Subject) -> str:
    left = told.run.about.get("leave_out")
    return "" if not left else f"Each {left['column']} was judged by a model that learnt from all the others."


def _differences(told: Subject) -> str:
    metadata = ((told.audit or {}).get("against") or {}).get("metadata") or {}
    columns = [row["column"] for row in metadata.get("columns", ()) if row["p"] < 0.05]
    if "columns" not in metadata:
        return ""
    return f"Columns that differ between the two sets of images: {', '.join(columns) or 'none is shown'}."


def _failures(told: Subject) -> str:
    if told.board["kind"] != "classes":
        return ""
    table = told.test["confusion"]
    wrong = told.test["n"] - sum(table[i][i] for i in range(len(table)))
    return f"{wrong:,} of {told.judged} are classified wrongly; a table shows which class as which."


def _without_shortcuts(told: Subject) -> str:
    found = (told.audit or {}).get("without_shortcuts")
    return "" if not found else f"{found['said'].rstrip('.')}."


def _shortcuts(told: Subject) -> str:
    probes = (told.audit or {}).get("shortcuts") or []
    if not probes:
        return ""
    flagged = list(dict.fromkeys(probe["probe"] for probe in probes if probe["flag"]))
    found = f"told by {', '.join(flagged[:LISTED])}" if flagged else "none of them tells more than chance would"
    return f"{several(len(probes), 'probe')} asked what tells the answer without the image's subject: {found}."


def _spread(told: Subject) -> str:
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
        f"Over {several(spread['repeats'], 'division')} of the patients and {several(spread['seeds'], 'seed')} on "
        f"each the mean {metric} is {spread['mean']:.3f}; standard deviations: {', '.join(parts)}."
    )


def _label_errors(told: Subject) -> str:
    found = next((run.about for run in told.collected.label_errors if run.classes == told.run.classes), None)
    if found is None:
        return ""
    return f"Of {several(found['labels'], 'label')}, {found['estimated_wrong']:,} are estimated to be wrong."


def _learning_curve(told: Subject) -> str:
    found = next((run.about for run in told.collected.forecasts if run.classes == told.run.classes), None)
    return "" if found is None else f"A learning curve over the patients says: {found['said'].rstrip('.')}."


def _limitations(told: Subject) -> str:
    return " ".join([f"Can these numbers be trusted? {told.verdict.answer}", *told.verdict.reasons])


def _explanation(told: Subject) -> str:
    return "Saliency maps stand beside the images of the map." if told.explained else ""


OF_RESULTS: dict[str, Callable[[Subject], str]] = {
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
    "without_shortcuts": _without_shortcuts,
    "spread": _spread,
    "label_errors": _label_errors,
    "learning_curve": _learning_curve,
    "limitations": _limitations,
    "explanation": _explanation,
}
