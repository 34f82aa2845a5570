"""Trouble for all that is read from someone else's files: ``python tests/support/fuzz_foreign.py --minutes 30``.

Each case takes a small sound world (images, cache, bundles, runs), writes one of its files anew with values swapped,
deleted and replaced (paths that lead out, control characters, numbers beyond all bounds, NaN, depth), signs it again
where it is signed, and goes through the public functions. They may succeed or raise one of our own errors. Everything
else is a finding: another exception, a crash (cases run in a child process), a case that does not end, a connection, a
file written outside the case's own folder, a file opened that a bundle does not name.

A finding is printed with what repeats it: ``python tests/support/fuzz_foreign.py --case bundle:17``.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests"))
_LIMIT = 240  # seconds that a case may take
_HOSTILE = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    2**31,
    2**63,
    -(2**63),
    10**400,
    0.5,
    -0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "0",
    [],
    {},
    [[]],
    {"": None},
    "../../outside/x",
    "..",
    ".",
    "/",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\x",
    "~",
    ".net",
    "../outside/.net",
    "../../../../../../tmp/outside",
    "x\0y",
    "\x1b[2J\x1b]0;owned\x07",
    "a\nb",
    "a\rb",
    "\x9b31m",
    "\u202eabc",
    "\ud800",
    "\udcff",
    "=cmd|' /C calc'!A0",
    "%s%n{0}$HOME`id`",
    "file:///etc/passwd",
    "vgg16",
    "pixels",
    "nan",
    "A" * 300,
    "B" * 40_000,
    "ä ß 猫",
    "0" * 64,
    "<script>alert(1)</script>",
]


class Hung(BaseException):
    """A case that did not end."""


# -- mutation ----------------------------------------------------------------------------------------


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [place] if place else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += _places(inner, (*place, key))
    return found


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def mutated(value: Any, rng: random.Random) -> Any:
    """A copy with one to three places of it changed."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = _places(value)
        if not places:
            return rng.choice(_HOSTILE)
        # Half of the time any place, else one of few steps: long lists would take it all.
        place = rng.choice(places if rng.random() < 0.5 else [p for p in places if len(p) <= 2])
        owner = value
        for key in place[:-1]:
            owner = owner[key]
        _change(owner, place[-1], rng)
    return _deep(rng.choice([40, 900, 3000])) if rng.random() < 0.01 else value


