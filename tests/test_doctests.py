"""The examples in the docstrings of the two faces, run as they stand, each in an empty folder."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import io

import pytest
from faces import NAMES, offered, public_members
from shortened import few_trees, undrawn

_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(name: str) -> list[doctest.DocTest]:
    """The examples of a name and of its methods; each begins with nothing imported."""
    found = []
    for dotted, target in [(name, offered(name)), *public_members(name)]:
        test = doctest.DocTestParser().get_doctest(
            inspect.getdoc(target) or "", {}, dotted, inspect.getsourcefile(offered(name)), 0
        )
        if test.examples:
            found.append(test)
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", NAMES)
def test_examples_of_the_faces_run(name, tmp_path, monkeypatch):
    tests = examples(name)
    if not tests:
        pytest.fail(f"{name} has no example", pytrace=False)
    told = io.StringIO()
    for number, test in enumerate(tests):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        with undrawn(), contextlib.nullcontext() if name == "heads.audit" else few_trees():
            doctest.DocTestRunner(optionflags=_OPTIONS).run(test, out=told.write)
    if told.getvalue():
        pytest.fail(told.getvalue(), pytrace=False)
