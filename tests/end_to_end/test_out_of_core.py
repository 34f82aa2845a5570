"""Every verb works where the features are larger than the memory it may have, and then says what it did."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_up import write_set
from sklearn.decomposition import PCA
from sklearn.preprocessing import Normalizer
from surroundings import ROOT

import featcache
from featcache.errors import UsageError
from featcache.system import memory
from heads import fit_head, open_bundle
from heads.experiments.baseline_models import TABLE
from heads.experiments.baselines import baselines
from heads.experiments.hyperparameter_search import grid
from heads.inference.bundle_evaluation import evaluate_bundle
from heads.inference.embedding import tsne
from heads.inference.prediction import predict
from heads.search import streaming_pca

COUNT, SHAPE = 600, (4, 4, 48)
SET_BYTES = COUNT * 4 * 4 * 48 * 4


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("out-of-core")
    write_set(folder, COUNT, SHAPE)
    return folder


@pytest.fixture
def short(monkeypatch):
    """A machine on which the set of features would take more than a quarter of the free memory."""
    monkeypatch.setattr(memory, "available", lambda: SET_BYTES * 4 - 1)


def stored(place):
    return featcache.load("vgg16", task="binary", cache=place / "cache", stream=True)


# -- the limit -----------------------------------------------------------------------------------


def test_a_limit_holds_within_its_block_and_for_what_is_called_there():
    before = memory.available()
    with featcache.memory_limit(memory.resident() + 50_000_000):
        assert memory.available() < 60_000_000
        with featcache.memory_limit("900GB"):
            assert memory.limit() == 900_000_000_000
            assert memory.available() > 0.5 * before
        with featcache.memory_limit(None):
            assert memory.available() < 60_000_000
    assert memory.limit() is None
    with pytest.raises(UsageError, match="such as 500MB or 4GB"), featcache.memory_limit("a lot"):
        pass


def test_a_limit_decides_what_stays_in_the_store(place):
    def rows(limit: int) -> object:
        with featcache.memory_limit(limit):
            return featcache.load("vgg16", cache=place / "cache").X

    assert isinstance(rows(memory.resident() + 900_000_000), featcache.StoredRows)
    assert isinstance(rows(memory.resident() + 3_000_000_000), np.ndarray)


def test_a_limit_too_small_for_one_head_is_refused_with_the_figures(place, tmp_path):
    with (
        featcache.memory_limit(memory.resident() + 200_000_000),
        pytest.raises(UsageError, match="too little") as caught,
    ):
        fit_head("binary", cache=place / "cache", out=tmp_path / "run", epochs=1, units=63)
    assert "pooling avg" in str(caught.value)
    assert not (tmp_path / "run" / "bundle").exists()


# -- fewer columns -------------------------------------------------------------------------------


def test_components_are_those_of_sklearn(place):
    features = stored(place)
    train = np.flatnonzero(features.splits != "test")
    small = streaming_pca.reduce_columns(features.X, train)
    rows = Normalizer().fit_transform(np.asarray(features.X))
    count = 20  # of those that stand out; of noise, every direction is as good as the next
    theirs = PCA(svd_solver="full").fit(rows[train])
    np.testing.assert_allclose(
        small.components.explained_variance_[:count], theirs.explained_variance_[:count], rtol=1e-3
    )
    scores = theirs.transform(rows)[:, :count]
    signs = np.sign((scores * small.rows[:, :count]).sum(axis=0))
    np.testing.assert_allclose(small.rows[:, :count] * signs, scores, atol=2e-3 * np.abs(scores).max())
    kept = small.rows.shape[1]
    assert small.variance == pytest.approx(theirs.explained_variance_ratio_[:kept].sum(), rel=0.02)
    assert theirs.explained_variance_.sum() == pytest.approx(
        small.components.explained_variance_.sum() / small.variance, rel=1e-4
    )
    # What a bundle will do with features as they are gives the same rows.
    whole = small.whole(TABLE["dummy"].model)
    np.testing.assert_allclose(whole[:2].transform(np.asarray(features.X)), small.rows, atol=1e-4)


def test_components_need_their_room(place, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10_000)
    with pytest.raises(UsageError, match="would have to be free"):
        streaming_pca.reduce_columns(stored(place).X, np.arange(COUNT))


def test_a_sample_keeps_classes_and_folds(monkeypatch):
    monkeypatch.setattr(streaming_pca, "MOST_ROWS", 100)
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], (750, 250))
    fold_of = rng.integers(0, 3, 1000)
    folds = [(np.flatnonzero(fold_of != f), np.flatnonzero(fold_of == f)) for f in range(3)]
    rows, within = streaming_pca.sampled(y, folds, seed=0)
    assert np.bincount(y[rows]).tolist() == [75, 25]
    for fold, (learn, hold) in enumerate(within):
        np.testing.assert_array_equal(np.sort(np.r_[learn, hold]), np.arange(100))
        assert (fold_of[rows[hold]] == fold).all()
        assert (fold_of[rows[learn]] != fold).all()
    few, same = streaming_pca.sampled(y[:80], folds, seed=0)
    assert len(few) == 80
    assert same == folds


# -- the verbs, beside themselves in memory ------------------------------------------------------


@pytest.fixture(scope="module")
def in_memory(place, tmp_path_factory):
    names = ("logistic", "svm-linear", "lda", "random-forest", "xgboost")
    return baselines("binary", cache=place / "cache", models=names, cv=3, out=tmp_path_factory.mktemp("b") / "run")


@pytest.mark.usefixtures("undrawn")
def test_baselines(place, in_memory, short, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("heads.search.streaming_pca.MOST_ROWS", 300)
    names = [row["name"] for row in in_memory["rows"]]
    result = baselines("binary", cache=place / "cache", models=names, cv=3, out=tmp_path / "run")
    assert "features stay in the store" in caplog.text
    about = result["reduced"]
    assert about["of"] == 768
    assert about["components"] >= 16
    assert in_memory["reduced"] is None
    told = f"{about['components']} principal components of 768 columns ({about['variance']:.1%} of the variance)"
    assert any(told in text for text in result["warnings"])
    assert any(told in text for text in open_bundle(result["bundle"]).warnings)
    assert not any("components" in text for text in in_memory["warnings"])
    theirs = {row["name"]: row for row in in_memory["rows"]}
    for row in result["rows"]:
        assert row["columns"] == about["components"]
        assert row["n"] == (300 if row["name"] == "svm-linear" else 480)
        assert theirs[row["name"]]["n"] == 480
        assert theirs[row["name"]]["columns"] == 768
        # 120 test images: three of them are 0.025.
        assert row["test"]["accuracy"] == pytest.approx(theirs[row["name"]]["test"]["accuracy"], abs=0.026), row["name"]
    # The bundle judges features as the store has them, and gives what the leaderboard gave.
    again = evaluate_bundle(result["bundle"], split="test", cache=place / "cache", out=tmp_path / "e")
    assert again["test"]["accuracy"] == result["rows"][0]["test"]["accuracy"]
    assert again["test"]["loss"] == pytest.approx(result["rows"][0]["test"]["loss"], rel=1e-4)
    rows = predict(result["bundle"], [place / "data" / "test"], cache=place / "cache")["rows"]
    assert len(rows) == 120


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("model", ["random-forest", "xgboost", "knn"])
def test_bundles_of_other_models(place, model, short, tmp_path):
    result = grid("binary", model=model, cache=place / "cache", cv=2, out=tmp_path / "run", params=_one(model))
    assert result["reduced"]["of"] == 768
    assert any(text.startswith("components: ") for text in result["warnings"])
    again = evaluate_bundle(result["bundle"], split="test", cache=place / "cache", out=tmp_path / "e")
    assert again["test"]["accuracy"] == result["test"]["accuracy"]


def _one(model: str) -> dict[str, list]:
    forest, boosting, neighbours = {"max_features": ["sqrt"]}, {"learning_rate": [0.3]}, {"n_neighbors": [5]}
    return {"random-forest": forest, "xgboost": boosting, "knn": neighbours}[model]


@pytest.mark.usefixtures("undrawn")
def test_repeats_of_a_head_are_those_in_memory_and_classical_models_have_none(place, short, monkeypatch, tmp_path):
    repeated = {"cache": place / "cache", "seeds": 2, "repeats": 2}
    for verb, model in ((baselines, {"models": ["knn"]}), (grid, {"model": "knn", "params": _one("knn")})):
        with pytest.raises(UsageError, match="features do not fit in memory"):
            verb("binary", **model, **repeated, out=tmp_path / verb.__name__)
    head = {"epochs": 2, "units": 8}
    lazy = fit_head("binary", **repeated, **head, out=tmp_path / "lazy").result["spread"]
    monkeypatch.undo()
    whole = fit_head("binary", **repeated, **head, out=tmp_path / "whole").result["spread"]
    assert np.unique(whole["values"]).size > 1
    np.testing.assert_allclose(lazy["values"], whole["values"], atol=0.009)  # an image of 120


@pytest.mark.usefixtures("undrawn")
def test_a_search_of_heads_is_that_in_memory(place, short, monkeypatch, tmp_path):
    params = {"epochs": [1, 2], "units": [8]}
    lazy = grid("binary", params=params, cache=place / "cache", cv=2, out=tmp_path / "lazy", nested=True)
    again = grid("binary", params=params, cache=place / "cache", cv=2, out=tmp_path / "again")
    assert (lazy["from_journal"], again["from_journal"]) == (0, 4)
    monkeypatch.undo()
    whole = grid(
        "binary", params=params, cache=place / "cache", cv=2, out=tmp_path / "whole", restart=True, nested=True
    )
    assert lazy["best_params"] == whole["best_params"]
    for ours, theirs in zip(lazy["top"], whole["top"], strict=True):
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-6)
    assert lazy["test"]["loss"] == pytest.approx(whole["test"]["loss"], rel=1e-4)
    assert lazy["nested"]["accuracy"] == pytest.approx(whole["nested"]["accuracy"], abs=1e-6)


def test_tsne_draws_a_sample(place, short, tmp_path):
    drawn = tsne(task="binary", cache=place / "cache", limit=40, out=tmp_path / "t")
    assert (drawn["rows"], drawn["of"]) == (40, COUNT)
    assert len((tmp_path / "t" / "tsne.csv").read_text().splitlines()) == 41
    # Rows that do not fit are drawn from their components, and none is left out for that.
    drawn = tsne(task="binary", cache=place / "cache", limit=60, out=tmp_path / "u")
    assert drawn["before"].startswith("first ")
    with pytest.raises(UsageError, match="at least 4"):
        tsne(task="binary", cache=place / "cache", limit=3)


# -- for real ------------------------------------------------------------------------------------

LIMIT = 1_500_000_000  # TensorFlow, the compiled program and one head of 25,088 inputs take 1.3 GB of it
MEASURED = """
import atexit, sys
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print("PEAK", int(line.split()[1]) * 1024, file=sys.stderr)
atexit.register(peak)
from heads.commands.main import main
sys.argv[0] = "cli.py"
main()
"""


@contextlib.contextmanager
def enforced(limit: int):
    """A cgroup of so many bytes, for a process to join; None where none can be made. Beyond it the kernel kills."""
    own = next(
        (
            line.split(":", 2)[2].strip()
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if ":memory:" in line
        ),
        None,
    )
    for parent, name in (
        (f"/sys/fs/cgroup/memory/{own or ''}", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        folder = Path(parent) / f"featcache-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / name).write_text(str(limit))
            yield folder / "cgroup.procs"
        except OSError:
            yield None
        finally:
            folder.rmdir()
        return
    yield None


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Four times the limit, and a little."""
    folder = tmp_path_factory.mktemp("large")
    write_set(folder, 60_000)
    assert sum(p.stat().st_size for p in (folder / "cache" / "features").rglob("*.h5")) > 4 * LIMIT
    yield folder
    shutil.rmtree(folder)  # gigabytes


