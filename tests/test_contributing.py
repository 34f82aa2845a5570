"""The pages for those who work on the project name what is there: files, tests, tasks, one version."""

from __future__ import annotations

import re
import tomllib

import pytest
from surroundings import ROOT

import featcache

PAGES = ("CONTRIBUTING.md", "SECURITY.md", "docs/stability.md")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    quoted = re.findall(r"`([^`\n]+)`", text)
    roots = ("featcache/", "heads/", "tests/", "docs/")
    missing = [name for name in quoted if name.startswith(roots) and not (ROOT / name).exists()]
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    missing += [link for link in links if "://" not in link and not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_constants_stand_where_the_table_of_formats_says():
    rows = re.findall(r"`(_?[A-Z]+)` in `([\w/.]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    rows += re.findall(r"`(_[A-Z]+)` of `([\w/.]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(rows) >= 7
    for constant, module in rows:
        assert re.search(rf"^{constant} =", (ROOT / module).read_text(encoding="utf-8"), re.M), (constant, module)


def test_every_promise_of_safety_names_a_test():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| promise", "| ---"))]
    assert len(rows) > 15
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
    }
    for row in rows:
        named = set(re.findall(r"`(test_\w+)`", row))
        assert named, row
        assert named <= tests, named - tests


def test_every_task_that_is_named_stands_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    tasks = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
    assert phony is not None
    assert set(phony[1].split()) == tasks
    for place in ("CONTRIBUTING.md", ".ci/run"):
        for line in re.findall(r"\bmake ((?:PYTHON=\S+ )?[a-z][a-z -]*)", (ROOT / place).read_text(encoding="utf-8")):
            named = [word for word in line.split() if "=" not in word]
            if place == ".ci/run" or named[0] in tasks:
                assert set(named) <= tasks, line


def test_the_version_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {project['version']}\n" in citation
    assert featcache.__version__ == project["version"]
