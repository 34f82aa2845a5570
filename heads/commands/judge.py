"""The verbs ``predict`` and ``evaluate``: a kept model on new images, and on labelled ones."""

from __future__ import annotations

from typing import Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import DATA, GROUPS, MEMORY, SPLIT, Finite

from .formatting import (
    interval_text,
    kind_of,
    look_lines,
    metrics_table,
    precision_lines,
    threshold_lines,
    views_lines,
    where_line,
)
from .options import BUNDLE_WEIGHTS, BY, FINAL, NEIGHBOURS, ON_MAP, OUT, PER_PATIENT, PREVALENCE, SKIP_BAD
from .set_lines import promise_lines, set_lines, sets_lines


@click.command()
@click.argument("bundle")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@BUNDLE_WEIGHTS
@SKIP_BAD
@click.option("--recheck", is_flag=True, help="Of less than float32: compute in float32 what that might change.")
@PER_PATIENT
@GROUPS
@click.option(
    "--coverage",
    type=Finite(0.5, 0.99),
    metavar="SHARE",
    help="Besides: the set of labels that holds the truth so often, such as 0.9.",
)
@ON_MAP
@click.option("--neighbours", type=NEIGHBOURS, help="Show so many of the training images nearest to each.")
@click.option("--among", metavar="DATA", help="With --neighbours, the training images [default: the last extract's].")
@click.option("--out", metavar="DIR", help="Folder for --on-map and --neighbours [default: a new one in ./runs].")
@MEMORY
@shared_options
def predict(cache: str, output: Output, bundle: str, images: tuple[str, ...], **options: Any) -> None:
    """Label new images: files, folders or manifests."""
    from ..inference.prediction import predict

    result = predict(bundle, images, cache=cache, **options)
    lines = []
    for row in result["rows"]:
        lines.append(f"{_said(row)}  {row['path']}")
        lines += set_lines(row, result["conformal"])
        if row["unlike_training"]:
            lines.append(
                f"  UNLIKE TRAINING: distance {row['distance']:.3f}, over {result['novelty']['threshold']:.3f}; a guess"
            )
        if row["close"] and not row["rechecked"]:
            lines.append(f"  CLOSE: float32 might say otherwise than {result['precision']['precision']}")
        lines += [f"  {text}" for text in _neighbours(row)]
    for row in result.get("patients", ()):
        lines.append(f"{_said(row)}  patient {row['patient']}, {row['images']} images")
    lines += promise_lines(result["conformal"])
    lines += precision_lines(result["precision"], "number" if result["task"] == "regression" else "classes")
    if result["precision"] and "rechecked" in result["precision"]:
        lines.append(
            f"{result['precision']['rechecked']} computed again in float32; {result['precision']['changed']} changed"
        )
    lines += [f"warning of this model: {text}" for text in result["warnings"]]
    if result["synthetic"]:
        lines.append("This model learnt from SYNTHETIC images: nothing it says is a medical result.")
    lines += [f"drawn: {figure}" for figure in result.get("figures", ())]
    output.result(result, *lines)


def _neighbours(row: dict[str, Any]) -> list[str]:
    """What a model learnt from that is near an image, and who taught it."""
    lines = [f"near: {one['label']:<16} {one['distance']:.3f}  {one['path']}" for one in row.get("neighbours", ())]
    if row.get("taught_by"):
        from ..inference.answer_neighbours import words_of

        lines += words_of(row["taught_by"], row.get("label", ""))
    return lines


def _said(row: dict[str, Any]) -> str:
    """What a model says of an image."""
    if "value" in row:
        return f"{row['value']:<12.6g}"
    shares = "  ".join(f"{name} {value:.3f}" for name, value in row["probabilities"].items())
    if "labels" in row:
        return f"{', '.join(row['labels']) or 'none of them'}:  {shares}"
    return f"{row['label']:<16} {shares}"


@click.command()
@click.argument("bundle")
@DATA
@GROUPS
@MEMORY
@SPLIT
@BUNDLE_WEIGHTS
@SKIP_BAD
@ON_MAP
@BY
@PER_PATIENT
@PREVALENCE
@FINAL
@OUT
@shared_options
def evaluate(cache: str, output: Output, bundle: str, **options: Any) -> None:
    """Judge a kept model on other labelled images."""
    from ..inference.bundle_evaluation import evaluate_bundle

    result = evaluate_bundle(bundle, cache=cache, **options)
    lines = [*metrics_table(result), *look_lines(result), *views_lines(result["test"], result)]
    if result["threshold"]:
        lines += threshold_lines(result["threshold"], result["classes"][1])
    if unlike := result["unlike_training"]:
        lines.append(
            f"unlike the training images: {unlike['count']} of {result['images']}, {unlike['share']:.3f}"
            f"{interval_text(unlike['share_ci'])}; by chance {unlike['by_chance']:.3f}"
        )
    lines += sets_lines(result)
    lines += precision_lines(result["precision"], kind_of(result))
    internal = result["internal"]
    if internal:
        from ..evaluation.task_metrics import TASK_METRICS

        lines.append(f"when it was made, on its own test images: {TASK_METRICS[kind_of(result)].headline(internal)}")
    if result["looks_of_model"]:
        lines.append(result["looks_of_model"])
    if result["other_classes"]:
        what = "classes that the model does not know" if kind_of(result) == "classes" else "which nothing is known"
        lines.append(f"{result['other_classes']} images of {what} are left out")
    lines += [f"warning of this model: {text}" for text in result["warnings"]]
    output.result(result, *lines, where_line(result))
