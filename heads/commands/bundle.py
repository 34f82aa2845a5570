"""The verbs of ``bundle``."""

from __future__ import annotations

import click

from featcache.commands.console import Output, human_size, shared_options

_WHAT = {"classes": "{n} classes", "labels": "{n} labels", "number": "the number {0}"}


@click.group("bundle")
def bundle_group() -> None:
    """Use a kept model elsewhere."""


@bundle_group.command("export")
@click.argument("bundle")
@click.argument("out", metavar="FILE")
@shared_options
def bundle_export(cache: str, output: Output, bundle: str, out: str) -> None:
    """Write a bundle as one network, from image to probabilities or number: FILE.onnx, or FILE.xml for OpenVINO."""
    from ..exporting.bundle_export import export_bundle

    done = export_bundle(bundle, out, cache=cache)
    count = len(done["classes"])
    output.result(
        done,
        f"{done['file']}: {human_size(done['bytes'])}, {_WHAT[done['learns']].format(*done['classes'], n=count)}",
        f"run by {done['runtime']} on {done['pictures']} pictures, it differs from the bundle by at most "
        f"{done['difference']:.1e}",
    )
