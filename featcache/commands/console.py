"""What all verbs of the command line share: where results and messages go, exit codes, and the options of every verb.

With ``--json`` stdout carries one JSON object and nothing else. Messages and progress go to stderr.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import DataError, FeatcacheError, StoreError, UsageError
from ..system.foreign_errors import translated
from ..system.memory import memory_limit
from ..system.plain_text import printable
from .options import with_data, with_task

if TYPE_CHECKING:
    pass

_log = logging.getLogger(__name__)


class Output:
    """Where a verb's result and messages go."""

    def __init__(self, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self._stdout = sys.stdout

    def result(self, values: dict[str, Any], *lines: str) -> None:
        """Print the result: the JSON object, or the lines for people."""
        if self.as_json:
            self._json(values)
        else:
            self.lines(*lines)

    def lines(self, *lines: str) -> None:
        """Print lines on stdout; what a terminal would obey in a name is written out."""
        for line in lines:
            click.echo(printable(line, lines=False), file=self._stdout)

    def _json(self, values: dict[str, Any]) -> None:
        click.echo(json.dumps(values), file=self._stdout)  # which escapes all but plain ASCII itself

    def failure(self, error: BaseException, code: int) -> None:
        """Print an error: its message on stderr, and with ``--json`` the same as an object on stdout."""
        if self.verbose:
            tell("".join(traceback.format_exception(error)).rstrip())
        bad = error.bad if isinstance(error, DataError) else []
        for image in bad[:20]:
            tell(printable(f"  {image.path}: {image.reason}", lines=False))
        if len(bad) > 20:
            tell(f"  … and {len(bad) - 20} more (all of them with --json)")
        message = str(error) or type(error).__name__
        hint = "" if isinstance(error, FeatcacheError) or self.verbose else " (more with -v)"
        tell(f"error: {message}{hint}")
        if self.as_json:
            values: dict[str, Any] = {"error": message, "exit_code": code}
            if bad:
                values["bad"] = [asdict(image) for image in bad]
            self._json(values)


def tell(text: str) -> None:
    """Print a message on stderr; what a terminal would obey in a name is written out."""
    click.echo(printable(text), err=True)


class _Printable(logging.Formatter):
    """Messages as :func:`tell` prints them."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def shared_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Options of every verb; the verb is called with ``cache`` and ``output`` first, within its ``--memory``."""

    @click.option("--cache", default="cache", show_default=True, metavar="DIR", help="Folder of the store.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else there.")
    @click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr.")
    @click.option("-v", "--verbose", is_flag=True, help="More on stderr; a traceback with an error.")
    @functools.wraps(verb)
    def run(
        *, cache: str, as_json: bool, quiet: bool, verbose: bool, memory: str | None = None, **options: Any
    ) -> None:
        output = Output(as_json, quiet, verbose)
        given = click.get_current_context(silent=True)
        level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
        handler = logging.StreamHandler()
        handler.setFormatter(_Printable("%(message)s"))
        for package in ("featcache", "heads"):
            logger = logging.getLogger(package)
            logger.handlers[:] = [handler]
            logger.setLevel(level)
        try:
            if given is not None:
                _check_texts(given)
            _check_cache(cache)
            # Keras announces its downloads on stdout
            with memory_limit(memory), contextlib.redirect_stdout(sys.stderr):
                verb(cache=cache, output=output, **with_task(with_data(options)))
        except KeyboardInterrupt as error:
            output.failure(KeyboardInterrupt("interrupted; what was done is kept, run the same command to go on"), 130)
            raise SystemExit(130) from error
        except BrokenPipeError:
            raise
        except Exception as error:
            ours = translated(error)
            if ours is None:
                output.failure(error, 1)
                raise SystemExit(1) from error
            if ours is not error:
                ours.__cause__ = error
            output.failure(ours, ours.exit_code)
            raise SystemExit(ours.exit_code) from error

    return run


def _check_texts(context: click.Context) -> None:
    """Raise :class:`UsageError` for an argument that is empty, as an unset variable of a script is, or holds a NUL."""
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        name = parameter.opts[0] if isinstance(parameter, click.Option) else str(parameter.metavar or parameter.name)
        for text in value if isinstance(value, tuple) else (value,):
            if not isinstance(text, str) or text == parameter.default:
                continue
            if "\0" in text:
                raise UsageError(f"{name} holds a NUL character, which no name can; give one without it")
            if not text.strip():
                raise UsageError(f"{name} is empty; give it a value, or leave it out")


def _check_cache(cache: str) -> None:
    """Raise where no folder can have this name, and for a file: not every verb opens a store."""
    try:
        place = Path(cache).expanduser().absolute()
        if place.exists() and not place.is_dir():
            raise StoreError(f"{place} is a file; expected a folder for the cache")
    except StoreError:
        raise
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user's home
        raise UsageError(
            f"--cache {cache[:60]!r}{'…' * (len(cache) > 60)}: no folder can be called this ({error.args[-1]})"
        ) from error


def plain_streams() -> None:
    """Have stdout write what its encoding lacks, such as a file name that is not UTF-8, as an escape: stderr does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def human_size(count: float) -> str:
    """``1.5 MB`` and the like."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
