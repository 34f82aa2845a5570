"""The verbs of stage two. Thin: each calls one function of the library."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from featcache.commands.console import Output, shared_options
from featcache.commands.options import (
    BACKBONE,
    CLASSES,
    COUNT,
    DATA,
    GROUPS,
    MEMORY,
    PREPROCESS,
    SEEDS,
    SPLIT,
    TASK,
    Finite,
)
from featcache.errors import UsageError

if TYPE_CHECKING:
    from ..search.search_cv import Progress
    from ..training.epoch_classifier import Layer

_log = logging.getLogger(__name__)
POOLINGS = click.Choice(["flatten", "avg", "max"])
_POOLING = click.option(
    "--pooling",
    type=POOLINGS,
    default="flatten",
    show_default=True,
    help="What of the kept map.",
)
_SCHEDULER = click.option(
    "--scheduler", metavar="ADDRESS", help="Search on Dask: tcp://HOST:PORT, or local[:PROCESSES]."
)
_FOLDS = click.IntRange(2)
_NO_AUDIT = click.option(
    "--no-audit", "audit", is_flag=True, default=True, flag_value=False, help="Do not audit images that never were."
)
OUT = click.option("--out", metavar="DIR", help="Folder for the results [default: a new one in ./runs].")
SEED = click.option(
    "--seed",
    type=SEEDS,
    default=0,
    show_default=True,
    help="Of initial weights, batches, dropout and splits.",
)


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
@_POOLING
@CLASSES
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
    "--learning-rate", type=Finite(0, min_open=True), help="[default: the report's, 0.005 binary, 0.0001 multiclass]."
)
@click.option("--epochs", type=COUNT, help="[default: the report's, 40 binary, 100 multiclass].")
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
@SEED
@_NO_AUDIT
@OUT
@shared_options
def fit_head(cache: str, output: Output, units: str | None, classes: str | None, **options: Any) -> None:
    """Train one head, evaluate it, draw it, and keep it as a bundle."""
    from ..experiments.head_fit import fit_head

    settings = {name: value for name, value in options.items() if value is not None}
    if units is not None:
        widths = whole_numbers("--units", units)
        settings["units"] = widths[0] if len(widths) == 1 else tuple(widths)
    with _epochs(output) as on_epoch:
        fitted = fit_head(classes=names(classes), cache=cache, on_epoch=on_epoch, **settings)
    result = fitted.result
    output.result(
        result,
        *_layer_table(fitted.layers, result["parameters"]),
        "",
        *figures_table(result),
        *_settled(result),
        *caution_lines(result),
        _kept(result),
    )


@click.command()
@TASK
@BACKBONE
@_POOLING
@CLASSES
@DATA
@GROUPS
@MEMORY
@click.option("--models", metavar="A,B", help="Some of the table [default: all].")
@click.option("--cv", type=_FOLDS, default=5, show_default=True, help="Folds, groups kept whole.")
@_SCHEDULER
@SEED
@_NO_AUDIT
@OUT
@shared_options
def baselines(
    cache: str, output: Output, classes: str | None, models: str | None, scheduler: str | None, **options: Any
) -> None:
    """The leaderboard of classical models, each tuned on its own grid."""
    from featcache.extraction.dask_workers import searching_on

    from ..experiments.leaderboard import baselines

    def show(row: dict[str, Any]) -> None:
        _log.info("%s: cross-validated %.3f, %.1f s", row["name"], row["cv_score"], row["seconds"])

    with searching_on(scheduler):
        result = baselines(classes=names(classes), models=names(models), cache=cache, on_row=show, **options)
    lines = [f"{'model':<19}{'cross-validated':>17}{'test':>9}   95% interval{'seconds':>11}   best of its grid"]
    for row in result["rows"]:
        test, best = row["test"], ", ".join(f"{k} {v}" for k, v in row["best_params"].items())
        cv = f"{row['cv_score']:.4f} ± {row['cv_std']:.3f}"
        low, high = test["accuracy_ci"]
        lines.append(
            f"{row['name']:<19}{cv:>17}{test['accuracy']:>9.4f}   {low:.3f} to {high:.3f}{row['seconds']:>9.1f}   {best}"
        )
    output.result(result, *lines, *_sample_lines(result), *caution_lines(result), where_line(result))


@click.command()
@TASK
@click.option("--model", default="dense", show_default=True, help="dense, own-cnn, or one of the baselines.")
@click.option("--preset", type=click.Choice(["report"]), help="The report's grid [default without --param].")
@click.option("--param", "params", multiple=True, metavar="NAME=V,V", help="Values to try; may be given several times.")
@click.option(
    "--method",
    type=click.Choice(["exact", "halving", "random"]),
    default="exact",
    show_default=True,
    help="halving is a heuristic.",
)
@click.option("--iterations", type=COUNT, default=20, show_default=True, help="Candidates of a random search.")
@click.option("--cv", type=_FOLDS, default=3, show_default=True, help="Folds, groups kept whole.")
@click.option("--nested", is_flag=True, help="Also estimate, by outer folds, unspoilt by the choice.")
@click.option("--force", is_flag=True, help="Halve though there are few rows.")
@BACKBONE
@click.option("--pooling", type=POOLINGS, help="What of the kept map [default: flatten; on the built-in sample avg].")
@CLASSES
@DATA
@GROUPS
@MEMORY
@click.option("--restart", is_flag=True, help="Forget the cells of an earlier search.")
@_SCHEDULER
@SEED
@_NO_AUDIT
@OUT
@shared_options
def grid(
    cache: str, output: Output, classes: str | None, params: tuple[str, ...], scheduler: str | None, **options: Any
) -> None:
    """Search hyperparameters by cross-validation; refit, judge and keep the best. Goes on where it was cut off."""
    from featcache.extraction.dask_workers import searching_on

    from ..experiments.hyperparameter_search import grid

    space: dict[str, Any] = {}
    for text in params:
        name, values = param_values(text)
        if name in space:
            raise UsageError(f"--param {name} is given twice; give all its values in one: {name}=V,V")
        space[name] = values
    with searching_on(scheduler), _cells(output) as on_cell:
        result = grid(classes=names(classes), params=space or None, cache=cache, on_cell=on_cell, **options)
    lines = [f"{'rank':>4}{'score':>9}{'± std':>8}   parameters"]
    for row in result["top"]:
        values = ", ".join(f"{name} {value}" for name, value in row["params"].items())
        lines.append(f"{row['rank']:>4}{row['score']:>9.4f}{row['std']:>8.4f}   {values}")
    again = f", {result['from_journal']} of them from an earlier search" if result["from_journal"] else ""
    lines.append(f"{result['candidates']} candidates x {result['folds']} folds{again}, {result['seconds']:.1f} s")
    if result["tied"] > 1:
        lines.append(
            f"{result['tied']} candidates share the best score; the first of them is taken, by no merit of its own"
        )
    if result["report_best"]:
        lines.append("the report's best: " + ", ".join(f"{k} {v}" for k, v in result["report_best"].items()))
    lines += ["", "the best, refitted on all training rows:", *figures_table(result)]
    if "nested" in result:
        low, high = result["nested"]["accuracy_ci"]
        lines.append(f"nested cross-validation: accuracy {result['nested']['accuracy']:.4f}   {low:.3f} to {high:.3f}")
    output.result(result, *lines, *caution_lines(result), where_line(result))


@click.command()
@click.argument("bundle", required=False)
@TASK
@BACKBONE
@_POOLING
@CLASSES
@DATA
@GROUPS
@MEMORY
@SPLIT
@click.option(
    "--limit", type=click.IntRange(4), default=10_000, show_default=True, help="Images drawn; of more, a random sample."
)
@click.option(
    "--perplexity",
    type=Finite(0, min_open=True),
    default=30.0,
    show_default=True,
    help="About how many neighbours each image has.",
)
@SEED
@OUT
@shared_options
def tsne(cache: str, output: Output, bundle: str | None, classes: str | None, **options: Any) -> None:
    """Draw a head's first dense layer by t-SNE, or, without a bundle, the features."""
    from ..inference.embedding import tsne

    result = tsne(bundle, classes=names(classes), cache=cache, **options)
    of = "" if result["of"] == result["rows"] else f", a sample of {result['of']}"
    wrong = "" if result["misclassified"] is None else f", {result['misclassified']} misclassified"
    output.result(result, f"{result['rows']} images drawn{of}{wrong} ({result['before']}); {where_line(result)}")