def _change(owner: Any, key: Any, rng: random.Random) -> None:
    old, kind = owner[key], rng.randrange(10)
    if kind == 0:
        del owner[key]
    elif kind == 1 and isinstance(owner, dict):
        owner[str(rng.choice(_HOSTILE))] = old
    elif kind == 1:
        owner.append(copy.deepcopy(old))
    elif kind == 2 and isinstance(old, str):
        at = rng.randrange(len(old) + 1)
        owner[key] = (
            old[:at] + rng.choice(["/", "..", "\\", "\x1b", "\0", "\n", "\u202e", ".", "-", " ", "é"]) + old[at:]
        )
    elif kind == 3 and isinstance(old, int | float):
        owner[key] = rng.choice([old + 1, old - 1, -old, old * 1_000_000, old / 3, float(old), str(old), bool(old)])
    elif kind == 4 and isinstance(old, list):
        owner[key] = rng.choice([old * 2, old[:-1], old[::-1], [old]])
    elif kind == 5 and isinstance(owner, dict):
        owner[key] = copy.deepcopy(owner[rng.choice(list(owner))])
    elif kind == 6 and rng.random() < 0.2:
        owner[key] = _deep(rng.choice([20, 60, 500]))
    elif kind == 7 and isinstance(owner, dict):
        owner[rng.choice(list(owner))] = old
    else:
        owner[key] = copy.deepcopy(rng.choice(_HOSTILE))


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """A copy with some bytes changed, cut off or added."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 2, 8])):
        at = rng.randrange(len(changed))
        kind = rng.randrange(4)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + 8] = rng.choice([b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7, b"\0\0\0\x7f\0\0\0\0"])
        elif kind == 2 and rng.random() < 0.2:
            del changed[at:]
        else:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        if not changed:
            break
    return bytes(changed)


# -- the sound world ---------------------------------------------------------------------------------


def prepare(world: Path) -> None:
    """Images, a cache, bundles of each kind, runs of each verb, a journal, an audit's record."""
    import numpy as np
    from pictures import age, write_images
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer
    from sklearn.svm import SVC
    from xgboost import XGBClassifier

    import featcache
    from heads.auditing.audit import audit
    from heads.bundles.saving import save_bundle
    from heads.evaluation.run_folder import write_json, write_table
    from heads.experiments.baselines import baselines
    from heads.experiments.hyperparameter_search import grid
    from heads.inference.bundle_evaluation import evaluate_bundle
    from heads.training.dense_head_classifier import DenseHeadClassifier

    write_images(world / "images", 36, size=16)
    age(world / "images")
    cache = world / "cache"
    featcache.extract(world / "images", "pixels", size=8, cache=cache)
    f = featcache.load("pixels", cache=cache)
    audit(world / "images", cache=cache, out=world / "runs" / "audit-1")
    baselines(
        "multiclass", models=["dummy", "logistic"], backbone="pixels", cache=cache, out=world / "runs" / "baselines-1"
    )
    found = grid(
        "multiclass",
        model="knn",
        params={"n_neighbors": [1, 3]},
        backbone="pixels",
        cache=cache,
        out=world / "runs" / "grid-1",
    )
    evaluate_bundle(found["bundle"], world / "images", cache=cache, out=world / "runs" / "evaluate-1")
    fit = json.loads((world / "runs" / "grid-1" / "run.json").read_text())
    fit |= {"verb": "fit-head", "model": "dense", "hyperparameters": {"units": [4, 2], "dropout": 0.5}, "best_epoch": 2}
    (world / "runs" / "fit-head-1").mkdir()
    write_json(world / "runs" / "fit-head-1" / "run.json", fit)
    history = [(epoch, 1 / epoch, 0.5, 1 / epoch, 0.5) for epoch in (1, 2, 3)]
    write_table(
        world / "runs" / "fit-head-1" / "history.csv",
        ("epoch", "loss", "accuracy", "val_loss", "val_accuracy"),
        history,
    )
    X, y, rows = np.asarray(f.X), f.y, np.arange(len(f))
    head = DenseHeadClassifier(units=(3, 2), batch_norm=True)
    head.classes_, head.n_features_in_ = np.arange(2), X.shape[1]
    head.weights_ = [np.full(shape, 0.1, np.float32) for shape in head.weight_shapes()]
    models = {
        "dense": head,
        "forest": RandomForestClassifier(2, max_depth=3, random_state=0).fit(X, y),
        "boosting": GradientBoostingClassifier(n_estimators=2, random_state=0).fit(X, y),
        "histogram": HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=3).fit(X, y),
        "svm": make_pipeline(Normalizer(), CalibratedClassifierCV(SVC(), ensemble=False)).fit(X, y),
        "xgboost": make_pipeline(Normalizer(), XGBClassifier(n_estimators=2, max_depth=2, n_jobs=1)).fit(X, y),
    }
    calibration = {"method": "sigmoid", "rows": 9, "slope": [-1.0], "intercept": [0.1]}
    for name, model in models.items():
        save_bundle(
            world / "bundles" / name,
            model,
            f,
            rows,
            task="multiclass",
            scores={"test": found["test"]},
            cache=cache,
            calibration=calibration if name == "forest" else None,
            warnings=["a warning"],
        )
    shutil.copytree(Path(found["bundle"]), world / "bundles" / "neighbours")
    _other_tasks(world, f)
    (world / "outside").mkdir()
    (world / "outside" / ".net").write_bytes(b"a network that no hash covers")