def within(limit: int, folder: Path, *arguments: object) -> dict:
    """A verb in a process of its own that cannot have more."""
    with enforced(limit) as group:

        def join() -> None:
            if group is not None:
                group.write_text(str(os.getpid()))

        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *map(str, arguments), "--json", "--memory", f"{limit / 1e6:.0f}MB"],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            preexec_fn=join,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    held = int(done.stderr.split("PEAK")[-1])
    assert held < limit, f"{held / 1e6:.0f} MB"
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to tell a peak")
def test_a_set_four_times_the_limit(large):
    from sklearn.linear_model import LogisticRegression

    # What fits in memory of it, as a reference: a tenth of the training rows, pooled by nothing.
    features = featcache.load("vgg16", task="binary", cache=large / "cache", stream=True)
    train, test = np.flatnonzero(features.splits == "train")[::10], features.split("test").take(np.arange(0, 12_000, 4))
    scale = Normalizer()
    model = LogisticRegression(max_iter=500).fit(scale.fit_transform(features.X[train]), features.y[train])
    reference = model.score(scale.transform(test.X[:]), test.y)

    fitted = within(LIMIT, large, "fit-head", "--task", "binary", "--epochs", "3", "--learning-rate", "0.0003")
    assert fitted["test"]["accuracy"] > reference - 0.02
    judged = within(LIMIT, large, "evaluate", fitted["bundle"], "--split", "test")
    assert judged["test"]["accuracy"] == fitted["test"]["accuracy"]
    table = within(LIMIT, large, "baselines", "--task", "binary", "--cv", "3", "--models", "logistic,lda,dummy")
    assert table["rows"][0]["test"]["accuracy"] > reference - 0.02
    assert table["reduced"]["of"] == 25_088
    judged = within(LIMIT, large, "evaluate", table["bundle"], "--split", "test")
    assert judged["test"]["accuracy"] == table["rows"][0]["test"]["accuracy"]
    drawn = within(LIMIT, large, "tsne", fitted["bundle"], "--limit", "500")
    assert (drawn["rows"], drawn["of"]) == (500, 60_000)
