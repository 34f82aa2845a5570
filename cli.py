"""The command line: ``python cli.py VERB``. The verbs stand in :mod:`featcache.verbs`, :mod:`heads.verbs`,
:mod:`heads.trust_verbs`, :mod:`heads.study_verbs` and :mod:`heads.speed_verbs`."""

from __future__ import annotations

import json
import os
import sys

import click

import featcache
import featcache.verbs
import heads.speed_verbs
import heads.study_verbs
import heads.trust_verbs
import heads.verbs
from featcache import interrupts
from featcache.console import plain_streams


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(featcache.__version__, prog_name="featcache")
def cli() -> None:
    """Run each frozen ImageNet backbone once over a set of images, and keep its features."""


cli.add_command(featcache.verbs.extract)
cli.add_command(featcache.verbs.cache_group)
cli.add_command(heads.speed_verbs.benchmark_group)
for _verb in (*heads.study_verbs.VERBS, *heads.verbs.VERBS, *heads.trust_verbs.VERBS):
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


if __name__ == "__main__":
    main()
