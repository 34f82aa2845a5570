"""The verb ``docs``: the pages of ``docs/`` on the terminal, for machines without a browser."""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import FeatcacheError, UsageError
from .console import Output, shared_options

if TYPE_CHECKING:
    from collections.abc import Iterator

_INDEX = "README"  # what a folder's reader sees first; here the list of topics takes its place
_WIDEST = 100  # columns: longer lines are hard to follow
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A page of ``docs/``.

    Attributes
    ----------
    topic : str
        What it is asked for by: the file's name without its suffix.
    text : str
        The page as it is written, in Markdown.
    """

    topic: str
    text: str

    @property
    def about(self) -> str:
        """The page's first paragraph, which says in a line what the page is about."""
        blocks = [block for block in _COMMENT.sub("", self.text).split("\n\n") if block.strip()]
        return " ".join(blocks[1].split()) if len(blocks) > 1 else ""


def pages() -> dict[str, Page]:
    """Every page by its topic, in alphabetical order.

    Raises :class:`FeatcacheError` where this installation holds none.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "docs", package.parent / "docs"):  # as installed; in a clone
        if folder.is_dir():
            files = sorted(path for path in folder.glob("*.md") if path.stem != _INDEX)
            return {path.stem: Page(path.stem, path.read_text(encoding="utf-8")) for path in files}
    raise FeatcacheError(f"no pages beside {package}; install the package anew, or read docs/ of the repository")


@click.command()
@click.argument("topic", required=False, metavar="[TOPIC]")
@shared_options
def docs(cache: str, output: Output, topic: str | None) -> None:
    """Show a page of the documentation; without TOPIC, which pages there are."""
    known = pages()
    if topic is None:
        listed = [{"topic": page.topic, "about": page.about} for page in known.values()]
        output.result({"topics": listed}, *_listing(known), "", "featcache docs TOPIC shows a page")
        return
    page = known.get(topic.removesuffix(".md").lower())
    if page is None:
        close = difflib.get_close_matches(topic, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"there is no page {topic!r}; {hint}There are {', '.join(known)}")
    if output.as_json or not _on_a_terminal():
        output.result({"topic": page.topic, "text": page.text}, *page.text.splitlines())
        return
    with contextlib.redirect_stdout(sys.__stdout__):  # which verbs are kept from while they work
        click.echo_via_pager(_rendered(page.text), color=True)


def _listing(known: dict[str, Page]) -> Iterator[str]:
    import shutil
    import textwrap

    width = min(_WIDEST, shutil.get_terminal_size().columns)
    indent = max(map(len, known)) + 2
    for page in known.values():
        lines = textwrap.wrap(page.about, width - indent) or [""]
        yield f"{page.topic:<{indent}}{lines[0]}"
        yield from (" " * indent + line for line in lines[1:])


def _on_a_terminal() -> bool:
    return sys.__stdout__ is not None and sys.__stdout__.isatty()


def _rendered(text: str) -> str:
    """A page as a terminal shows it: as wide as the terminal, with its colours where it has any."""
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(file=sys.__stdout__)
    console.width = min(_WIDEST, console.width)
    with console.capture() as capture:
        console.print(Markdown(_for_terminals(text), code_theme="bw", hyperlinks=False))
    return capture.get()


def _for_terminals(text: str) -> str:
    """Links as what to type for the page they lead to, pictures as what they show, comments left out."""
    parts = _CODE.split(_COMMENT.sub("", text))
    parts[::2] = [_LINK.sub(_reference, _PICTURE.sub(r"*Picture (\2): \1.*", part)) for part in parts[::2]]
    return "".join(parts)


def _reference(link: re.Match[str]) -> str:
    label, target = link.groups()
    page = re.fullmatch(r"([\w-]+)\.md(#.*)?", target)
    if page is None:
        return f"{label} ({target})" if "://" in target else label
    return f"`{page[1]}`" if label == page[1] else f"{label} (`docs {page[1]}`)"
