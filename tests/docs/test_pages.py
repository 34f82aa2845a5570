"""The pages: every one is linked, every link leads somewhere, and every command in them is one."""

from __future__ import annotations

import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import click
import made_pages
import pytest
from surroundings import ROOT

from heads.commands import main as command_line

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
BY_NAME = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_QUOTED = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_PROGRAMS = (["featcache"], ["python", "cli.py"])
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


def verbs(group: click.Group = command_line.cli, before: str = "") -> dict[str, click.Command]:
    """Every verb of the command line by its name."""
    known: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            known |= verbs(command, f"{before}{name} ")
        else:
            known[before + name] = command
    return known


VERBS = verbs()


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path) -> list[list[str]]:
    """What a page says to type, as words: shell blocks, and quoted text that begins with a program or a verb."""
    lines = []
    for language, block in _FENCED.findall(page.read_text(encoding="utf-8")):
        if language == "sh":
            lines += block.replace("\\\n", " ").splitlines()
        elif not language:  # what a terminal showed: what was typed stands behind its prompt
            lines += [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    for quoted in _QUOTED.findall(prose(page)):
        verb = next((verb for verb in VERBS if f"{quoted} ".startswith(f"{verb} ")), None)
        if verb is not None and len(quoted) > len(verb):
            quoted = f"featcache {quoted}"
        if quoted.startswith(("featcache ", "python ", "pytest ")) or _ASSIGNMENT.match(quoted):
            lines.append(quoted)
    parts = [shlex.split(part) for line in lines for part in line.partition("  #")[0].split(" && ")]
    return [part for part in parts if part]


def parsed(words: list[str]) -> click.Context:
    """The words after the program, as click takes them; raises where it would refuse them. A group may stand alone."""
    command: click.Command = command_line.cli
    name = "featcache"
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        command = command.commands[name]
    return (
        click.Context(command) if isinstance(command, click.Group) and not words else command.make_context(name, words)
    )


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@BY_NAME
def test_every_link_leads_somewhere(page):
    for target in _LINK.findall(prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


def test_every_page_and_example_is_in_the_list_and_the_readme_leads_to_it():
    listed = re.findall(
        r"^- \[([\w-]+)\]\(\1\.md\): \S", (DOCS / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted(page.stem for page in DOCS.glob("*.md") if page.stem != "README")
    assert "docs/README.md" in _LINK.findall(README.read_text(encoding="utf-8"))
    examples = {path.relative_to(DOCS).as_posix() for path in (DOCS / "examples").glob("*.py")}
    assert examples <= set(_LINK.findall((DOCS / "README.md").read_text(encoding="utf-8")))
    pictures = {target for page in PAGES for target in _LINK.findall(page.read_text(encoding="utf-8"))}
    assert {path.name for path in (DOCS / "images").iterdir()} <= {Path(target).name for target in pictures}


@BY_NAME
def test_every_command_is_one(page):
    """Verbs, options, choices and arguments are click's; files that Python and pytest are given are there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    markers = project["tool"]["pytest"]["ini_options"]["markers"]
    known = {marker.partition(":")[0] for marker in markers}
    for words in commands(page):
        while words and _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        program = next((program for program in _PROGRAMS if words[: len(program)] == program), None)
        if program is not None:
            rest = words[len(program) :]
            if not rest or rest[0] == "VERB":
                continue  # the program as such
            try:
                parsed(rest)
            except (click.ClickException, KeyError) as error:
                message = error.format_message() if isinstance(error, click.ClickException) else f"no verb {error}"
                pytest.fail(f"{' '.join(words)}: {message}")
            except click.exceptions.Exit:  # --help
                pass
        elif words and Path(words[0]).name in ("python", "pytest"):
            files = [word for word in words[1:] if word.endswith(".py") or word.startswith("tests/")]
            assert all((ROOT / file).exists() for file in files), words
            if "pytest" in words[0] and "-m" in words:
                asked = set(re.findall(r"\w+", words[words.index("-m") + 1])) - {"and", "or", "not"}
                assert asked <= known, words


def test_commands_are_found_where_pages_have_them():
    """Were none found, the test above would hold of any page."""
    count = {page.stem if page != README else "/": len(commands(page)) for page in PAGES}
    assert count["/"] >= 12
    assert count["benchmarks"] >= 15
    assert count["clusters"] >= 7
    with pytest.raises(click.ClickException):
        parsed(["extract", "--no-such-option"])
    with pytest.raises(click.ClickException):
        parsed(["fit-head", "--task", "ternary"])


@BY_NAME
def test_every_option_that_is_named_exists(page):
    options = {opt for verb in VERBS.values() for parameter in verb.params for opt in parameter.opts}
    named = {word for quoted in _QUOTED.findall(prose(page)) for word in re.findall(r"(?<![\w-])--[a-z][\w-]+", quoted)}
    assert named <= options | {"--help"}, page


@BY_NAME
def test_every_file_that_is_named_is_there(page):
    roots = ("featcache/", "heads/", "tests/", "docs/")
    for quoted in _QUOTED.findall(prose(page)):
        if quoted.startswith(roots) and " " not in quoted:
            assert (ROOT / quoted).exists(), quoted


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_every_verb_stands_on_a_page(verb):
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    shared = text[text.index("## Options of every verb") :].partition("\n## ")[0]
    own = text.partition(f"\n## {verb}\n")[2].partition("\n## ")[0]
    assert own
    named = set(
        re.findall(r"(?<![\w-])--?[a-z][\w-]*", " ".join(re.findall(r"^- `([^`]+)`", shared + own, re.MULTILINE)))
    )
    for parameter in VERBS[verb].params:
        if isinstance(parameter, click.Option):
            assert set(parameter.opts) <= named, parameter.opts


@pytest.mark.parametrize("topic", made_pages.PAGES)
def test_pages_that_are_made_from_the_code_say_what_it_says_today(topic):
    written = (DOCS / f"{topic}.md").read_text(encoding="utf-8")
    assert written == made_pages.PAGES[topic](), f"docs/{topic}.md is not what the code says: {made_pages.AGAIN}"


def test_the_readme_is_short():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    assert len(text.split()) <= 1000
    for line in text.splitlines():
        assert len(line) <= 120 or line.startswith("|") or "://" in line, line


def test_the_readme_holds_the_command_that_ci_runs():
    block = README.read_text(encoding="utf-8").partition("<!-- test-command -->\n")[2].partition("<!-- end -->")[0]
    (language, command), *others = _FENCED.findall(block)
    assert (language, others) == ("sh", [])
    assert command.count("\n") == 1
    assert "pytest" in command


def test_words_have_one_meaning():
    """Each word stands once in the list, and the students' report is called the reference on every page."""
    text = (DOCS / "concepts.md").read_text(encoding="utf-8")
    words = [word.strip() for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for word in row.split(",")]
    words = [word for word in words if word not in ("word", "---")]
    assert len(words) == len(set(words)) > 50
    assert "Chest X-Ray Scan Classification" in text
    for page in PAGES:
        told = prose(page).replace("the students' report", "")
        assert not re.search(r"\b[Tt]he report's (?:own|grid|head|toy|best|settings|rows)\b", told), page
        assert not re.search(r"\bflatter|\bforetell", told), page