def _other_tasks(world: Path, f: Any) -> None:
    """Bundles of several labels and of a number, on the same features."""
    from dataclasses import replace

    import numpy as np
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.svm import SVR
    from xgboost import XGBClassifier, XGBRegressor

    from featcache import Multilabel, Regression
    from heads.bundles.saving import save_bundle
    from heads.training.dense_head_multilabel_classifier import DenseHeadMultilabelClassifier
    from heads.training.dense_head_regressor import DenseHeadRegressor
    from heads.training.label_wise import LabelWiseClassifier

    X, rows = np.asarray(f.X), np.arange(len(f))
    labels = np.stack([f.y, 1 - f.y, np.zeros(len(f))], axis=1).astype(np.float32)
    several = replace(f, y=labels, classes=("a", "b", "c"), task=Multilabel(("a", "b", "c")))
    number = replace(f, y=f.y * 2.5, classes=("age",), task=Regression("age"))
    heads = DenseHeadMultilabelClassifier(units=(3, 2), batch_norm=True), DenseHeadRegressor(units=3)
    heads[0].n_outputs_ = 3
    for head in heads:
        head.n_features_in_ = X.shape[1]
        head.weights_ = [np.full(shape, 0.1, np.float32) for shape in head.weight_shapes()]
    boosting = {"n_estimators": 2, "max_depth": 2, "n_jobs": 1}
    models = {
        "labels-dense": (several, heads[0]),
        "labels-wise": (several, LabelWiseClassifier(XGBClassifier(**boosting)).fit(X, labels)),
        "number-dense": (number, heads[1]),
        "number-forest": (number, RandomForestRegressor(2, max_depth=3, random_state=0).fit(X, number.y)),
        "number-svr": (number, SVR().fit(X, number.y)),
        "number-xgboost": (number, XGBRegressor(**boosting).fit(X, number.y)),
    }
    for name, (features, model) in models.items():
        save_bundle(world / "bundles" / name, model, features, rows, scores={}, cache=world / "cache")


# -- targets -----------------------------------------------------------------------------------------


def _resigned(folder: Path, rng: random.Random) -> None:
    """A bundle with its description changed, or one of its files, and all hashes made anew."""
    from heads.bundles import integrity

    about = json.loads((folder / "bundle.json").read_text())
    if rng.random() < 0.5:
        name = rng.choice(sorted(about["files"]))
        data = (folder / name).read_bytes()
        data = _in_zip(data, rng) if name.endswith(".skops") and rng.random() < 0.9 else mutated_bytes(data, rng)
        (folder / name).write_bytes(data)
        about["files"][name] = hashlib.sha256(data).hexdigest()
    else:
        about = mutated(about, rng)
    if rng.random() < 0.05:
        (folder / rng.choice([".net", "x.pkl", "\x1b[2J", "..x"])).write_bytes(b"unnamed")
    try:
        if isinstance(about, dict):
            about["digest"] = integrity.digest({key: value for key, value in about.items() if key != "digest"})
        (folder / "bundle.json").write_bytes(integrity.written(about))
    except (UnicodeEncodeError, TypeError, RecursionError):
        (folder / "bundle.json").write_text(_dumped(about))


def _in_zip(data: bytes, rng: random.Random) -> bytes:
    """A skops file with one of its members changed: the schema's values, or an array's bytes behind its header."""
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = "schema.json" if rng.random() < 0.3 else rng.choice(names)
        for name in names:
            content = old.read(name)
            if name == chosen == "schema.json":
                content = _dumped(mutated(json.loads(content), rng)).encode("utf-8", "surrogatepass")
            elif name == chosen:
                at = 128 if rng.random() < 0.9 and len(content) > 128 else 0
                content = content[:at] + mutated_bytes(content[at:], rng)
            new.writestr(name, content)
    return out.getvalue()


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        return "[" * 100_000


def _json_file(path: Path, rng: random.Random) -> None:
    if rng.random() < 0.05:
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    else:
        path.write_text(_dumped(mutated(json.loads(path.read_text()), rng)))


def bundle_target(case: Path, rng: random.Random) -> list[Callable[[], Any]]:
    from heads.bundles.doctor import bundle_doctor
    from heads.inference.bundle_evaluation import evaluate_bundle
    from heads.inference.prediction import predict

    name = rng.choice(sorted(entry.name for entry in (case / "bundles").iterdir()))
    folder = case / "bundles" / name
    _resigned(folder, rng)
    images = sorted((case / "images").rglob("*.png"))[:4]
    if rng.random() < 0.3:
        return [lambda: bundle_doctor(folder)]
    return [
        lambda: predict(folder, images, cache=case / "cache"),
        lambda: evaluate_bundle(folder, case / "images", cache=case / "cache", out=case / "runs" / "new"),
    ][: 2 if rng.random() < 0.1 else 1]


