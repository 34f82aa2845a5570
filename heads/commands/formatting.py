"""Results as lines for people: tables of metrics, thresholds, intervals, warnings, and where the files are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SYNTHETIC = "SYNTHETIC images: no medical result"


def metrics_table(result: dict[str, Any], parts: Sequence[str] = ("train", "val", "test")) -> list[str]:
    """Train, val and test side by side, intervals beside those of test; parts without metrics left out."""
    parts = [name for name in parts if result.get(name)]
    if not parts:
        return []
    kind, test = kind_of(result), result["test"]
    lines = [f"{'':<23}" + "".join(f"{name:>9}" for name in parts) + ("   95% interval (test)" if test else "")]
    for name in _PRINTED[kind]:
        values = "".join(f"{_number(result[part].get(name)):>9}" for part in parts)
        beside = interval_text(test.get(f"{name}_ci")) if test else ""
        if name == "ece" and test:
            beside = f"   up to {test['ece_by_chance']:.3f} by chance, were every probability right"
        lines.append(f"{_CALLED.get(name, name.replace('_', ' ')):<23}{values}{beside}")
    lines.append(f"{'images':<23}" + "".join(f"{result[p]['n']:>9}" for p in parts))
    return lines + (_BELOW[kind](result) if test else [])


def look_lines(result: dict[str, Any]) -> list[str]:
    """Which look at the test images it was, or why there are no metrics of them."""
    if result.get("hidden"):
        return [f"test: not shown, since {result['hidden']['reason']}"]
    if not result.get("look"):
        return []
    from ..vault.looks import look_words

    return [look_words(result["look"])]


def views_lines(test: dict[str, Any] | None, result: dict[str, Any]) -> list[str]:
    """What a test says of patients and of subgroups, where that was asked for."""
    if test is None:
        return []
    lines = _predictive_values(test)
    if "per_patient" in test:
        of = test["per_patient"]
        notes = [f"{of['n']} patients, their images by {of['how']}"]
        if of["mixed"]:
            notes.append(f"{of['mixed']} of them with images of several kinds")
        if of["left_out"]:
            notes.append(f"{of['left_out']} left out for it")
        lines += ["", f"of patients: {'; '.join(notes)}", *metrics_table({**result, "test": of}, ("test",))[1:]]
        lines += _predictive_values(of)
    if "subgroups" in test:
        lines += ["", *_subgroups(test["subgroups"])]
    return lines


def _predictive_values(test: dict[str, Any]) -> list[str]:
    """What a call means where what is called is as frequent as it was said to be."""
    if "predictive_values" not in test:
        return []
    found = test["predictive_values"]
    at = f"at a prevalence of {found['prevalence']:.3g}"
    wide = max(len(name) for name in (*found["of"], at)) + 2
    lines = ["", f"{at:<{wide}}{'PPV':>8}{'':<20}{'NPV':>8}   95% interval"]
    for name, of in found["of"].items():
        cells = [f"{_number(of[value]):>8}{interval_text(of[f'{value}_ci']):<20}" for value in ("ppv", "npv")]
        lines.append(f"  {name:<{wide - 2}}{''.join(cells)}".rstrip())
    return [*lines, "  PPV: of those called, the share who have it; NPV: of the others, the share who have it not"]


def _subgroups(found: dict[str, Any]) -> list[str]:
    metric = _CALLED.get(found["metric"], found["metric"].replace("_", " "))
    lines = [f"{'subgroup':<34}{'images':>7}{'patients':>9}{metric:>21}   95% interval"]
    for column, about in found["columns"].items():
        for name, part in about["subgroups"].items():
            shown = "–" if part["value"] is None else _number(part["value"])
            beside = f"   {part.get('note', '')}" if part["value"] is None else interval_text(part["ci"])
            mark = "   the worst" if _is_worst(found, column, name) else ""
            called = f"{column} {name}"
            lines.append(f"{called:<34}{part['images']:>7}{part['patients']:>9}{shown:>21}{beside}{mark}")
        gap = about["gap"]
        if gap is not None:
            said = "differ by more than chance" if gap["shown"] else "no difference is shown"
            lines.append(
                f"  {column}: {said}; {gap['best']} against {gap['worst']} {gap['difference']:+.3f}, p = "
                f"{gap['p']:.2g}, {gap['p_corrected']:.2g} for all that were looked at"
            )
    return lines


def _is_worst(found: dict[str, Any], column: str, name: str) -> bool:
    worst = found["worst"]
    return worst is not None and (worst["column"], worst["subgroup"]) == (column, name)


def kind_of(result: dict[str, Any]) -> str:
    """The kind of task that a result is of."""
    return str(result.get("learns", {"kind": "classes"})["kind"])


def _recalls(result: dict[str, Any]) -> list[str]:
    return [
        f"  test recall of {name:<22} {value:.4f}{interval_text(result['test']['recall_ci'][name])}"
        for name, value in result["test"].get("recall", {}).items()
    ]


def _labels(result: dict[str, Any]) -> list[str]:
    """Each label's ROC area and average precision on test, the most frequent first."""
    of_labels = sorted(result["test"]["labels"].items(), key=lambda one: -one[1]["positives"])
    wide = max(len(name) for name, _ in of_labels) + 2
    header = f"{'label, on test':<{wide}}{'has it':>8}{'of':>7}{'ROC area':>11}{'':<18}{'average precision':>20}"
    lines = ["", header]
    for name, one in of_labels:
        if one["roc_auc"] is None:
            said = f"   too few to say{f': {note}' if (note := one.get('note')) and note != 'too few' else ''}"
        else:
            said = "".join(
                f"{_number(one[metric]):>{width}}{interval_text(one[f'{metric}_ci']):<18}"
                for metric, width in (("roc_auc", 11), ("average_precision", 20))
            )
        lines.append(f"{name:<{wide}}{one['positives']:>8}{one['n']:>7}{said}".rstrip())
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None else format(value, ".4f" if abs(value) < 1000 else ".5g")


