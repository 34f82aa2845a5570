"""The verbs about trust: what can be wrong with images, a kept model on new images, on labelled ones, beside another; and what speaks for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from featcache.commands.console import Output, human_size, shared_options
from featcache.commands.options import CLASSES, DATA, GROUPS, MEMORY, SEEDS, SPLIT, TASK
from featcache.system.plain_text import printable

from ..auditing.subject import words_for
from .training import OUT, SEED, figures_table, interval_text, names, threshold_lines, where_line

_BUNDLE_WEIGHTS = click.option(
    "--weights", metavar="W", help="imagenet or FILE: the network's weights, where the bundle holds none."
)
_SKIP_BAD = click.option("--skip-bad", is_flag=True, help="Go on without images that cannot be decoded.")


@click.command()
@DATA
@click.option("--against", metavar="PATH", help="A second set of images: what the two share is looked for as well.")
@click.option(
    "--limit",
    type=click.IntRange(2),
    metavar="N",
    help="Images to look at; of more, a random sample [default: what memory holds].",
)
@TASK
@CLASSES
@GROUPS
@MEMORY
@SEED
@OUT
@shared_options
def audit(cache: str, output: Output, classes: str | None, **options: Any) -> None:
    """Look for what makes figures lie: copies, torn patients, shortcuts, images unfit to learn from."""
    from ..auditing.audit import audit

    with _progress(output) as on_progress:
        result = audit(classes=names(classes), cache=cache, on_progress=on_progress, **options)
    of = "" if result["of"] == result["images"] else f" (a sample of {result['of']})"
    lines = [f"{result['images']} images{of} of {', '.join(result['classes'])}; {result['groups']} groups"]
    if result["shortcuts"]:
        lines += [
            "",
            f"{words_for(result['classes']).column:<20}{'score':>8}   {'95% interval':<16}{'guessing':>8}{'p':>9}",
        ]
    for probe in result["shortcuts"]:
        low, high = probe["score_ci"]
        mark = "   SHORTCUT" if probe["flag"] else ""
        figures = (
            f"{probe['score']:>8.3f}   {f'{low:.3f} to {high:.3f}':<16}{probe['chance']:>8.2f}{probe['p_value']:>9.4f}"
        )
        lines.append(f"{probe['probe']:<20}{figures}{mark}")
    lines += [
        "",
        f"{len(result['duplicates'])} set(s) of identical files, {len(result['near_duplicates'])} pair(s) of near-duplicates",
    ]
    if result["against"]:
        other = result["against"]
        lines.append(f"{other['shared_images']} of the {other['images']} images of {other['data']} are in this set too")
    if inflation := result["leak_inflation"]:
        low, high = inflation["interval"]
        lines.append(
            f"folds that tear groups apart: {inflation['image_wise']:.3f}; that keep them whole: {inflation['group_wise']:.3f}; "
            f"overestimated by {inflation['difference']:+.3f}   {low:+.3f} to {high:+.3f}"
        )
    lines += ["", *(f"! {text}" for text in result["warnings"] or ["nothing found"])]
    if result["synthetic"]:
        lines.append("SYNTHETIC images: no medical result")
    output.result(result, *lines, f"figures, tables and manifest.csv with clean splits: {result['run']}")


@contextlib.contextmanager
def _progress(output: Output) -> Iterator[Callable[[str, int], None]]:
    """What is going on, on a terminal."""
    if output.quiet or not sys.stderr.isatty():
        yield lambda what, done: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("") as status:
        yield lambda what, done: status.update(
            Text(printable(f"{what}{f', {done} images' if done else ''}", lines=False))
        )


@click.command()
@click.argument("bundle")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@_BUNDLE_WEIGHTS
@_SKIP_BAD
@MEMORY
@shared_options
def predict(cache: str, output: Output, bundle: str, images: tuple[str, ...], **options: Any) -> None:
    """Label new images: files, folders or manifests."""
    from ..inference.prediction import predict

    result = predict(bundle, images, cache=cache, **options)
    lines = []
    for row in result["rows"]:
        shares = "  ".join(f"{name} {value:.3f}" for name, value in row["probabilities"].items())
        lines.append(f"{row['label']:<16} {shares}  {row['path']}")
        if row["unlike_training"]:
            lines.append(
                f"  UNLIKE TRAINING: distance {row['distance']:.3f}, over {result['novelty']['threshold']:.3f}; a guess"
            )
    lines += [f"warning of this model: {text}" for text in result["warnings"]]
    if result["synthetic"]:
        lines.append("This model learnt from SYNTHETIC images: nothing it says is a medical result.")
    output.result(result, *lines)


@click.command()
@click.argument("bundle")
@DATA
@GROUPS
@MEMORY
@SPLIT
@_BUNDLE_WEIGHTS
@_SKIP_BAD
@OUT
@shared_options
def evaluate(cache: str, output: Output, bundle: str, **options: Any) -> None:
    """Judge a kept model on other labelled images."""
    from ..inference.prediction import evaluate_bundle

    result = evaluate_bundle(bundle, cache=cache, **options)
    lines = figures_table(result)
    if result["threshold"]:
        lines += threshold_lines(result["threshold"], result["classes"][1])
    if unlike := result["unlike_training"]:
        lines.append(
            f"unlike the training images: {unlike['count']} of {result['test']['n']}, {unlike['share']:.3f}"
            f"{interval_text(unlike['share_ci'])}; by chance {unlike['by_chance']:.3f}"
        )
    internal = result["internal"]
    if internal:
        low, high = internal["accuracy_ci"]
        lines.append(
            f"when it was made, on its own test images: accuracy {internal['accuracy']:.4f}   {low:.3f} to {high:.3f}"
        )
    if result["other_classes"]:
        lines.append(f"{result['other_classes']} images of classes that the model does not know are left out")
    lines += [f"warning of this model: {text}" for text in result["warnings"]]
    output.result(result, *lines, where_line(result))


@click.command()
@click.argument("bundle_a", metavar="BUNDLE_A")
@click.argument("bundle_b", metavar="BUNDLE_B")
@DATA
@GROUPS
@MEMORY
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    help="Only this part of the data [default: test, of the last extract's data].",
)
@_BUNDLE_WEIGHTS
@_SKIP_BAD
@OUT
@shared_options
def compare(cache: str, output: Output, bundle_a: str, bundle_b: str, **options: Any) -> None:
    """Judge two kept models on the same images: which is better, and whether these images can tell."""
    from ..inference.comparison import compare

    result = compare(bundle_a, bundle_b, cache=cache, **options)
    a, b = result["a"]["test"], result["b"]["test"]
    lines = [f"{'':<18}{'A':>9}{'B':>9}{'A minus B':>11}   95% interval"]
    for name, difference in result["differences"].items():
        if difference["value"] is not None:
            both = f"{a[name]:>9.4f}{b[name]:>9.4f}{difference['value']:>+11.4f}"
            low, high = difference["ci"]
            lines.append(f"{name.replace('_', ' '):<18}{both}   {low:+.3f} to {high:+.3f}")
    lines.append(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in result["agreement"].items()))
    lines.append(result["verdict"])
    output.result(result, *lines, where_line(result))


@click.command()
@click.argument("bundle")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@DATA
@GROUPS
@MEMORY
@SPLIT
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=50,
    show_default=True,
    help="Images drawn one by one, misclassified ones first.",
)
@_BUNDLE_WEIGHTS
@_SKIP_BAD
@OUT
@shared_options
def saliency(cache: str, output: Output, bundle: str, images: tuple[str, ...], **options: Any) -> None:
    """Draw what speaks for a kept model's answers, over the given images or over labelled data."""
    from ..inference.saliency_maps import saliency

    result = saliency(bundle, images, cache=cache, **options)
    cells = " x ".join(map(str, result["map"]))
    lines = [
        f"{result['images']} images, {result['drawn']} drawn one by one; maps of {cells} cells",
        f"positive evidence in the border of the map ({result['border_area']:.0%} of its area), by predicted class:",
    ]  # fmt: skip
    lines += [f"  {name:<20} {share:.0%}" for name, share in result["border"].items() if share is not None]
    lines += [f"warning of this model: {text}" for text in result["warnings"]]
    if result["synthetic"]:
        lines.append("SYNTHETIC images: no medical result")
    output.result(result, *lines, f"figures and tables: {result['run']}")