def _use_store(case: Path) -> list[Callable[[], Any]]:
    import featcache
    from featcache.store import maintenance

    def with_store(work: Callable[[Any], Any]) -> Callable[[], Any]:
        def run() -> None:
            with featcache.Store(case / "cache") as store:
                work(store)

        return run

    return [
        *map(with_store, (maintenance.ls, maintenance.verify)),
        lambda: featcache.load("pixels", data=case / "images", cache=case / "cache"),
        *map(with_store, (maintenance.compact, maintenance.repair)),
        lambda: featcache.extract(case / "images", "pixels", size=8, cache=case / "cache"),
    ]


def spec_target(case: Path, rng: random.Random) -> list[Callable[[], Any]]:
    _json_file(next((case / "cache" / "features").glob("*/spec.json")), rng)
    if rng.random() < 0.5:
        for path in (case / "cache" / "features").glob("*/*.h5"):
            path.unlink()
    return _use_store(case)


def shard_target(case: Path, rng: random.Random) -> list[Callable[[], Any]]:
    """Attributes changed, and the file renamed to its new hash."""
    import h5py
    import numpy as np

    path = next((case / "cache" / "features").glob("*/*.h5"))
    name = rng.choice(["spec", "spec", "runtime", "runtime", "version", "seconds", "format"])
    with h5py.File(path, "r+") as file:
        old = file.attrs[name]
        if name in ("spec", "runtime"):
            new: Any = _dumped(mutated(json.loads(old), rng))
        else:
            new = rng.choice(
                [*_HOSTILE[:20], "2", -1.5, np.zeros((3, 3)), np.float64("nan"), h5py.Empty("f"), np.bytes_(b"\xff")]
            )
        if rng.random() < 0.1:
            new = rng.choice([np.zeros(5), h5py.Empty("S10"), np.bytes_(b"\xff\xfe"), 7])
        del file.attrs[name]
        with contextlib.suppress(TypeError, ValueError, OverflowError, RuntimeError, OSError):  # HDF5 takes not all
            file.attrs[name] = new
    path.rename(path.with_name(hashlib.sha256(path.read_bytes()).hexdigest() + ".h5"))
    (case / "cache" / "index.sqlite").unlink()
    return _use_store(case)


def last_target(case: Path, rng: random.Random) -> list[Callable[[], Any]]:
    import featcache

    _json_file(case / "cache" / "last-extract.json", rng)
    return [
        lambda: featcache.load(cache=case / "cache"),
        lambda: featcache.extract(case / "images", "pixels", size=8, cache=case / "cache"),
        lambda: featcache.load("pixels", cache=case / "cache"),
    ]


def audit_target(case: Path, rng: random.Random) -> list[Callable[[], Any]]:
    import featcache
    from heads.auditing import audit_record

    _json_file(next((case / "cache" / "audits").iterdir()), rng)
    return [
        lambda: audit_record.apply_record(
            featcache.load("pixels", data=case / "images", cache=case / "cache"), case / "cache"
        )
    ]


def journal_target(case: Path, rng: random.Random) -> list[Callable[[], Any]]:
    from heads.experiments.hyperparameter_search import grid

    path = next((case / "cache" / "searches").iterdir())
    header, *lines = path.read_bytes().splitlines(keepends=True)
    for i in range(len(lines)):
        if rng.random() < 0.5:
            text = _dumped(mutated(json.loads(lines[i][17:]), rng)).encode()
            lines[i] = hashlib.sha256(text).hexdigest()[:16].encode() + b" " + text + b"\n"
    data = header + b"".join(lines)
    path.write_bytes(mutated_bytes(data, rng) if rng.random() < 0.1 else data)
    params = {"n_neighbors": [1, 3]}
    return [
        lambda: grid(
            "multiclass",
            model="knn",
            params=params,
            backbone="pixels",
            data=case / "images",
            cache=case / "cache",
            out=case / "runs" / "new",
        )
    ]


def runs_target(case: Path, rng: random.Random) -> list[Callable[[], Any]]:
    from heads.reporting.html_report import report

    files = sorted((case / "runs").glob("*/run.json"))
    if rng.random() < 0.3:
        path = rng.choice(sorted([*(case / "runs").glob("*/results.csv"), *(case / "runs").glob("*/history.csv")]))
        _csv_file(path, rng)
    else:
        path = rng.choice(files)
        _json_file(path, rng)
    chosen: Any = case / "runs" if rng.random() < 0.5 else [path.parent]
    return [lambda: report(chosen, cache=case / "cache", images=rng.random() < 0.5, out=case / "report.html")]