@click.command()
@DATA
@GROUPS
@click.option("--only", metavar="ID[,ID]", help="Rows, by id or its beginning: b-, m-vgg16, tsne-, speed.")
@click.option("--quick", is_flag=True, help="5 epochs a row; the table says so.")
@click.option("--weights", default="imagenet", show_default=True, metavar="W", help="Of backbones not extracted yet.")
@PREPROCESS
@SEED
@click.option(
    "--out", default="runs/reproduce", show_default=True, metavar="DIR", help="Rows done there are not repeated."
)
@shared_options
def reproduce(cache: str, output: Output, only: str | None, **options: Any) -> None:
    """Train everything the report trained, its numbers beside ours."""
    from ..experiments.reproduction import markdown, reproduce

    def show(row: dict[str, Any]) -> None:
        _log.info("%s: %s", row["id"], row["remarks"] or "done")

    result = reproduce(only=names(only), cache=cache, on_row=show, **options)
    output.result(result, *markdown(result["rows"]).splitlines(), f"also as {result['csv']} and {result['markdown']}")


def names(text: str | None) -> list[str] | None:
    """``A,B`` as a list."""
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


def whole_numbers(option: str, text: str) -> list[int]:
    """``256,64`` as a list.

    Raises :class:`UsageError` for anything else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text!r}: expected whole numbers, such as 256 or 512,128") from None


def param_values(text: str) -> tuple[str, Any]:
    """``learning_rate=0.001,0.01`` as name and values; ``units=256,128x64`` has tuples, ``C=0.1..100`` a range.

    Raises :class:`UsageError` for anything else.
    """
    from ..experiments.hyperparameter_search import Between

    name, equals, values = text.partition("=")
    if not (name.strip() and equals and values.strip()):
        raise UsageError(f"--param {text!r}: expected NAME=V,V, such as learning_rate=0.001,0.01")
    low, dots, high = values.partition("..")
    if dots:
        ends = _value(low), _value(high)
        if not all(isinstance(end, int | float) for end in ends) or ends[0] >= ends[1]:
            raise UsageError(f"--param {text!r}: expected LOW..HIGH, two numbers")
        return name.strip(), Between(*ends)
    return name.strip(), [_value(part) for part in values.split(",") if part.strip()]


def _value(text: str) -> Any:
    text = text.strip()
    plain = {"none": None, "true": True, "false": False}
    if text.lower() in plain:
        return plain[text.lower()]
    if re.fullmatch(r"\d+(x\d+)+", text):
        return tuple(int(part) for part in text.split("x"))
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def figures_table(result: dict[str, Any]) -> list[str]:
    """Train, val and test side by side, intervals beside the test's figures."""
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


