"""Prints the lowest release of a package that pyproject.toml allows, as pip takes it: ``scikit-learn==1.8``.

The search tests run on it beside the newest, which is what pip installs by itself::

    pip install --no-deps --target .venv-test/lowest "$(python tests/support/lowest_release.py scikit-learn)"
    PYTHONPATH=.venv-test/lowest pytest tests/search
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def lowest_release(package: str) -> str:
    """The requirement for the lowest release; a SystemExit where none is stated."""
    for requirement in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]:
        stated = re.match(rf"{re.escape(package)}\s*>=\s*([\d.]+)", requirement)
        if stated:
            return f"{package}=={stated[1]}"
    raise SystemExit(f"{PROJECT.name} states no lowest release of {package}; expected {package}>=VERSION")


if __name__ == "__main__":
    sys.stdout.write(lowest_release(sys.argv[1]) + "\n")
