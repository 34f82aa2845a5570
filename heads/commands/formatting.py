"""Results as lines for people: tables of metrics, thresholds, intervals, warnings, and where the files are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SYNTHETIC = "SYNTHETIC images: no medical result"


def metrics_table(result: dict[str, Any]) -> list[str]:
    """Train, val and test side by side, intervals beside those of test."""
    parts = [name for name in ("train", "val", "test") if name in result]
    lines = [f"{'':<18}" + "".join(f"{name:>9}" for name in parts) + "   95% interval (test)"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "loss", "brier", "ece"):
        values = "".join(f"{'–' if result[p][name] is None else format(result[p][name], '.4f'):>9}" for p in parts)
        beside = interval_text(result["test"].get(f"{name}_ci"))
        if name == "ece":
            beside = f"   up to {result['test']['ece_by_chance']:.3f} by chance, were every probability right"
        lines.append(f"{name.replace('_', ' '):<18}{values}{beside}")
    lines.append(f"{'images':<18}" + "".join(f"{result[p]['n']:>9}" for p in parts))
    for name, value in result["test"].get("recall", {}).items():
        lines.append(f"  test recall of {name:<22} {value:.4f}{interval_text(result['test']['recall_ci'][name])}")
    return lines


def threshold_lines(point: dict[str, Any], positive: str) -> list[str]:
    """Sensitivity and specificity at a threshold, and what it cost beside the even one."""
    lines = [f"labelled {positive} from a probability of {point['value']:.4g} on; on these test images:"]
    for name in ("sensitivity", "specificity"):
        if point[name] is not None:
            even = point["at_half"][name]
            lines.append(f"  {name} {point[name]:.4f}{interval_text(point[name + '_ci'])}; at 0.5 it is {even:.4f}")
    return lines


def precision_lines(about: dict[str, Any] | None) -> list[str]:
    """What features of less than float32 may have done to answers; nothing for float32."""
    if about is None:
        return []
    if not about["images"]:
        return [f"{about['precision']}: its error is not known here; the next extract into this cache measures it"]
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
    return "; ".join([*notes, f"figures, tables and bundle: {result['run']}"])
