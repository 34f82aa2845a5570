"""Docstrings of the two faces: every parameter in order and with a type, what is returned, and an example."""

from __future__ import annotations

import dataclasses
import inspect
import tomllib
from fnmatch import fnmatch

import pytest
from faces import NAMES, offered, public_members
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import ERROR_MSGS, Validator, validate
from surroundings import ROOT

# What numpydoc would ask for besides, and why it is not asked here.
OFF = {
    "ES01": "a summary that says all needs no second paragraph",
    "SA01": "a See Also that is there to be there leads nowhere",
    "SS05": "tells verbs by an s at the end of the first word, and so takes 'Features of …' for one",
    "RT02": "a result of several named parts is said as 'name : type', one part or many",
    "PR08": "a description may begin with a word that is written small, such as a parameter's name",
    "RT04": "as PR08",
}
CHECKED = set(ERROR_MSGS) - set(OFF)
OF_NAMES_ALONE = {"EX01"}  # an example shows a class at work; its methods need none of their own


def shortfalls(name: str, checks: set[str]) -> list[str]:
    """What is wrong with the docstring of a dotted name, a line each."""
    errors = [(code, text) for code, text in validate(name)["errors"] if code in checks]
    target = Validator._load_obj(name)
    if inspect.isclass(target) and issubclass(target, BaseException):
        errors = [error for error in errors if error[0] not in ("PR01", "PR02", "PR03")]  # *args of Exception
    elif dataclasses.is_dataclass(target):
        # The fields of a result, which no reader makes himself, may stand under Attributes.
        errors = [error for error in errors if error[0] not in ("PR01", "PR02", "PR03")] + fields_untold(name)
    return [f"{name}: {code} {text}" for code, text in errors]


def fields_untold(name: str) -> list[tuple[str, str]]:
    """The fields of a dataclass that its docstring leaves out, or gives no type."""
    cls = offered(name)
    doc = documented(name)
    fields = [field.name for field in dataclasses.fields(cls) if not field.name.startswith("_")]
    errors = [("PR01", f"Field {field!r} not documented") for field in fields if field not in doc]
    errors += [("PR04", f"Field {field!r} has no type") for field in fields if field in doc and not doc[field]]
    told = [field for field in doc if field in fields]
    if told != [field for field in fields if field in doc]:
        errors.append(("PR03", f"Wrong order of fields. Actual: {fields}. Documented: {told}"))
    return errors


def documented(name: str) -> dict[str, str]:
    """Type of each name under Parameters and Attributes."""
    doc = NumpyDocString(inspect.getdoc(offered(name)) or "")
    return {
        one: entry.type
        for section in ("Parameters", "Attributes")
        for entry in doc[section]
        for one in entry.name.split(", ")
    }


def test_every_docstring_of_the_faces_is_whole():
    lacking: list[str] = []
    seen: set[int] = set()  # what several classes inherit is told once
    for name in NAMES:
        lacking += shortfalls(name, CHECKED)
        for dotted, member in public_members(name):
            if id(member) not in seen:
                lacking += shortfalls(dotted, CHECKED - OF_NAMES_ALONE)
            seen.add(id(member))
    if lacking:
        pytest.fail(f"{len(lacking)} shortfalls:\n" + "\n".join(lacking), pytrace=False)


def test_attributes_have_types():
    """numpydoc looks at parameters alone."""
    untyped = [f"{name}: {one}" for name in NAMES for one, kind in documented(name).items() if not kind.strip()]
    if untyped:
        pytest.fail(f"{len(untyped)} without a type:\n" + "\n".join(untyped), pytrace=False)


def test_ruffs_rules_for_docstrings_cover_the_faces():
    """pyproject.toml names the modules by hand; a name that moves takes its module with it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    (pattern,) = [key for key, rules in settings["per-file-ignores"].items() if rules == ["D"] and key[0] == "!"]
    covered = pattern.removeprefix("!{").removesuffix("}").split(",")
    homes = {offered(name).__module__.replace(".", "/") + ".py" for name in NAMES}
    left_out = sorted(home for home in homes if not any(fnmatch(home, one) for one in covered))
    assert not left_out, f"name in [tool.ruff.lint.per-file-ignores]: {', '.join(left_out)}"
    stale = sorted(one for one in covered if not (ROOT / one).is_file())
    assert not stale, f"no longer there: {', '.join(stale)}"