def _csv_file(path: Path, rng: random.Random) -> None:
    rows = mutated(list(csv.reader(path.open(newline=""))), rng)
    with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        for row in rows if isinstance(rows, list) else [rows]:
            with contextlib.suppress(RecursionError):  # a cell of lists too deep to be written down
                csv.writer(file).writerow(row if isinstance(row, list) else [row])


def manifest_target(case: Path, rng: random.Random) -> list[Callable[[], Any]]:
    import pandas as pd

    import featcache
    from featcache.data.dataset import find_images, open_dataset

    paths = sorted((case / "images").rglob("*.png"))
    rows = [
        ["path", "label", "split", "group"],
        *(
            [str(path.relative_to(case)), path.parent.name, rng.choice(["train", "val", ""]), path.stem]
            for path in paths
        ),
    ]
    place = case / rng.choice(["data.csv", "data.parquet"])
    if place.suffix == ".csv":
        with place.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        _csv_file(place, rng)
        if rng.random() < 0.2:
            place.write_bytes(mutated_bytes(place.read_bytes(), rng))
    else:
        changed = mutated([dict(zip(rows[0], row, strict=True)) for row in rows[1:]], rng)
        try:
            pd.DataFrame(changed).to_parquet(place)
        except Exception:  # noqa: BLE001 - not every table can be written
            return []
        if rng.random() < 0.3:
            place.write_bytes(mutated_bytes(place.read_bytes(), rng))
    return [
        lambda: open_dataset(place),
        lambda: find_images(place),
        lambda: featcache.extract(place, "pixels", size=8, cache=case / "cache", skip_bad=True),
        lambda: featcache.load("pixels", data=place, cache=case / "cache"),
    ]


TARGETS: dict[str, tuple[Callable[[Path, random.Random], list[Callable[[], Any]]], float]] = {
    "bundle": (bundle_target, 5),
    "spec": (spec_target, 1),
    "shard": (shard_target, 2),
    "last": (last_target, 1),
    "audit": (audit_target, 1),
    "journal": (journal_target, 1),
    "runs": (runs_target, 3),
    "manifest": (manifest_target, 2),
}


# -- one case, in the child --------------------------------------------------------------------------


class Watch:
    """What this process writes, opens and connects to, by way of Python."""

    def __init__(self) -> None:
        self.case: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.case is None:
            return
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            self._check(event, path, bool(writes))
        elif event == "os.mkdir" and os.path.isdir(arguments[0]):
            pass  # which makes nothing
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "sqlite3.connect"):
            self._check(event, arguments[0], True)
        elif event in ("os.rename", "os.link", "os.symlink", "shutil.copyfile", "shutil.move"):
            self._check(event, arguments[1], True)
        elif event in ("socket.connect", "socket.getaddrinfo", "os.system", "os.exec", "ftplib.connect"):
            self.seen.append(f"{event} {arguments!r}")

    def _check(self, event: str, path: Any, writes: bool) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.fsdecode(path)
        if name in (":memory:", os.devnull) or name.startswith("/proc/"):
            return
        real = os.path.realpath(name) if "\0" not in name else name
        if writes and real != str(self.case) and not real.startswith(f"{self.case}{os.sep}"):
            self.seen.append(f"{event} {name!r} outside the case's folder")
        if real.endswith("/outside/.net"):
            self.seen.append(f"{event} {name!r}, which nothing names")


