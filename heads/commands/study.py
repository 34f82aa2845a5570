"""The verb ``study``: from images to the page."""

from __future__ import annotations

import sys
from typing import Any

import click
from click.core import ParameterSource

from featcache.commands.console import Output, shared_options
from featcache.commands.options import CLASS_TASK, CLASSES, DATA, GROUPS, PREPROCESS, SIDE
from featcache.commands.progress import extraction_progress
from featcache.errors import UsageError

from .formatting import interval_text
from .options import OUT, POOLINGS, SEED
from .parsing import names

_PLACES = {"cache", "as_json", "quiet", "verbose", "out", "config"}  # where and how, not what


@click.command()
@click.argument("config", required=False, metavar="[STUDY.TOML]")
@DATA
@click.option("--backbone", metavar="NAME[,NAME]", help="One or several [default: vgg16].")
@click.option("--weights", default="imagenet", show_default=True, metavar="W", help="imagenet, random[:SEED], FILE.")
@click.option(
    "--size", type=SIDE, metavar="N", help="Side of the square input in pixels [default: the backbone's own]."
)
@PREPROCESS
@click.option("--against", metavar="PATH", help="Images of another place: every model is judged on them too.")
@CLASS_TASK
@CLASSES
@GROUPS
@click.option("--pooling", type=POOLINGS, help="What of the kept map, in every step [default: each step's own].")
@click.option("--grid", is_flag=True, help="Search the head's hyperparameters too.")
@click.option("--baselines", metavar="A,B", help="Some of the classical models, or none [default: all].")
@click.option("--skip-bad", is_flag=True, help="Go on without images that cannot be decoded.")
@click.option("--no-images", is_flag=True, help="No thumbnails: no image leaves the machine with the page.")
# Not console's own: the study itself sets the limit, since a study.toml may say it too.
@click.option("--memory", "most", metavar="SIZE", help="What all may hold at its peak: 2GB [default: what is free].")
@SEED
@OUT
@shared_options
@click.pass_context
def study(
    context: click.Context, cache: str, output: Output, config: str | None, out: str | None, **options: Any
) -> None:
    """From images to the page in one command: extract, audit, baselines, heads, search, other images, report.

    What is there already is not done again. STUDY.TOML, which it writes, does the same again.
    """
    from ..studies.study import study

    if config is not None:
        given = [
            f"--{name.replace('_', '-')}"
            for name in options
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        ]
        if given:
            raise UsageError(
                f"{config} says all the settings, and {', '.join(given)} would say others: change the file"
            )
        asked: dict[str, Any] = {"config": config}
    else:
        asked = _asked(**options)

    def show(step: Any) -> None:
        if not output.as_json:
            output.lines(_line(step))

    result = study(
        cache=cache, out=out, on_step=show, watch=lambda backbone: extraction_progress(output, backbone), **asked
    )
    code = result.pop("exit_code")
    lines = [f"! not as it was: {text}" for text in result["differences"]]
    if result["html"]:
        lines += ["", f"Can these numbers be trusted? {result['verdict']}"]
        lines += [f"  - {reason}" for reason in result["reasons"]]
    if result["failed"]:
        lines.append(f"FAILED: {', '.join(result['failed'])}; run the same command again when it is mended")
    if result["html"]:
        lines.append(f"the page: {result['html']}")
    output.result(result, *lines, f"the same again: {_called(context)} {result['config']}")
    if code:
        sys.exit(code)


def _asked(
    classes: str | None, baselines: str | None, no_images: bool, most: str | None, **options: Any
) -> dict[str, Any]:
    chosen = [] if baselines == "none" else names(baselines)
    return {**options, "classes": names(classes), "baselines": chosen, "images": not no_images, "memory": most}


def _called(context: click.Context) -> str:
    """The verb as it was called: ``featcache study``, or ``python cli.py study`` in a clone."""
    return f"{'python ' if context.find_root().info_name == 'cli.py' else ''}{context.command_path}"


def _line(step: Any) -> str:
    """A step, with what its model gives on test."""
    took = "there already" if step.skipped else f"{step.seconds:.1f} s"
    if step.error is not None:
        return f"{step.name:<32}{took:>14}   FAILED: {step.error}"
    if step.test is None:
        return f"{step.name:<32}{took:>14}"
    accuracy, interval = step.test["accuracy"], interval_text(step.test["accuracy_ci"])
    return f"{step.name:<32}{took:>14}   accuracy {accuracy:.3f}{interval}   n = {step.test['n']}"
