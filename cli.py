"""The command line: ``python cli.py VERB``. The verbs stand in :mod:`featcache.verbs`, :mod:`heads.verbs`,
:mod:`heads.trust_verbs`, :mod:`heads.study_verbs` and :mod:`heads.speed_verbs`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import click

import featcache
import featcache.verbs
import heads.speed_verbs
import heads.study_verbs
import heads.trust_verbs
import heads.verbs


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

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    # A scheduler's SIGTERM deserves the same care as Ctrl-C: commit what is done, then go.
    signal.signal(signal.SIGTERM, interrupt)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
