"""The same plan on Dask's workers and on several devices: the same set, whoever dies, and clear words where not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import joblib
import networks
import numpy as np
import psutil
import pytest
from pictures import age, write_images
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import featcache
from featcache.errors import FeatcacheError, StoreError, UsageError
from featcache.extraction import device_workers, workers
from featcache.store import maintenance
from featcache.store.store import Store
from heads import DenseHeadClassifier, FastGridSearchCV
from heads.search.cells import Problem
from heads.search.shared_fits import portions

dask = pytest.importorskip("distributed")
SMALL = {"backbone": "mobilenet", "weights": "random", "size": 64, "runtime": "openvino"}
PIXELS = {"backbone": "pixels", "size": 32}


@pytest.fixture(scope="module")
def cluster():
    with dask.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", memory_limit=0, silence_logs=40
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with dask.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="module", params=["of the table", "in a file"])
def alone(request, tmp_path_factory):
    """A network, images, and their features by one process."""
    folder = tmp_path_factory.mktemp("alone")
    network = SMALL
    if request.param == "in a file":
        network = {"backbone": networks.write(folder, networks.convolution()), **networks.SCALED}
    write_images(folder / "images", 90)
    age(folder / "images")
    name = featcache.extract(folder / "images", cache=folder / "cache", **network).feature_set
    return network, folder / "images", featcache.load(name, data=folder / "images", cache=folder / "cache")


def assert_the_same(cache: Path, images: Path, wanted) -> None:
    found = featcache.load(data=images, cache=cache)
    assert (found.keys, found.feature_set) == (wanted.keys, wanted.feature_set)
    np.testing.assert_allclose(found.X, wanted.X, rtol=1e-5, atol=1e-6 * np.abs(wanted.X).max())
    with Store(cache) as store:
        verification = maintenance.verify(store)
        assert verification.damaged == []
        assert verification.shards > 1


@pytest.mark.parametrize("way", ["shared", "sent back", "devices"])
def test_the_same_set_as_one_process_gives(cluster, alone, tmp_path, way):
    network, images, wanted = alone
    how = {
        "shared": {"scheduler": cluster.scheduler_address},
        "sent back": {"scheduler": cluster.scheduler_address, "send_back": True},
        "devices": {"devices": "cpu:2"},
    }[way]
    dealt = []
    done = featcache.extract(images, cache=tmp_path / "cache", on_progress=dealt.append, **how, **network)
    assert (done.computed, done.reused, done.skipped, done.runtime) == (90, 0, 0, "openvino")
    assert dealt[-1] == 90
    assert len(dealt) > 1
    assert_the_same(tmp_path / "cache", images, wanted)
    again = featcache.extract(images, cache=tmp_path / "cache", **how, **network)
    assert (again.computed, again.reused) == (0, 90)


def test_within_a_running_loop(cluster, tmp_path):
    """As in a notebook."""
    write_images(tmp_path / "images", 6)

    async def cell() -> int:
        return featcache.extract(
            tmp_path / "images", cache=tmp_path / "cache", scheduler=cluster.scheduler_address, **PIXELS
        ).computed

    assert asyncio.run(cell()) == 6


def test_bad_images_are_listed(cluster, tmp_path):
    paths = write_images(tmp_path / "images", 40)
    paths[7].write_bytes(b"")
    done = featcache.extract(
        tmp_path / "images", scheduler=cluster.scheduler_address, cache=tmp_path / "c", skip_bad=True, **PIXELS
    )
    assert (done.computed, done.skipped) == (39, 1)
    assert done.bad[0].path == str(paths[7])
    assert "empty" in done.bad[0].reason


def test_a_killed_worker_loses_only_its_chunk(tmp_path):
    """SIGKILL in the middle: its chunk is done elsewhere, and nothing is damaged."""
    write_images(tmp_path / "images", 400, size=256)
    with dask.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", memory_limit=0, silence_logs=50
    ) as cluster:
        killed = []

        def kill(_):
            if not killed:
                with dask.Client(cluster, set_as_default=False) as client:
                    worker = next(iter(client.scheduler_info()["workers"]))
                    killed.append(client.run(os.getpid, workers=[worker])[worker])
                os.kill(killed[0], signal.SIGKILL)

        done = featcache.extract(
            tmp_path / "images",
            "pixels",
            size=512,
            scheduler=cluster.scheduler_address,
            cache=tmp_path / "cache",
            on_progress=kill,
            commit_rows=8,
        )
    assert killed
    assert done.computed == 400
    assert (
        len(featcache.load("pixels", pooling="map", data=tmp_path / "images", cache=tmp_path / "cache", stream=True))
        == 400
    )
    with Store(tmp_path / "cache") as store:
        assert maintenance.verify(store).damaged == []


def test_the_chunk_of_a_dead_device_goes_to_another(tmp_path, caplog):
    write_images(tmp_path / "images", 300, size=128)
    killed = []
    before = set(psutil.Process().children())

    def kill(_):
        if not killed:
            mine = [c for c in set(psutil.Process().children()) - before if "spawn_main" in " ".join(c.cmdline())]
            killed.append(mine[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    done = featcache.extract(
        tmp_path / "images", "pixels", size=256, devices="cpu:2", cache=tmp_path / "cache", on_progress=kill
    )
    assert killed
    assert done.computed == 300
    assert "a device's process died" in caplog.text


def die(chunk):
    os._exit(9)


def test_no_device_left_is_an_error(tmp_path, monkeypatch):
    chunk = workers.Portion(("{}",), (), None, "none", None, "none", 8)
    monkeypatch.setattr(device_workers, "compute", die)
    with pytest.raises(StoreError, match="every device's process died"):
        list(device_workers.DeviceProcesses(["-1"]).run([chunk], {}))


@pytest.mark.parametrize("text", ["gpu", "cpu:0", "tpu:0", "gpu:0,gpu:0", "", "gpu:0;gpu:1"])
def test_odd_devices(text):
    with pytest.raises(UsageError, match="--devices"):
        device_workers.parse(text)


def test_devices_by_name():
    assert device_workers.parse("gpu:0, gpu:2") == ["0", "2"]
    assert device_workers.parse("cpu:3") == ["-1"] * 3


def refused(tmp_path, **how) -> str:
    """The message, which has to come soon."""
    write_images(tmp_path / "images", 4)
    started = time.perf_counter()
    with pytest.raises(FeatcacheError) as caught:
        featcache.extract(tmp_path / "images", cache=tmp_path / "cache", **{**PIXELS, **how})
    assert time.perf_counter() - started < 15
    assert isinstance(caught.value, UsageError)
    return str(caught.value)


def test_nobody_answers(tmp_path, monkeypatch):
    from featcache.extraction import dask_workers

    monkeypatch.setattr(dask_workers, "_PATIENCE", 3)
    assert "does not answer" in refused(tmp_path, scheduler="tcp://127.0.0.1:9")
    assert "expected tcp://HOST:PORT" in refused(tmp_path, scheduler="127.0.0.1:9")
    assert "expected 1 to 1024" in refused(tmp_path, scheduler="local:0")
    assert "exclude each other" in refused(tmp_path, scheduler="local:2", devices="cpu:2")
    assert "give --scheduler" in refused(tmp_path, send_back=True)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", b""], ids=["a web server", "silence"]
)
def test_something_else_answers(answer, tmp_path, monkeypatch):
    from featcache.extraction import dask_workers

    monkeypatch.setattr(dask_workers, "_PATIENCE", 3)

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                connection.sendall(answer)
                connections.append(connection)

    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        found = refused(tmp_path, scheduler=f"tcp://127.0.0.1:{listening.getsockname()[1]}")
        assert ("is no Dask scheduler" if answer else "does not answer") in found


def test_dask_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'featcache[dask]'" in refused(tmp_path, scheduler="local:2")


def test_a_scheduler_without_workers(tmp_path, monkeypatch):
    from featcache.extraction import dask_workers

    monkeypatch.setattr(dask_workers, "_PATIENCE", 2)
    with dask.LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1", silence_logs=50) as empty:
        assert "has no worker" in refused(tmp_path, scheduler=empty.scheduler_address)


def test_a_worker_of_another_version(cluster, client, tmp_path):
    def pretend(version):
        from featcache import version as module

        module.VERSION = version

    client.run(pretend, "0.0.9")
    try:
        message = refused(tmp_path, scheduler=cluster.scheduler_address)
    finally:
        client.run(pretend, featcache.__version__)
    assert "has featcache 0.0.9" in message
    assert f"here is {featcache.__version__}" in message


def test_a_worker_that_does_not_see_the_cache(cluster, client, tmp_path):
    """Its shards may be sent instead."""

    def blind(really):
        import os

        from featcache.extraction import dask_workers

        seen = SimpleNamespace(path=SimpleNamespace(exists=lambda path: False), cpu_count=os.cpu_count)
        dask_workers.os = seen if really else os

    client.run(blind, True)
    try:
        assert "--send-back" in refused(tmp_path, scheduler=cluster.scheduler_address)
        done = featcache.extract(
            tmp_path / "images", cache=tmp_path / "cache", scheduler=cluster.scheduler_address, send_back=True, **PIXELS
        )
    finally:
        client.run(blind, False)
    assert done.computed == 4


def test_a_worker_without_the_package(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "featcache.py").write_text("raise ModuleNotFoundError(\"No module named 'featcache'\")")
    with dask.LocalCluster(
        n_workers=0, dashboard_address=None, host="127.0.0.1", silence_logs=50, protocol="tcp"
    ) as cluster:
        worker = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "distributed.cli.dask_worker",
                cluster.scheduler_address,
                "--no-dashboard",
                "--no-nanny",
            ],
            env={**os.environ, "PYTHONPATH": str(hidden)},
            cwd=hidden,
            stderr=subprocess.DEVNULL,
        )
        try:
            with dask.Client(cluster, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=30)
            assert "has no featcache" in refused(tmp_path, scheduler=cluster.scheduler_address)
        finally:
            worker.kill()
            worker.wait()


SEARCHES = {
    "heads": (DenseHeadClassifier(8, random_state=0), {"epochs": [2, 4], "learning_rate": [0.01, 0.001]}),
    "forest": (RandomForestClassifier(random_state=0), {"n_estimators": [5, 9], "max_depth": [2, 3]}),
    "pipeline": (make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0, 10.0]}),
    "no way": (GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}),
}


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_search_on_a_cluster_is_the_search_here(client, kind, tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = (rng.normal(size=(60, 12)) + y[:, None] * (np.arange(12) % 3 == 0)).astype(np.float32)
    estimator, values = SEARCHES[kind]
    here = FastGridSearchCV(estimator, values, cv=3, return_train_score=True).fit(X, y)
    cells = []
    there = FastGridSearchCV(
        estimator, values, cv=3, return_train_score=True, journal=tmp_path / "journal", on_cell=cells.append
    )
    with joblib.parallel_config("dask", client=client):
        there.fit(X, y)
    assert len(cells) == 3 * len(there.cv_results_["params"])
    assert there.best_params_ == here.best_params_
    for name, column in here.cv_results_.items():
        if "score" in name and "time" not in name:
            np.testing.assert_allclose(there.cv_results_[name], column, rtol=1e-5, err_msg=name)
    # The journal was kept here: without the cluster nothing is left to do.
    again = FastGridSearchCV(
        estimator, values, cv=3, return_train_score=True, journal=tmp_path / "journal", on_cell=cells.append
    ).fit(X, y)
    assert all(cell.from_journal for cell in cells[len(cells) // 2 :])
    np.testing.assert_array_equal(again.cv_results_["mean_test_score"], there.cv_results_["mean_test_score"])


def test_what_shares_work_is_one_portion():
    X, y = np.zeros((12, 2), np.float32), np.arange(12) % 2
    folds = [(np.arange(6), np.arange(6, 12)), (np.arange(6, 12), np.arange(6))]
    candidates = [{"epochs": epochs, "units": units} for units in (4, 8) for epochs in (1, 2, 3)]
    problem = Problem(DenseHeadClassifier(), candidates, X, y, folds, None, 1 << 40, 1)
    todo = [(c, s) for c in range(6) for s in range(2)]
    found = portions(problem, todo, 4)
    assert sorted(cell for cells in found for cell in cells) == todo
    assert sorted(found) == [
        [(0, 0), (1, 0), (2, 0)],
        [(0, 1), (1, 1), (2, 1)],
        [(3, 0), (4, 0), (5, 0)],
        [(3, 1), (4, 1), (5, 1)],
    ]
    assert len(portions(problem, todo, 1)) == 1


@pytest.mark.slow
def test_the_verb_makes_a_cluster_of_its_own(cli_process, tmp_path):
    write_images(tmp_path / "images", 40)
    for option in (("--scheduler", "local:2"), ("--devices", "cpu:2")):
        done = cli_process(
            "extract", "--data", "images", "--backbone", "pixels", "--cache", option[0], *option, "--json"
        )
        assert done.code == 0, done.err
        assert done.json["computed"] == 40
    features = ("--task", "multiclass", "--cache", "grid-cache", "--no-audit", "--scheduler", "local:2", "--json")
    assert cli_process("extract", "--backbone", "mobilenet", "--size", 64, "--cache", "grid-cache").code == 0
    searched = cli_process("grid", "--pooling", "avg", "--param", "epochs=1,2", *features)
    assert searched.code == 0, searched.err
    assert searched.json["fits"] == 6
    board = cli_process("baselines", "--pooling", "avg", "--models", "dummy,lda", *features)
    assert board.code == 0, board.err
