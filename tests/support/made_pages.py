"""The pages made from the code: ``python tests/support/made_pages.py`` writes docs/commands.md and docs/api.md.

It also puts the graph of the rooms into docs/architecture.md. Tests compare all three with what the code says today.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import featcache  # noqa: E402
import heads  # noqa: E402
from heads.commands import main as command_line  # noqa: E402

AGAIN = "python tests/support/made_pages.py"
SHARED = ("--cache", "--json", "-q", "-v")
_SAID = (str, int, float)  # defaults of other types are no value that one would give
_HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)
_NAMES = re.compile(r"\*{0,2}[\w.]+(, \*{0,2}[\w.]+)*")
_ROLE = re.compile(r":(?:py:)?\w+:`~?([^`]+)`")


def commands_page() -> str:
    """Every verb with all its arguments and options, as click knows them."""
    verbs = dict(_verbs())
    shared = {name: parameter for name, parameter in _options(next(iter(verbs.values()))).items() if name in SHARED}
    lines = [
        "# Commands",
        "",
        "Every verb with every option, made from the command line itself.",
        "",
        f"<!-- Made by `{AGAIN}`. -->",
        "",
        "After an install the command is `featcache`; in a clone `python cli.py` is the same.",
        "`featcache VERB --help` shows what stands here.",
        "",
        "## Options of every verb",
        "",
        *(_described(parameter) for parameter in shared.values()),
        "",
        "With no `--data`, a verb works on the data of the last `extract`; in a new cache, on the built-in sample.",
        "",
        "## Exit codes",
        "",
        "| code | meaning |",
        "| --- | --- |",
        "| 0 | done |",
        "| 1 | unexpected; more with `-v` |",
        "| 2 | the command is wrong |",
        "| 3 | the data is bad; bad images are listed, after the good ones are kept |",
        "| 4 | weights or backbone are not to be had |",
        "| 5 | store or bundle damaged, locked, or not writable; a bundle that answers otherwise here |",
        "| 130 | interrupted; what was done is kept |",
        "",
    ]
    for name, command in verbs.items():
        own = [parameter for parameter in command.params if not set(parameter.opts) & set(SHARED)]
        arguments = [parameter for parameter in own if isinstance(parameter, click.Argument)]
        options = [parameter for parameter in own if not isinstance(parameter, click.Argument)]
        usage = " ".join([f"featcache {name}", *(["[OPTIONS]"] if own else []), *map(_placeholder, arguments)])
        text = " ".join(inspect.cleandoc(command.help or "").split("\n"))
        lines += [f"## {name}", "", "```", usage, "```", "", *textwrap.wrap(text, 100), ""]
        if options:
            lines += [*map(_described, options), ""]
    return "\n".join(lines).rstrip() + "\n"


def api_page() -> str:
    """What the two faces offer, with their docstrings."""
    lines = [
        "# API",
        "",
        "What `featcache` and `heads` offer in Python, made from their docstrings.",
        "",
        f"<!-- Made by `{AGAIN}`. -->",
        "",
        "The names below are the public ones; what stands deeper in the packages may change at any time.",
        "",
    ]
    for face in (featcache, heads):
        lines += [f"## {face.__name__}", "", *textwrap.wrap(_plain(_paragraphs(face)[0]), 100), ""]
        names = [f"{face.__name__}.{name}" for name in sorted(face.__all__, key=lambda name: (name[0].isupper(), name))]
        for name in names:
            first = _plain(" ".join(_paragraphs(_named(name))[0].split()))
            text = f"- [{name}](#{name.replace('.', '').lower()}): {first}"
            lines += textwrap.wrap(text, 100, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
        lines.append("")
        for name in names:
            lines += list(_entry(name, _named(name)))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _named(name: str) -> Any:
    """What a face offers, by the name behind its dot."""
    face, _, name = name.partition(".")
    return getattr({"featcache": featcache, "heads": heads}[face], name)


def _verbs(group: click.Group = command_line.cli, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _verbs(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _options(command: click.Command) -> dict[str, click.Parameter]:
    return {opt: parameter for parameter in command.params for opt in parameter.opts}


def _placeholder(argument: click.Parameter) -> str:
    if argument.metavar:
        return argument.metavar
    name = (argument.name or "").upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _described(parameter: click.Parameter) -> str:
    """An option as an item of a list: its names, what it takes, its help, its default."""
    assert isinstance(parameter, click.Option)
    kind = parameter.type
    takes = parameter.metavar or ""
    if isinstance(kind, click.Choice):
        takes = "|".join(kind.choices)
    elif not takes and not parameter.is_flag:
        takes = "NUMBER" if isinstance(kind, click.IntRange | click.FloatRange) else "TEXT"
    names = ", ".join(parameter.opts)
    said, default = (parameter.help or "").strip(), parameter.default
    if "[default" in said:
        said, _, default = said.partition("[default: ")
        default = default.partition("]")[0]
    elif not parameter.show_default or isinstance(default, bool) or not isinstance(default, _SAID):
        default = None
    sentences = [said.strip().rstrip(".") + "." if said.strip() else "", _bounds(kind)]
    sentences.append("" if default is None else f"Default: {default}.")
    text = f"- `{names}{' ' if takes else ''}{takes}`: {' '.join(filter(None, sentences))}"
    return "\n".join(textwrap.wrap(text, 100, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False))


def _bounds(kind: Any) -> str:
    """The range of a number, where there is one."""
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    low = "" if kind.min is None else f"{'above' if kind.min_open else 'at least'} {kind.min}"
    high = "" if kind.max is None else f"{'below' if kind.max_open else 'at most'} {kind.max}"
    bounds = ", ".join(filter(None, (low, high)))
    return f"{bounds[0].upper()}{bounds[1:]}." if bounds else ""


def _entry(name: str, what: Any) -> Iterator[str]:
    """One public name: heading, signature, docstring; of a class its own public methods too."""
    is_class = inspect.isclass(what)
    yield from (f"### {name}", "")
    if not (is_class and issubclass(what, BaseException)):
        yield from ("```", *_signature(name, what), "```", "")
    yield from (*_documented(what), "")
    if not is_class:
        return
    for method, member in _members(what):
        asked = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if isinstance(member, property):
            yield from (f"#### {name}.{method}", "")
        else:
            yield from (f"#### {name}.{method}()", "", "```", *_signature(method, asked), "```", "")
        yield from (*_documented(asked), "")


def _members(what: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that our own classes define, in their order."""
    seen: set[str] = set()
    for owner in what.__mro__:
        if owner.__module__.split(".")[0] not in ("featcache", "heads"):
            continue
        for name, member in vars(owner).items():
            asked = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            public = not name.startswith("_") and name not in seen
            # sklearn writes methods of its own into a class when it is made
            ours = str(getattr(asked, "__module__", "")).split(".")[0] in ("featcache", "heads")
            if public and ours and (inspect.isfunction(asked) or isinstance(member, property)):
                seen.add(name)
                yield name, member


