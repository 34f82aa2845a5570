"""Places that cannot be written to, names that are not UTF-8, and what foreign errors become."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import write_images
from PIL import Image
from surroundings import ROOT

from featcache.errors import DataError, FeatcacheError, StoreError, UsageError
from featcache.system.foreign_errors import translated
from featcache.system.write_access import require_writable


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), UsageError),
        (OSError(errno.EROFS, "Read-only file system", "/a"), StoreError),
        (OSError(errno.ENOSPC, "No space left on device", "/a"), StoreError),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), StoreError),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/a"), UsageError),
        (OSError(errno.EIO, "Input/output error", "/a"), StoreError),
        (OSError(errno.EMFILE, "Too many open files", "/a"), StoreError),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), DataError),
        (UnicodeEncodeError("utf-8", "a\n/b/\udce9.png\nc", 5, 6, "surrogates not allowed"), DataError),
        (MemoryError("Unable to allocate 18.6 GiB"), UsageError),
        (sqlite3.OperationalError("disk I/O error"), StoreError),
        (ValueError("embedded null byte"), UsageError),
        (ModuleNotFoundError("No module named 'x'", name="x"), UsageError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_foreign_errors_are_sentences(error, kind):
    ours = translated(error)
    assert type(ours) is kind
    assert 2 <= ours.exit_code <= 5
    assert len(str(ours).split()) > 5
    str(ours).encode()  # and can be printed anywhere
    assert len(str(ours)) < 400
    if isinstance(error, UnicodeError):
        assert r"/b/\udce9.png" in str(ours)


def test_ours_stay_and_what_is_nobodys_fault_is_told_as_it_is():
    ours = StoreError("words")
    assert translated(ours) is ours
    assert translated(AssertionError()) is None
    assert translated(KeyError("x")) is None


def test_a_place_is_asked_before_and_left_as_it_was(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(FeatcacheError, match=r"is a file; expected a folder.*--out"):
        require_writable(tmp_path / "file", "--out")
    for folder in (tmp_path / "file" / "below", tmp_path / ("x" * 300), "/proc/x", "a\0b"):
        with pytest.raises(FeatcacheError, match=r"nothing can be written here.*--out"):
            require_writable(folder, "--out")


def _locked(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    """A command that may read in ``folder`` and not write; root obeys permissions only without a capability."""
    as_root = os.geteuid() == 0
    if as_root and shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere, and there is no setpriv")
    drop = ["setpriv", "--bounding-set", "-dac_override"] if as_root else []
    places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in places:
        path.chmod(0o555)
    try:
        return subprocess.run(
            [*drop, sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
            cwd=folder.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    finally:
        for path in places:
            path.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_read_only_cache_is_told_before_the_audit_works(tmp_path, images, cli):
    assert cli("extract", "--data", images, "--backbone", "pixels", "--size", 8).code == 0
    done = _locked(tmp_path / "cache", "audit", "--data", images)
    assert done.returncode == 5, done.stderr
    assert "nothing can be written here" in done.stderr
    assert not (tmp_path / "runs").exists()  # nor is anything left behind
    listed = _locked(tmp_path / "cache", "cache", "ls")
    assert listed.returncode == 0, listed.stderr


def test_the_work_is_not_begun_where_its_results_cannot_be_kept(tmp_path, images, monkeypatch):
    from heads.auditing.audit import audit

    monkeypatch.setattr("heads.auditing.audit.summarise", lambda *_: pytest.fail("it looked at images first"))
    with pytest.raises(UsageError, match="/proc/x"):
        audit(images, cache=tmp_path / "cache", out="/proc/x")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    with pytest.raises(UsageError, match="is there already"):
        audit(images, cache=tmp_path / "cache", out=tmp_path / "taken")


def test_stdout_takes_names_that_are_not_utf8_and_any_encoding():
    script = (
        "import sys, logging, json; sys.path.insert(0, sys.argv[1])\n"
        "from featcache.commands.console import Output, plain_streams\n"
        "plain_streams()\n"
        "name = b'caf\\xe9.png'.decode('utf-8', 'surrogateescape')\n"
        "Output(False, False, False).lines(name, 'a ± b')\n"
        "Output(True, False, False).result({'path': name})\n"
        "logging.warning('%s', name)\n"
    )
    for encoding in ("utf-8", "ascii", "latin-1"):
        done = subprocess.run(
            [sys.executable, "-c", script, str(ROOT)],
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert done.returncode == 0, done.stderr
        assert rb"caf\udce9.png" in done.stdout
        assert json.loads(done.stdout.splitlines()[-1])["path"] == "caf\udce9.png"
        assert b"Error" not in done.stderr


def test_figures_draw_every_name_as_it_is_written(tmp_path):
    from heads.evaluation import comparison_plots, plots
    from heads.evaluation.canvas import save_figure
    from heads.inference import embedding_plots

    classes = ("$a$b$", "caf\udce9", r"$\frac{$")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    probabilities = rng.dirichlet(np.ones(3), 60)
    drawn = {
        "confusion": plots.confusion(rng.integers(0, 9, (3, 3)), classes, "of $x and $y"),
        "roc": plots.roc(y, probabilities, classes, "$"),
        "scatter": embedding_plots.scatter(rng.normal(size=(60, 2)), y, classes, y == 0, ["$n$\udce9"] * 60, r"$\x$"),
        "maps": comparison_plots.heat_maps(
            ["a$b$", "c"], [["$x$", 1], ["$y$", 2], ["\udce9$", 1]], [0.1, 0.2, 0.3], "$$"
        ),
    }
    for name, figure in drawn.items():
        path = save_figure(figure, tmp_path / f"{name}.png")
        assert np.ptp(np.asarray(Image.open(path))) > 0


def test_an_audit_without_room_says_so(tmp_path, images, cli):
    done = cli("audit", "--data", images, "--memory", "10MB")
    assert done.code == 2
    assert "0 of 0" not in done.err
    assert "MB" in done.err


def test_the_own_cnns_estimate_covers_what_it_takes(tmp_path):
    """In a process of its own: the growth of the peak, against the estimate."""
    script = """