@click.command()
@click.argument("runs", nargs=-1)
@click.option("--audit", metavar="DIR", help="The audit's folder. Default: the newest of the same data.")
@click.option("--bundle", metavar="DIR", help="Whose first dense layer is drawn. Default: the newest head's.")
@click.option("--no-images", is_flag=True, help="No thumbnails: no image leaves the machine with the page.")
@click.option("--seed", type=SEEDS, default=0, show_default=True, help="Of t-SNE.")
@MEMORY
@click.option("--out", metavar="FILE", help="The page [default: report.html beside the runs].")
@shared_options
def report(cache: str, output: Output, runs: tuple[str, ...], no_images: bool, **options: Any) -> None:
    """One HTML page about RUNS (a folder of runs, or single ones; default ./runs): can the figures be trusted?"""
    from ..reporting.html_report import report

    chosen = None if not runs else runs[0] if len(runs) == 1 else list(runs)
    result = report(chosen, cache=cache, images=not no_images, **options)
    lines = [f"Can these figures be trusted? {result['verdict']}", *(f"  - {reason}" for reason in result["reasons"])]
    if result["left_out"]:
        lines.append(f"{len(result['left_out'])} run(s) on other data are left out; name them to have a page of them")
    if result["synthetic"]:
        lines.append("SYNTHETIC images: no medical result")
    shown = f"{len(result['runs'])} run(s), {result['points']} images on the map"
    output.result(result, *lines, f"{shown}: {result['html']} ({human_size(result['bytes'])})")


VERBS: list[click.Command] = [audit, evaluate, predict, compare, saliency, report]