_PRINTED = {
    "classes": ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "loss", "brier", "ece"),
    "labels": ("mean_roc_auc", "mean_average_precision", "loss"),
    "number": ("mae", "rmse", "r2", "spearman", "mean_error"),
}
_CALLED = {
    "mean_roc_auc": "mean ROC area",
    "roc_auc": "ROC area",
    "mae": "mean absolute error",
    "rmse": "root mean sq. error",
    "r2": "R2",
    "spearman": "Spearman",
}
_BELOW = {"classes": _recalls, "labels": _labels, "number": lambda result: []}


def threshold_lines(point: dict[str, Any], positive: str) -> list[str]:
    """Sensitivity and specificity at a threshold, and what it cost beside the even one."""
    lines = [f"labelled {positive} from a probability of {point['value']:.4g} on; on these test images:"]
    for name in ("sensitivity", "specificity"):
        if point[name] is not None:
            even = point["at_half"][name]
            lines.append(f"  {name} {point[name]:.4f}{interval_text(point[name + '_ci'])}; at 0.5 it is {even:.4f}")
    return lines


def precision_lines(about: dict[str, Any] | None, kind: str = "classes") -> list[str]:
    """What features of less than float32 may have done to answers; nothing for float32."""
    if about is None:
        return []
    if not about["images"]:
        return [f"{about['precision']}: its error is not known here; the next extract into this cache measures it"]
    if about["close"] is None and kind == "number":
        return [f"{about['precision']}: numbers of {about['images']} images differ by {about['answers']:.3g} at most"]
    if about["close"] is None:
        return [f"{about['precision']}: the answers on {about['images']} images are too certain to tell its error by"]
    return [
        f"{about['precision']}: {about['close']} of {about['of']} answers stand closer to another one than its error, "
        f"{about['answers']:.2g} in log-odds (the largest of {about['images']} images)"
    ]


def interval_text(pair: Sequence[float] | None) -> str:
    """``0.940 to 1.000``, with room before it; empty for None."""
    return f"   {pair[0]:.3f} to {pair[1]:.3f}" if pair else ""


def warning_lines(result: dict[str, Any]) -> list[str]:
    """What an audit found in the images, or that there was none."""
    return [f"! {text}" for text in result["warnings"]]


def where_line(result: dict[str, Any]) -> str:
    """Where the files are, and what must not be forgotten."""
    notes = []
    if result.get("made"):
        notes.append(f"{' and '.join(result['made'])} set aside from the training images")
    if result["synthetic"]:
        notes.append(SYNTHETIC)
    made = "figures, tables and bundle" if result.get("bundle") else "figures and tables"
    return "; ".join([*notes, f"{made}: {result['run']}"])