import numpy as np, sys
from featcache.system import memory
from featcache.backbones.tensorflow_setup import load_tensorflow
from heads import OwnCNNClassifier
from heads.training.cnn_memory import bytes_of
load_tensorflow()
X = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)
before = memory.resident()
model = OwnCNNClassifier(epochs=1, batch_size=16, random_state=0).fit(X, np.arange(64) % 2)
model.predict_proba(X)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
print((peak - before) / bytes_of(64, 64, 2, 16))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0.2 < float(done.stdout) < 1.1


def test_the_own_cnn_refuses_what_does_not_fit_and_what_cannot_be():
    from featcache import memory_limit
    from heads import OwnCNNClassifier

    X, y = np.zeros((8, 32, 32, 3), np.uint8), np.arange(8) % 2
    with memory_limit("100MB"), pytest.raises(UsageError, match=r"Allow .* MB, or take a smaller batch size"):
        OwnCNNClassifier(epochs=1).fit(X, y)
    for wrong in (
        {"learning_rate": -1},
        {"epochs": 0},
        {"batch_size": 0},
        {"dropout": 1.5},
        {"dropout": float("nan")},
        {"units": 0},
        {"activation": "nosuch"},
        {"patience": 0},
        {"learning_rate": float("inf")},
        {"epochs": "many"},
    ):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            OwnCNNClassifier(**wrong).fit(X, y)


@pytest.mark.usefixtures("few_trees")
def test_classes_with_dollars_are_fitted_and_drawn(tmp_path, cli):
    write_images(tmp_path / "data", 40, classes=("$a$b$", "$$"))
    assert cli("extract", "--data", tmp_path / "data", "--backbone", "pixels", "--size", 8).code == 0
    done = cli("fit-head", "--backbone", "pixels", "--pooling", "avg", "--epochs", 1, "--out", "run")
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "confusion.png").exists()