def run_case(world: Path, target: str, seed: int, watch: Watch) -> str:
    """A finding in words; empty where there is none."""
    from featcache.errors import FeatcacheError

    rng = random.Random(f"{target}:{seed}")
    case = Path(os.path.realpath(tempfile.mkdtemp(prefix=f"case-{target}-{seed}-", dir=world.parent)))
    shutil.copytree(world, case, dirs_exist_ok=True)
    for name in ("last-extract.json", "audits"):  # the world's own paths in what the cache remembers
        for path in [case / "cache" / name] if name.endswith(".json") else (case / "cache" / name).iterdir():
            path.write_text(path.read_text().replace(str(world), str(case)))
    (case / "tmp").mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = os.environ["JOBLIB_TEMP_FOLDER"] = str(case / "tmp")
    os.environ["FEATCACHE_KEYS"] = str(case / "keys")  # the user's own folder, by design; here within the case's
    os.chdir(case)
    outside = sorted(entry.name for entry in world.parent.iterdir())

    def stop(number: int, frame: Any) -> None:
        raise Hung

    try:
        steps = TARGETS[target][0](case, rng)
        signal.signal(signal.SIGALRM, stop)
        for step in steps:
            watch.case, watch.seen = case, []
            signal.alarm(_LIMIT)
            try:
                step()
            except FeatcacheError as error:
                if not str(error):
                    return "an error without a word"
            except Hung:
                return f"did not end within {_LIMIT} s"
            except BaseException:  # noqa: BLE001 - whatever is not ours is a finding
                return traceback.format_exc()
            finally:
                signal.alarm(0)
                watch.case = None
            if watch.seen:
                return "; ".join(watch.seen)
        if sorted(entry.name for entry in world.parent.iterdir()) != outside:
            return "something was made beside the case's folder"
    finally:
        watch.case = None
        os.chdir(world)
        tempfile.tempdir = str(world.parent)
        shutil.rmtree(case, ignore_errors=True)
    return ""


def work(world: Path, cases: list[tuple[str, int]], progress: Path) -> None:
    """The child: run cases, and write down which one is at work and what was found."""
    import logging

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    sys.dont_write_bytecode = True
    watch = Watch()
    for target, seed in cases:
        progress.write_text(f"{target}:{seed}")
        finding = run_case(world, target, seed, watch)
        if finding:
            print(f"FINDING {target}:{seed}\n{finding}", flush=True)
    progress.write_text("")


# -- the parent --------------------------------------------------------------------------------------


def fuzz(
    seconds: float, start: int = 0, cases: list[tuple[str, int]] | None = None, at_once: int = 200
) -> tuple[int, list[str]]:
    """Run cases for so long, or just these; returns how many there were, and the findings."""
    names, weights = list(TARGETS), [weight for _, weight in TARGETS.values()]
    rng = random.Random(start)
    findings: list[str] = []
    done, seed, begun = 0, start, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        base = Path(os.path.realpath(folder))
        world, progress = base / "cases" / "world", base / "progress"
        world.mkdir(parents=True)
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "MPLCONFIGDIR": str(base),
            "PYTHONDONTWRITEBYTECODE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "HOME": str(base),
        }
        me = [sys.executable, __file__]
        subprocess.run([*me, "--prepare", str(world)], env=environment, check=True)
        while cases or (cases is None and time.monotonic() - begun < seconds):
            if cases is not None:
                part, cases = cases, []
            else:
                part = [(rng.choices(names, weights)[0], seed + i) for i in range(at_once)]
                seed += at_once
            plan = base / "plan.json"
            plan.write_text(json.dumps(part))
            child = subprocess.Popen(
                [*me, "--work", str(world), str(plan), str(progress)],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            try:
                limit = None if cases is not None else max(1.0, seconds - (time.monotonic() - begun)) + _LIMIT
                out, _ = child.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                child.kill()
                out, _ = child.communicate()
            at = progress.read_text()
            found = [f"FINDING {text}" for text in out.split("FINDING ")[1:]]
            if child.returncode and at and child.returncode != -signal.SIGKILL:
                found.append(f"FINDING {at}\nthe process ended with {child.returncode} (a crash, where negative)")
            elif child.returncode and not at:
                raise RuntimeError(f"the child could not work: {child.returncode}")
            for text in found:
                print(text, flush=True)
            findings += found
            places = [f"{target}:{number}" for target, number in part]
            done += places.index(at) if at in places else len(part)
            print(f"{time.monotonic() - begun:.0f} s: {done} cases, {len(findings)} findings", flush=True)
    return done, findings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--start", type=int, default=0, help="first seed")
    parser.add_argument("--case", nargs="*", help="TARGET:SEED, to repeat")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        prepare(Path(options.prepare))
    elif options.work:
        world, plan, progress = map(Path, options.work)
        work(world, [tuple(entry) for entry in json.loads(plan.read_text())], progress)
    else:
        cases = [(text.split(":")[0], int(text.split(":")[1])) for text in options.case] if options.case else None
        sys.exit(1 if fuzz(options.minutes * 60, options.start, cases)[1] else 0)


if __name__ == "__main__":
    main()
