"""The verb ``extract``: options in, one call for each backbone, lines or JSON out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import featcache

from ..errors import BadImage, UsageError
from .console import Output, shared_options, tell
from .options import COUNT, DATA, GROUPS, NETWORK_INPUT, PREPROCESS, SIDE, Precision
from .progress import extraction_progress

if TYPE_CHECKING:
    from ..extraction.extract_paths import ExtractResult


@click.command()
@DATA
@click.option(
    "--backbone",
    default="vgg16",
    show_default=True,
    metavar="NAME[,NAME]",
    help="One or several: of the table, a file of a network, timm:NAME, hf:NAME or FOLDER, xrv:NAME.",
)
@click.option("--weights", default="imagenet", show_default=True, metavar="W", help="imagenet, random[:SEED], FILE.")
@click.option("--size", type=SIDE, metavar="N", help="Side of the square input in pixels [default: 224].")
@click.option(
    "--layer", default="", metavar="NAME[,NAME]", help="Keep this layer's output, or several's [default: the last]."
)
@PREPROCESS
@click.option(
    "--keep",
    type=click.Choice(["map", "avg"]),
    help="map (and its average) or avg (the average alone) [default: map, where there is one].",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="What is stored.",
)
@click.option(
    "--precision",
    type=Precision(),
    default="float32",
    show_default=True,
    help="What is computed in; the error of the others is measured and said.",
)
@click.option("--calibration", metavar="SET", help="Of int8: take this set's network [default: made of this data].")
@click.option(
    "--runtime",
    type=click.Choice(["auto", "tensorflow", "openvino", "torch"]),
    default="auto",
    show_default=True,
    help="What computes; openvino is for CPUs, torch for PyTorch's networks on a GPU.",
)
@NETWORK_INPUT
@click.option("--batch-size", type=COUNT, metavar="N", help="Images a step [default: found by trying].")
@click.option("--devices", metavar="D,D", help="A process for each: gpu:0,gpu:1, or cpu:2.")
@click.option("--scheduler", metavar="ADDRESS", help="Compute on Dask: tcp://HOST:PORT, or local[:PROCESSES].")
@click.option("--send-back", is_flag=True, help="Dask's workers do not see the cache: they send shards.")
@click.option(
    "--compression", type=click.Choice(["none", "gzip", "zstd"]), default="none", show_default=True, help="Of shards."
)
@click.option("--skip-bad", is_flag=True, help="Go on without images that cannot be decoded.")
@GROUPS
@shared_options
def extract(cache: str, output: Output, backbone: str, layer: str, **options: Any) -> None:
    """Fill the cache: compute the features of every image that has none yet."""
    names = [name.strip() for name in backbone.split(",") if name.strip()]
    if not names:
        raise UsageError("--backbone names no backbone")
    options["channels"] = int(options["channels"]) if options["channels"] else None
    layers = [name.strip() for name in layer.split(",")]
    results = []
    for name in names:
        with extraction_progress(output, name) as (on_start, on_progress):
            done = featcache.extract_layers(
                layers, backbone=name, cache=cache, on_start=on_start, on_progress=on_progress, **options
            )
        results += done
        if not output.as_json:
            _list_skipped(done[0].bad)
            for result in done:
                output.lines(_summary(result), *_error(result, options["precision"]))
    rows = [result.to_dict() for result in results]
    output.result(rows[0] if len(rows) == 1 else {"feature_sets": rows})


def _summary(result: ExtractResult) -> str:
    shape = " x ".join(map(str, result.shape))
    marks = (" [SYNTHETIC images]" if result.synthetic else "") + (" [RANDOM weights]" if result.random_weights else "")
    parts = [f"{result.computed} computed"]
    if result.computed:
        parts[0] += f" in {result.seconds:.1f} s ({result.images_per_second:.1f} images/s)"
    parts.append(f"{result.reused} reused" + (f", {result.saved_seconds:.0f} s saved" if result.reused else ""))
    if result.copies:
        parts.append(f"{result.copies} exact copies")
    if result.skipped:
        parts.append(f"{result.skipped} skipped")
    return f"{result.feature_set}: {result.images} images of {shape}; {'; '.join(parts)}{marks}"


def _error(result: ExtractResult, precision: str) -> list[str]:
    error = result.precision_error
    if error is None:
        return []
    return [
        f"{precision}: of {error['images']} of these images, features differ from float32's by "
        f"{100 * error['median']:.2g}% of their length (median), {100 * error['largest']:.2g}% at most"
    ]


def _list_skipped(bad: list[BadImage]) -> None:
    for image in bad:
        tell(f"skipped {image.path}: {image.reason}")
