"""The verb ``fit-head``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import BACKBONE, COUNT, DATA, GROUPS, MEMORY, TASK, Finite

from .formatting import (
    kind_of,
    look_lines,
    metrics_table,
    precision_lines,
    threshold_lines,
    views_lines,
    warning_lines,
    where_line,
)
from .options import BY, FINAL, FOLDS, NO_AUDIT, OUT, PER_PATIENT, POOLING, PREVALENCE, SEED, repeats
from .parsing import whole_numbers
from .progress import epochs_shown
from .set_lines import sets_lines
from .spread_lines import spread_lines

if TYPE_CHECKING:
    from ..training.epoch_estimator import Layer


@click.command("fit-head")
@TASK
@click.option(
    "--model",
    type=click.Choice(["dense", "own-cnn"]),
    default="dense",
    show_default=True,
    help="dense (on a backbone's features) or own-cnn.",
)
@BACKBONE
@POOLING
@DATA
@GROUPS
@MEMORY
@click.option("--units", metavar="N[,N]", help="Width of each hidden layer [default: 256; own-cnn: 64].")
@click.option(
    "--activation", type=click.Choice(["relu", "sigmoid", "tanh", "elu", "gelu", "linear"]), help="[default: relu]."
)
@click.option(
    "--dropout", type=Finite(0, 1, max_open=True), help="Share left out of each hidden layer [default: 0.25]."
)
@click.option("--batch-norm", is_flag=True, default=None, help="Batch normalisation in place of dropout.")
@click.option("--l2", type=Finite(0), help="Penalty on the squares of the hidden kernels [default: 0].")
@click.option("--optimizer", type=click.Choice(["adam", "adamw", "sgd"]), help="[default: adam].")
@click.option(
    "--learning-rate",
    type=Finite(0, min_open=True),
    help="[default: the reference's, 0.005 binary, 0.0001 multiclass].",
)
@click.option("--epochs", type=COUNT, help="[default: the reference's, 40 binary, 100 multiclass].")
@click.option("--batch-size", type=COUNT, help="Rows a step [default: 32].")
@click.option(
    "--patience", type=COUNT, metavar="N", help="Stop N epochs after the lowest validation loss; keep its weights."
)
@click.option(
    "--checkpoint", is_flag=True, default=None, help="Run all epochs; keep the weights of the lowest validation loss."
)
@click.option("--class-weight", type=click.Choice(["balanced"]), help="Every class counts alike.")
@click.option(
    "--calibrate",
    "calibration",
    type=click.Choice(["temperature", "isotonic", "sigmoid"]),
    help="Mend the probabilities on the validation images.",
)
@click.option(
    "--sensitivity",
    type=Finite(0, 1, min_open=True),
    metavar="SHARE",
    help="Of two classes: label so that this share of the second is found among the validation images.",
)
@click.option("--cv", type=FOLDS, metavar="N", help="Besides: judge the same settings by N folds of all images.")
@click.option(
    "--leave-out", metavar="COLUMN", help="Besides: judge them on each site in turn, learnt from all the others."
)
@BY
@PER_PATIENT
@PREVALENCE
@SEED
@repeats
@FINAL
@NO_AUDIT
@OUT
@shared_options
def fit_head(cache: str, output: Output, units: str | None, **options: Any) -> None:
    """Train one head, evaluate it, draw it, and keep it as a bundle."""
    from ..experiments.head_fit import fit_head

    settings = {name: value for name, value in options.items() if value is not None}
    if units is not None:
        widths = whole_numbers("--units", units)
        settings["units"] = widths[0] if len(widths) == 1 else tuple(widths)
    with epochs_shown(output) as on_epoch:
        fitted = fit_head(cache=cache, on_epoch=on_epoch, **settings)
    result = fitted.result
    output.result(
        result,
        *_layer_table(fitted.layers, result["parameters"]),
        "",
        *metrics_table(result),
        *look_lines(result),
        *views_lines(result["test"], result),
        *_held_out(result),
        *spread_lines(result),
        *_settled(result),
        *sets_lines(result),
        *precision_lines(result["precision"], kind_of(result)),
        *warning_lines(result),
        _kept(result),
    )


def _held_out(result: dict[str, Any]) -> list[str]:
    """What heads of the same settings give images that they did not learn from."""
    from ..evaluation.task_metrics import TASK_METRICS

    measures, lines = TASK_METRICS[kind_of(result)], []
    if "cross_validated" in result:
        test = result["cross_validated"]["test"]
        lines += ["", f"by {result['cross_validated']['folds']} folds of all images, groups whole:"]
        lines += metrics_table({**result, "test": test}, ("test",))
        lines += views_lines(test, result)
    if "leave_out" in result:
        left = result["leave_out"]
        lines += ["", f"on each {left['column']} in turn, learnt from all the others (worst: {left['worst']}):"]
        for row in left["sites"]:
            said = row["why"] if row["test"] is None else measures.headline(row["test"])
            lines.append(f"  {row['site']:<24}{row['n']:>7} images   {said}")
    return lines


def _settled(result: dict[str, Any]) -> list[str]:
    """What was calibrated and chosen on the validation images, as the test images judge it."""
    if kind_of(result) == "labels":
        points = result["threshold"] or {}
        return [line for name, one in points.items() if one["test"] for line in threshold_lines(one["test"], name)]
    lines = []
    if result["calibration"]:
        before, after = result["calibration"]["test_before"], result["test"]
        changes = ", ".join(f"{name} {before[name]:.4f} to {after[name]:.4f}" for name in before or ())
        lines.append(f"calibrated by {result['calibration']['method']}" + (f", on test: {changes}" if changes else ""))
    if result["threshold"] and result["threshold"]["test"]:
        lines += threshold_lines(result["threshold"]["test"], result["classes"][1])
    return lines


def _layer_table(layers: Sequence[Layer], parameters: dict[str, int]) -> list[str]:
    lines = [f"{'layer':<36}{'output':>18}{'parameters':>14}"]
    for layer in layers:
        lines.append(f"{layer.name:<36}{' x '.join(map(str, layer.output)):>18}{layer.parameters:>14,}")
    total, trainable = parameters["total"], parameters["trainable"]
    lines.append(f"total {total:,}; trainable {trainable:,}; frozen {total - trainable:,}")
    return lines


def _kept(result: dict[str, Any]) -> str:
    notes = [f"{result['epochs_run']} epochs in {result['seconds']:.1f} s"]
    if result["best_epoch"] != result["epochs_run"]:
        notes.append(f"weights of epoch {result['best_epoch']}")
    return "; ".join([*notes, where_line(result)])
