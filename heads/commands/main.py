"""The command line, whole: ``featcache VERB``, or ``python cli.py VERB`` in a clone."""

from __future__ import annotations

import json
import os
import sys

import click

import featcache
from featcache.commands.cache import cache_group
from featcache.commands.console import plain_streams
from featcache.commands.docs import docs
from featcache.commands.extract import extract
from featcache.commands.weights import weights_group
from featcache.system import interrupts

from .audit import audit
from .baselines import baselines
from .benchmark import benchmark_group
from .bundle import bundle_group
from .compare import compare
from .fit_head import fit_head
from .grid import grid
from .judge import evaluate, predict
from .label_errors import label_errors
from .learning_curve import learning_curve
from .report import report
from .reproduce import reproduce
from .saliency import saliency
from .scout import scout
from .similar import similar
from .study import study
from .tsne import tsne
from .vault import vault_group
from .worklist import worklist

_VERBS: tuple[click.Command, ...] = (
    *(extract, cache_group, weights_group, docs, benchmark_group, study, scout),
    *(fit_head, grid, baselines, learning_curve, tsne, reproduce),
    *(audit, label_errors, evaluate, predict, similar, compare, saliency),
    *(report, worklist, bundle_group, vault_group),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(featcache.__version__, prog_name="featcache")
def cli() -> None:
    """Run each frozen ImageNet backbone once over a set of images, and keep its features."""


for _verb in _VERBS:
    cli.add_command(_verb)


def main() -> None:
    """Entry point of ``featcache`` and of ``python cli.py``."""
    interrupts.end_on_sigterm(_last_words)  # a scheduler's SIGTERM deserves the same care as Ctrl-C
    try:
        _run()
    except SystemExit as ended:
        interrupts.leave(ended.code)
        raise


def _run() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    plain_streams()
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        if "--json" in sys.argv:
            click.echo(json.dumps({"error": error.format_message(), "exit_code": error.exit_code}))
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _last_words() -> None:
    message = "interrupted; what was committed is kept, run the same command to go on"
    click.echo(f"error: {message}", err=True)
    if "--json" in sys.argv:
        os.write(1, (json.dumps({"error": message, "exit_code": 130}) + "\n").encode())
