"""What a user gets: the wheel, installed where there is no clone, and the source distribution it is built from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from pictures import write_images
from surroundings import OFFLINE, ROOT

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """A command that knows nothing of the clone."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | OFFLINE
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it alone."""
    pytest.importorskip("hatchling", reason="no hatchling here, which builds the wheel (extra test)")
    folder = tmp_path_factory.mktemp("built")
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (source,) = folder.glob("*.tar.gz")
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    done = run(sys.executable, "-m", "pip", "wheel", "-q", *offline, "-w", folder, source, cwd=folder)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """An environment with the wheel, outside the clone; what it depends on comes from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("installed")
    done = run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    done = run(*pip, "install", "-q", "--no-deps", "--no-index", built[1], cwd=folder)
    assert done.returncode == 0, done.stderr
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip())
    # A line in a .pth, and no .pth of that folder, is followed: an editable clone there stays out.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder


def test_the_wheel_holds_the_two_packages_and_nothing_else(built):
    names = zipfile.ZipFile(built[1]).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"featcache", "heads"}
    assert {"featcache/py.typed", "heads/py.typed"} <= set(names)
    code = {path.relative_to(ROOT).as_posix() for one in ("featcache", "heads") for path in (ROOT / one).rglob("*.py")}
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "heads/reporting/templates").iterdir()}
    assert templates
    assert code | templates <= set(names)


def test_the_source_holds_tests_and_pages(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = [path for one in ("tests", "docs") for path in (ROOT / one).rglob("*") if path.is_file()]
    wanted = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    wanted |= {
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CITATION.cff",
        "LICENSE",
        "Makefile",
        "cli.py",
    }
    assert wanted - names == set()


def test_what_is_installed_works_without_the_clone(installed, tmp_path):
    python, featcache = installed / "bin" / "python", installed / "bin" / "featcache"
    places = run(python, "-c", "import featcache, heads; print(featcache.__file__, heads.__file__)", cwd=tmp_path)
    assert [Path(place).is_relative_to(installed) for place in places.stdout.split()] == [True, True], places
    assert "No module named 'cli'" in run(python, "-c", "import cli", cwd=tmp_path).stderr
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert run(featcache, "--version", cwd=tmp_path).stdout.split()[-1] == version

    write_images(tmp_path / "images", 12)
    extract = (featcache, "extract", "--data", "images", "--backbone", "pixels", "--size", 16, "--json")
    done = run(*extract, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["computed"] == 12
    assert json.loads(run(*extract, cwd=tmp_path).stdout)["reused"] == 12


def test_the_installed_pages_are_shown(installed, tmp_path):
    from heads.commands.main import cli

    if "docs" not in cli.commands:
        pytest.skip("this version has no verb docs")
    for page in (ROOT / "docs").glob("*.md"):
        done = run(installed / "bin" / "featcache", "docs", page.stem, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        title = page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        assert title in done.stdout
