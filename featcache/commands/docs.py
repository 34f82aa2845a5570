"""The verb ``docs``: the pages of ``docs/`` on the terminal, for machines without a browser."""

from __future__ import annotations

import contextlib
import difflib
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from ..errors import FeatcacheError, UsageError
from .console import Output, shared_options

_INDEX = "README"  # the page that lists the others
_WIDEST = 100  # columns: longer lines are hard to follow
_ITEM = re.compile(r"^- \[([\w-]+)\]\(\1\.md\): (.+)$", re.MULTILINE)
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def pages_folder() -> Path:
    """Where the pages are: in the package as it is installed, beside it in a clone.

    Raises :class:`FeatcacheError` where this installation holds none.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "docs", package.parent / "docs"):
        if (folder / f"{_INDEX}.md").is_file():
            return folder
    raise FeatcacheError(f"no pages in or beside {package}; install the package anew, or read docs/ of the repository")


def topics(folder: Path) -> dict[str, str]:
    """Each topic with a line about it, in the order of the page that lists them."""
    return dict(_ITEM.findall((folder / f"{_INDEX}.md").read_text(encoding="utf-8")))


@click.command()
@click.argument("topic", required=False, metavar="[TOPIC]")
@shared_options
def docs(cache: str, output: Output, topic: str | None) -> None:
    """Show a page of the documentation; without TOPIC, which pages there are."""
    folder = pages_folder()
    known = topics(folder)
    if topic is None:
        listed = [{"topic": name, "about": about} for name, about in known.items()]
        output.result({"topics": listed}, *_listing(known), "", "featcache docs TOPIC shows a page")
        return
    name = topic.removesuffix(".md")
    if name not in (*known, _INDEX):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"there is no page {topic!r}; {hint}the pages: {', '.join(known)}")
    text = (folder / f"{name}.md").read_text(encoding="utf-8")
    if output.as_json or not _on_a_terminal():
        output.result({"topic": name, "text": text}, *text.splitlines())
        return
    with contextlib.redirect_stdout(sys.__stdout__):  # from which a verb's own prints are kept
        click.echo_via_pager(_rendered(text), color=True)


def _listing(known: dict[str, str]) -> Iterator[str]:
    """A line or two a topic, as wide as the terminal."""
    indent = max(map(len, known)) + 2
    width = min(_WIDEST, shutil.get_terminal_size().columns) - indent
    for name, about in known.items():
        first, *more = textwrap.wrap(about.replace("`", ""), width)
        yield f"{name:<{indent}}{first}"
        yield from (" " * indent + line for line in more)


def _on_a_terminal() -> bool:
    return sys.__stdout__ is not None and sys.__stdout__.isatty()


def _rendered(text: str) -> str:
    """A page as a terminal shows it: as wide as the terminal, with its colours where it has any."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    # No backgrounds: nobody knows whether the terminal is dark or light.
    console = Console(file=sys.__stdout__, theme=Theme({"markdown.code": "bold cyan"}))
    console.width = min(_WIDEST, console.width)
    with console.capture() as capture:
        console.print(Markdown(for_terminals(text), code_theme="ansi_dark", hyperlinks=False))
    return capture.get()


def for_terminals(text: str) -> str:
    """Links as what to type for the page they lead to, pictures as what they show, comments left out."""
    parts = _CODE.split(_COMMENT.sub("", text))
    parts[::2] = [_LINK.sub(_reference, _PICTURE.sub(r"*Picture (\2): \1.*", part)) for part in parts[::2]]
    return "".join(parts)


def _reference(link: re.Match[str]) -> str:
    label, target = link.groups()
    page = re.fullmatch(r"([\w-]+)\.md(#.*)?", target)
    if page is None:
        return label if target.startswith("#") else f"{label} ({target})"
    return f"`{page[1]}`" if label == page[1] else f"{label} (`docs {page[1]}`)"