def _settled(result: dict[str, Any]) -> list[str]:
    """What was calibrated and chosen on the validation images, as the test images judge it."""
    lines = []
    if result["calibration"]:
        before, after = result["calibration"]["test_before"], result["test"]
        changes = ", ".join(f"{name} {before[name]:.4f} to {after[name]:.4f}" for name in before)
        lines.append(f"calibrated by {result['calibration']['method']}, on test: {changes}")
    if result["threshold"]:
        lines += threshold_lines(result["threshold"]["test"], result["classes"][1])
    return lines


def _sample_lines(result: dict[str, Any]) -> list[str]:
    """Which models learnt from fewer rows than others."""
    counts = {row["n"] for row in result["rows"]}
    if len(counts) == 1:
        return []
    few = [row["name"] for row in result["rows"] if row["n"] == min(counts)]
    return [f"{', '.join(few)}: a sample of {min(counts):,} of {max(counts):,} training rows"]


def interval_text(pair: Sequence[float] | None) -> str:
    """``0.940 to 1.000``, with room before it; empty for None."""
    return f"   {pair[0]:.3f} to {pair[1]:.3f}" if pair else ""


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


def caution_lines(result: dict[str, Any]) -> list[str]:
    """What an audit found in the images, or that there was none."""
    return [f"! {text}" for text in result["warnings"]]


def where_line(result: dict[str, Any]) -> str:
    """Where the files are, and what must not be forgotten."""
    notes = []
    if result.get("made"):
        notes.append(f"{' and '.join(result['made'])} set aside from the training images")
    if result["synthetic"]:
        notes.append("SYNTHETIC images: no medical result")
    return "; ".join([*notes, f"figures, tables and bundle: {result['run']}"])


@contextlib.contextmanager
def _epochs(output: Output) -> Iterator[Callable[[int, list[dict[str, float]]], None] | None]:
    """A line for each epoch on a terminal; nothing elsewhere, where the engine then runs many epochs a call."""
    if output.quiet or not sys.stderr.isatty():
        yield None
        return

    def show(epoch: int, latest: list[dict[str, float]]) -> None:
        figures = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in latest[0].items())
        click.echo(f"epoch {epoch:>4}  {figures}", err=True)

    yield show


@contextlib.contextmanager
def _cells(output: Output) -> Iterator[Callable[[Progress], None] | None]:
    """A bar with the best so far and the time left, on a terminal."""
    if output.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("fits; best {task.fields[best]}"), TimeRemainingColumn())
    sums: dict[str, list[float]] = {}
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("grid", total=None, best="–")

        def show(progress: Progress) -> None:
            key = str(sorted(progress.params.items(), key=str))
            sums.setdefault(key, []).append(progress.score)
            best = max(sums, key=lambda name: sum(sums[name]) / len(sums[name]))
            score = sum(sums[best]) / len(sums[best])
            bar.update(task, total=progress.cells, completed=progress.done, best=f"{score:.4f}")

        yield show


VERBS: list[click.Command] = [fit_head, grid, baselines, tsne, reproduce]
