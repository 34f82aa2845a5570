"""The worked examples of ``docs/examples``, each run as it stands in an empty folder, without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from surroundings import OFFLINE, ROOT

FOLDER = ROOT / "docs" / "examples"
# What an example must come to, besides ending well: the point that it makes.
SAYS = {
    "own_pipeline.py": [
        r"128 images: 128 computed",
        r"test: \d+ of 32 right, 0\.\d\d \(95% interval",
        r"0\.\d\d of the test images right, from paths to labels",
    ],
    "is_my_accuracy_real.py": [
        r"same hospital: +1\.00 right of 20",
        r"border +1\.00 .* SHORTCUT",
        r"other hospital's images: +0\.50 right of 32",
        r"it calls 32 of them normal and 0 of them covid",
        r"folds of images: 0\.9\d; folds of patients: 0\.[678]\d",
    ],
    "million_images_on_a_cluster.py": [
        r"384 images: 384 computed on local:2, 0 bad",
        r"once more: 0 computed, 384 were there",
        r"StoredRows of 384 x 1024, 64 patients",
        r"best of 6 forests",
    ],
}


def test_every_example_is_run():
    assert {path.name for path in FOLDER.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_an_example_uses_what_is_public(name):
    imports = re.findall(r"^\s*(?:from|import) ((?:featcache|heads)[\w.]*)", (FOLDER / name).read_text("utf-8"), re.M)
    assert imports
    assert set(imports) <= {"featcache", "heads"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SAYS)
def test_an_example_comes_to_its_point(name, tmp_path):
    if name.startswith("million"):
        pytest.importorskip("distributed", reason="needs the extra dask")
    done = subprocess.run(
        [sys.executable, str(FOLDER / name)],
        cwd=tmp_path,
        env={**os.environ, **OFFLINE, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for pattern in SAYS[name]:
        assert re.search(pattern, done.stdout), f"{pattern!r} is not in:\n{done.stdout}\n{done.stderr[-2000:]}"
