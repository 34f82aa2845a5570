"""The verbs of ``bundle``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


@bundle_group.command("doctor")
@click.argument("bundle")
@shared_options
def bundle_doctor(cache: str, output: Output, bundle: str) -> None:
    """Say whether this machine answers as the bundle's own did, and which step differs; exit 5 where one does."""
    from ..bundles import doctor

    result = doctor.bundle_doctor(bundle)
    output.result(result, *_told(result))
    if not result["equal"]:
        raise SystemExit(5)


def _told(result: Mapping[str, Any]) -> list[str]:
    """Each step in a line, what comes of it all, and the verdict."""
    lines = []
    for step in result["steps"]:
        others = [
            f"{name} {here or 'none'} here, {there or 'none'} there" for name, (here, there) in step["versions"].items()
        ]
        mark = {True: " ", False: "!", None: "?"}[step["equal"]]
        lines.append(f"{mark} {step['name']:<10}{step['says']}")
        lines += [" " * 12 + "; ".join(others)] if others else []
    answers = result["answers"]
    if answers is not None:
        apart = answers["difference"]
        text = f"differ by up to {apart:.2g} from file to answer" if apart else "the same, from file to answer"
        if answers["changed"]:
            text += f"; {answers['changed']} of {answers['of']} pictures are called otherwise"
        lines.append(f"  {'answers':<10}{text}")
    if result["first"] is not None:
        lines.append(f"the first step that is another here is {result['first']}")
    elif any(step["equal"] is None for step in result["steps"]):
        lines.append("what can be told is as it was where the bundle was made")
    else:
        lines.append("this machine answers as the one that the bundle was made on")
    return lines