def _signature(name: str, what: Any) -> list[str]:
    parameters = list(inspect.signature(what).parameters.values())
    if inspect.isfunction(what) and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    parts: list[str] = []
    starred = False
    for parameter in parameters:
        text = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            text, starred = f"*{text}", True
        elif parameter.kind is parameter.VAR_KEYWORD:
            text = f"**{text}"
        elif parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        if parameter.default is not parameter.empty:
            text += f"={_value(parameter.default)}"
        parts.append(text)
    short = name.rsplit(".", 1)[-1]
    one_line = f"{short}({', '.join(parts)})"
    if len(one_line) <= 76:
        return [one_line]
    body = textwrap.wrap(", ".join(parts), 72, break_on_hyphens=False, break_long_words=False)
    return [f"{short}(", *(f"    {line}" for line in body), ")"]


def _value(default: Any) -> str:
    """A default as one would write it; what has no such form, such as a function, is …."""
    if isinstance(default, str):
        return f'"{default}"'
    return repr(default) if isinstance(default, int | float | tuple | list | None) else "…"


def _documented(what: Any) -> list[str]:
    """A numpydoc docstring as Markdown."""
    text = inspect.getdoc(what) or ""
    parts = _HEADING.split(text)
    lines = [*_flowing(parts[0])]
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        body = body.strip("\n")
        lines += ["", f"**{heading}**", ""]
        if heading == "Examples":
            lines += list(_examples(body))
        elif heading in ("Notes", "References", "Warnings"):
            lines += list(_flowing(body))
        else:
            lines += list(_listed(body))
    return lines


def _examples(body: str) -> Iterator[str]:
    code = False
    for line in body.splitlines():
        now = line.startswith((">>>", "...")) or (code and bool(line.strip()))
        if now != code:
            yield "```" + ("pycon" if now else "")
        code = now
        yield line if now else _plain(line)
    if code:
        yield "```"


def _listed(body: str) -> Iterator[str]:
    """``name : type`` with its description below, as items of a list."""
    items: list[list[str]] = []
    for line in body.splitlines():
        if line.strip() and not line.startswith(" "):
            items.append([line.strip()])
        elif line.strip() and items:
            items[-1].append(line.strip())
    for head, *rest in items:
        name, colon, kind = head.partition(" : ")
        named = f"`{name}`" if _NAMES.fullmatch(name) else _plain(name)
        what = f" ({_plain(kind)})" if colon and rest else f": {_plain(kind)}" if colon else ""
        text = f"- {named}{what}" + (f": {_plain(' '.join(rest))}" if rest else "")
        yield from textwrap.wrap(text, 100, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def _flowing(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ""
        if paragraph.startswith(("- ", "    ", "|")):
            yield from map(_plain, paragraph.splitlines())
        else:
            yield from textwrap.wrap(_plain(" ".join(paragraph.split())), 100, break_on_hyphens=False)


def _paragraphs(what: Any) -> list[str]:
    return (inspect.getdoc(what) or "").split("\n\n")


def _plain(text: str) -> str:
    """Roles and double backquotes of reStructuredText as Markdown's code."""
    return re.sub(r"``([^`]+)``", r"`\1`", _ROLE.sub(r"`\1`", text))


def with_graph(page: str) -> str:
    """The page on architecture with today's graph of the rooms in it."""
    sys.path.insert(0, str(ROOT / "tests"))
    from test_layout import drawn

    return re.sub(r"(?<=a test holds it:\n\n```\n).*?(?=\n```)", lambda _: drawn(), page, count=1, flags=re.DOTALL)


PAGES = {"commands": commands_page, "api": api_page}

if __name__ == "__main__":
    for topic, made in PAGES.items():
        (ROOT / "docs" / f"{topic}.md").write_text(made(), encoding="utf-8")
    architecture = ROOT / "docs" / "architecture.md"
    architecture.write_text(with_graph(architecture.read_text(encoding="utf-8")), encoding="utf-8")
