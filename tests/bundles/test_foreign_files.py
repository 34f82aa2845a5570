"""Files of someone else's: bundles, journals, runs and records that lie, and names that would steer a terminal."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pictures import age, write_images
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from surroundings import ROOT
from xgboost import XGBClassifier

import featcache
from featcache import Store
from featcache.data.dataset import open_dataset
from featcache.data.tasks import task_classes
from featcache.errors import BundleError, DataError, StoreError, UsageError, WeightsError
from featcache.spec import FeatureSpec
from featcache.system import schema, spreadsheet_cells, tensor_files
from featcache.system.plain_text import printable
from heads.auditing import audit_record
from heads.auditing.audit import audit
from heads.bundles import integrity
from heads.bundles.bundle import open_bundle
from heads.bundles.saving import save_bundle
from heads.evaluation.run_folder import read_table, run_folder, write_table
from heads.inference.prediction import predict
from heads.reporting.html_report import report
from heads.search.journal import Journal

SPEC = FeatureSpec("vgg16", "", "random0", "00" * 32, 32, "decode-1", "caffe", "map", "float32", "float32")
FORMULA = "=cmd|' calc'!A0"
ESC = "\x1b[2J\x1b]0;owned\x07"
PATHS = ["../../x", "x/../../y", "/etc/passwd", "..", ".net", "a\\b", "", "x\0y", "a\x1b[2J", "A" * 300]
MODELS = {
    "forest": RandomForestClassifier(3, max_depth=3, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=2, random_state=0),
    "histogram": HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=3),
    "svm": CalibratedClassifierCV(SVC(), ensemble=False),
    "neighbours": KNeighborsClassifier(3, algorithm="brute"),
    "logistic": LogisticRegression(max_iter=300),
    "xgboost": XGBClassifier(n_estimators=2, max_depth=2, n_jobs=1),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images, their pixels in a cache, and a bundle of each kind of model."""
    folder = tmp_path_factory.mktemp("foreign")
    write_images(folder / "images", 36, size=16)
    age(folder / "images")
    featcache.extract(folder / "images", "pixels", size=8, cache=folder / "cache")
    f = featcache.load("pixels", cache=folder / "cache")
    for name, model in MODELS.items():
        save_bundle(
            folder / name,
            model.fit(f.X, f.y),
            f,
            np.arange(len(f)),
            task="multiclass",
            scores={},
            cache=folder / "cache",
        )
    return folder


@pytest.fixture
def bundle(made, tmp_path):
    """Copies of bundles, to be spoilt."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(made / name, tmp_path / "spoilt"))

    return copy


def sign(folder: Path, change=lambda about: None) -> Path:
    """Write ``bundle.json`` anew, with all hashes, as a hostile hand would."""
    about = json.loads((folder / "bundle.json").read_text())
    change(about)
    for name in about["files"]:
        if (folder / name).is_file():
            about["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    about["digest"] = integrity.digest({key: value for key, value in about.items() if key != "digest"})
    (folder / "bundle.json").write_bytes(integrity.written(about))
    return folder


def image(made: Path) -> Path:
    return sorted((made / "images").rglob("*.png"))[0]


# -- strings that become paths -----------------------------------------------------------------------


@pytest.mark.parametrize("field", ["backbone", "weights", "weights_digest", "recipe", "preprocess"])
@pytest.mark.parametrize("value", PATHS)
def test_a_spec_takes_no_paths(field, value):
    if (field, value) == ("weights_digest", ""):
        return  # pixels have none
    values = {**json.loads(SPEC.to_json()), field: value}
    with pytest.raises(StoreError, match=rf"not a feature spec.*\$\.{field}"):
        FeatureSpec.from_json(json.dumps(values))
    with pytest.raises(UsageError, match=rf"\$\.{field}"):
        FeatureSpec(**values)


@pytest.mark.parametrize(
    "change", [{"size": "32"}, {"size": True}, {"size": 10**400}, {"more": 1}, {"layer": ESC}, {"keep": []}]
)
def test_a_spec_of_other_types(change):
    with pytest.raises(StoreError, match="not a feature spec"):
        FeatureSpec.from_json(json.dumps({**json.loads(SPEC.to_json()), **change}))


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", "null", '{"a": NaN}', "1" * 5000, '"\\ud800"'])
def test_no_json_of_a_spec_is_anything_but_our_error(text):
    with pytest.raises(StoreError, match="not a feature spec"):
        FeatureSpec.from_json(text)


def set_spec(**changes):
    return lambda about: about["spec"].update(changes)


@pytest.mark.parametrize(
    ("verb", "change", "says"),
    [
        ("predict", set_spec(weights="x/../../../victim/y"), r"\$\.weights"),
        (
            "predict",
            set_spec(weights_digest="../../evil/.net", backbone="vgg16", dtype="float32"),
            r"\$\.weights_digest",
        ),
        ("evaluate", lambda about: about.update(task="../../victim"), r"\$\.task"),
        ("predict", lambda about: about.update(classes=[ESC, "normal"]), r"\$\.classes\[0\]"),
        ("predict", lambda about: about.update(classes=["a", "a"]), "have one name"),
        ("predict", lambda about: about.update(warnings=[ESC]), r"\$\.warnings\[0\]"),
        ("predict", lambda about: about["files"].update({"../x.pkl": "0" * 64}), r"\$\.files"),
        ("predict", lambda about: about.update(versions=[1]), r"\$\.versions"),
        ("predict", lambda about: about.update(threshold={"value": 10**400}), r"\$\.threshold"),
    ],
)
def test_a_bundle_that_walks_out_is_refused(made, bundle, cli, tmp_path, verb, change, says):
    folder = sign(bundle("logistic"), change)
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / ".net.safetensors").write_bytes(b"never to be read")
    before = sorted(p for p in tmp_path.rglob("*"))
    with pytest.raises(BundleError, match=says):
        open_bundle(folder)
    assert sorted(p for p in tmp_path.rglob("*")) == before
    if says not in (r"\$\.weights", r"\$\.task", r"\$\.classes\[0\]"):
        return
    options = ["--data", made / "images"] if verb == "evaluate" else [image(made)]
    done = cli(verb, folder, *options, "--cache", tmp_path / "deep" / "er" / "cache")
    assert done.code == 5
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err + done.out
    assert sorted(p for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", [".net", ".DS_Store", "model.pkl", f"{ESC}.bin"])
def test_a_file_that_the_description_does_not_name(bundle, name):
    folder = bundle("logistic")
    (folder / name).write_bytes(b"")
    with pytest.raises(BundleError, match="does not name"):
        open_bundle(folder)


def test_paths_made_of_strings_stay_inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    object.__setattr__(spec := FeatureSpec(**vars(SPEC)), "weights_digest", "../../evil/.net")
    with Store(tmp_path / "cache") as store:
        for place in (store.network, store.converted):
            with pytest.raises(StoreError, match="no name of a file"):
                place(spec)
    with pytest.raises(StoreError, match="no name of a file"), run_folder(None, "evaluate", "../../victim"):
        pass
    assert not (tmp_path / "runs").exists()
    for name in ("", ".", "..", "a/b", "../a", "/a", "a\\b", "a\0"):
        with pytest.raises(StoreError, match="no name of a file"):
            schema.inside(tmp_path, name)
    assert schema.inside(tmp_path, "ä $ '").name == "ä $ '"


def test_the_error_says_where_what_and_what_to_do():
    class Shape(msgspec.Struct):
        values: list[schema.Name]

    with pytest.raises(StoreError) as caught:
        schema.read(json.dumps({"values": ["good", "../bad"]}), Shape, "x.json", "Get it again")
    assert str(caught.value) == (
        "x.json: $.values[1]: Expected a plain name (letters, digits and . _ + -, a letter or digit first) "
        "(found '../bad'). Get it again"
    )


@pytest.mark.parametrize(
    "text", ["{}", "[1]", "{", '{"data": 1}', '{"data": "x", "synthetic": 0}', "\xff", "[" * 99_999]
)
def test_a_corrupt_note_of_the_last_extract_is_as_none(made, tmp_path, cli, text):
    shutil.copytree(made / "cache", tmp_path / "cache")
    (tmp_path / "cache" / "last-extract.json").write_text(text)
    with Store(tmp_path / "cache") as store:
        assert store.last_extract() == {}
    if text == '{"data": 1}':
        loaded = featcache.load("pixels", data=made / "images", cache=tmp_path / "cache")
        assert len(loaded) == 36
        done = cli("extract", "--backbone", "pixels", "--size", 8, "--data", made / "images")
        assert done.code == 0
        assert done.err.count("last-extract.json") == 1
        assert "$.data" in done.err
        assert json.loads((tmp_path / "cache" / "last-extract.json").read_text())["data"] == str(made / "images")


@pytest.mark.parametrize("runtime", ["[]", "3", '{"name": []}', '{"name": "\\u001b"}', "{"])
def test_a_shard_that_says_odd_things_of_its_runtime(made, tmp_path, runtime):
    import h5py

    shutil.copytree(made / "cache", tmp_path / "cache")
    path = next((tmp_path / "cache" / "features").glob("*/*.h5"))
    with h5py.File(path, "r+") as file:
        file.attrs["runtime"] = runtime
    path.rename(path.with_name(hashlib.sha256(path.read_bytes()).hexdigest() + ".h5"))
    (tmp_path / "cache" / "index.sqlite").unlink()
    with pytest.raises(StoreError, match="runtime"):
        featcache.load("pixels", data=made / "images", cache=tmp_path / "cache")


def test_an_audits_record_that_lies(made, tmp_path):
    f = featcache.load("pixels", data=made / "images", cache=made / "cache")
    audit_record.write_record(tmp_path, f.keys, audit_record.AuditRecord(["w"], [(f.keys[0], f.keys[1])], "r"))
    (path,) = (tmp_path / "audits").iterdir()
    good = json.loads(path.read_text())
    assert audit_record.read_record(tmp_path, f.keys) is not None
    for change in (
        {"links": [["00" * 32, "11" * 32]]},
        {"links": [["../x", "y"]]},
        {"warnings": "w"},
        {"version": "1"},
        {"run": 1},
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(StoreError, match="not a readable record of an audit"):
            audit_record.apply_record(f, tmp_path)


# -- models whose arrays lie -------------------------------------------------------------------------

_CHILD = """import sys
from heads.inference.prediction import predict
print(predict(sys.argv[1], [sys.argv[2]], cache=sys.argv[3])["rows"])"""


def refused(folder: Path, made: Path, tmp_path: Path) -> None:
    """It is refused with our own error, in a process of its own since it may not survive."""
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder), str(image(made)), str(tmp_path / "c")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert child.returncode == 1, (child.returncode, child.stdout)
    assert "BundleError" in child.stderr.splitlines()[-1]


def respoil(path: Path, change) -> None:
    """A skops file with arrays changed: ``change`` is called with each array and gives another, or None."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(".npy"):
                changed = change(np.load(io.BytesIO(content)).copy())
                if changed is not None:
                    buffer = io.BytesIO()
                    np.save(buffer, changed)
                    content = buffer.getvalue()
            new.writestr(name, content)
    path.write_bytes(out.getvalue())


def nodes(field: str, value):
    def change(array):
        if array.dtype.names and field in array.dtype.names:
            array[field][0] = value
            return array
        return None

    return change


def longer(kind: str, shape_end: int):
    def change(array):
        if array.dtype.kind == kind and array.ndim == 1 and len(array) == shape_end:
            return np.full(len(array), 2**30, array.dtype)
        return None

    return change


def narrower(array):
    return array[:, :1].copy() if array.ndim == 2 and array.shape[1] == 192 else None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("forest", nodes("left_child", 2**40)),
        ("forest", nodes("right_child", 0)),  # a loop
        ("forest", nodes("feature", 2**40)),
        ("boosting", nodes("left_child", 2**40)),
        ("histogram", nodes("left", 2**31)),
        ("histogram", nodes("feature_idx", 2**40)),
        ("histogram", nodes("is_categorical", 1)),
        ("svm", longer("i", 2)),  # how many support vectors a class has
        ("svm", narrower),  # support vectors of fewer columns
        ("neighbours", narrower),
        ("neighbours", longer("i", 36)),  # labels of the neighbours
    ],
)
def test_arrays_that_lead_out_of_a_model(bundle, name, change):
    folder = bundle(name)
    before = (folder / "model.skops").read_bytes()
    respoil(folder / "model.skops", change)
    assert (folder / "model.skops").read_bytes() != before
    with pytest.raises(BundleError, match="not to be used"):  # opening walks nothing yet
        open_bundle(sign(folder))


def spoil_schema(path: Path, change) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name).decode()) if name == "schema.json" else old.read(name))
    path.write_bytes(out.getvalue())


@pytest.mark.parametrize("what", ["node_count", "n_outputs", "n_features_in_"])
def test_numbers_that_lead_out_of_a_tree(made, bundle, tmp_path, what):
    folder = bundle("forest")

    def change(text: str) -> str:
        found = json.loads(text)

        def walk(node):
            if isinstance(node, dict):
                content = node.get("content")
                if node.get("__class__") == "Tree" and what == "node_count":
                    node["content"]["content"]["node_count"] = {
                        **content["content"]["node_count"],
                        "content": "100000000",
                        "__id__": 1,
                    }
                if node.get("__class__") == "Tree" and what == "n_outputs":
                    args = node["__reduce__"]["args"]["content"]
                    args[2] = {**args[2], "content": "100000000", "__id__": 2}
                if what == "n_features_in_" and isinstance(content, dict) and what in content:
                    content[what] = {**content[what], "content": "5", "__id__": 3}
                for value in node.values():
                    walk(value)
            elif isinstance(node, list):
                for value in node:
                    walk(value)

        walk(found)
        return json.dumps(found)

    spoil_schema(folder / "model.skops", change)
    if what == "n_outputs":  # a tree's constructor itself would read beyond its argument
        refused(sign(folder), made, tmp_path)
    with pytest.raises(BundleError, match="not to be used"):
        open_bundle(sign(folder))


@pytest.mark.parametrize(
    "field", ["left_children", "right_children", "parents", "split_indices", "num_feature", "num_nodes", "tree_info"]
)
def test_a_booster_that_leads_out_of_its_arrays(made, bundle, tmp_path, field):
    folder = bundle("xgboost")
    data = (folder / "model.ubj").read_bytes()
    at = data.index(field.encode()) + len(field)
    if field in ("num_feature", "num_nodes"):  # S, L, eight bytes of length, digits
        start = at + 10
        spoilt = data[:start] + b"9" + data[start + 1 :]
    elif field == "tree_info":  # [#L, eight bytes of length, each number of one byte behind its type
        spoilt = data[: at + 12] + b"\x7f" + data[at + 13 :]
    else:  # [$l#L, eight bytes of length, numbers of four bytes
        spoilt = data[: at + 13] + b"\x3f\xff\xff\xff" + data[at + 17 :]
    (folder / "model.ubj").write_bytes(spoilt)
    if field == "left_children":
        refused(sign(folder), made, tmp_path)
    with pytest.raises(BundleError, match="not to be used"):
        open_bundle(sign(folder))


def test_a_booster_cut_anywhere_is_refused(made, bundle):
    folder = bundle("xgboost")
    data = (folder / "model.ubj").read_bytes()
    for length in (0, 1, 10, len(data) // 2, len(data) - 1):
        (folder / "model.ubj").write_bytes(data[:length])
        with pytest.raises(BundleError, match=r"model\.ubj"):
            open_bundle(sign(folder))


@pytest.mark.parametrize("name", MODELS)
def test_what_is_sound_still_opens(made, name):
    f = featcache.load("pixels", data=made / "images", cache=made / "cache")
    found = open_bundle(made / name).predict_proba(f)
    np.testing.assert_allclose(found, MODELS[name].predict_proba(f.X), rtol=1e-6)


def test_a_bomb_in_a_model(bundle):
    folder = bundle("logistic")
    with zipfile.ZipFile(folder / "model.skops") as old:
        content = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(folder / "model.skops", "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in content.items():
            new.writestr(name, data)
        new.writestr("bomb.npy", bytes(50_000_000))
    with pytest.raises(BundleError, match="compressed"):
        open_bundle(sign(folder))


def test_an_array_that_promises_more_than_its_file(bundle):
    folder = bundle("logistic")

    out = io.BytesIO()
    with zipfile.ZipFile(folder / "model.skops") as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(".npy"):
                header = io.BytesIO()
                np.lib.format.write_array_header_1_0(
                    header, {"descr": "<f8", "fortran_order": False, "shape": (10**11,)}
                )
                content = header.getvalue()
            new.writestr(name, content)
    (folder / "model.skops").write_bytes(out.getvalue())
    with pytest.raises(BundleError, match="an array of"):
        open_bundle(sign(folder))


@pytest.mark.parametrize(
    "header",
    [
        b"\xff" * 8,
        (2**62).to_bytes(8, "little"),
        json.dumps({"00000": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}),
        json.dumps({"00000": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**60]}}),
        json.dumps({"00000": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}),
        json.dumps({"00000": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}),
        json.dumps({"00001": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
        "[" * 5000,
        "{",
    ],
)
def test_headers_of_tensors_that_lie(tmp_path, header):
    path = tmp_path / "x.safetensors"
    path.write_bytes(
        header if isinstance(header, bytes) else len(header).to_bytes(8, "little") + header.encode() + bytes(4)
    )
    with pytest.raises(WeightsError, match="not a readable list of tensors"):
        tensor_files.read_tensors(path)


def test_a_models_own_failure_is_a_sentence(made, bundle):
    """Sound in form, and of another width than its features."""
    folder = bundle("logistic")
    respoil(
        folder / "model.skops", lambda array: array[:, :5].copy() if array.ndim == 2 and array.shape[1] == 192 else None
    )
    with pytest.raises(BundleError, match="cannot be used on its features"):
        predict(sign(folder), [image(made)], cache=made / "cache")


@pytest.mark.slow
def test_weights_in_a_keras_file_run_nothing(tmp_path, cli_process, made):
    """A ``.keras`` file may hold code; as weights, only HDF5 is read."""
    script = (
        "import keras; evil = keras.layers.Lambda(lambda x: open('owned', 'w') and x);"
        "m = keras.Sequential([keras.Input((4,)), evil]);"
        "m.save('evil.keras')"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "owned").unlink(missing_ok=True)
    options = ("--backbone", "mobilenet", "--size", 32, "--weights", "evil.keras")
    done = cli_process("extract", "--data", made / "images", *options)
    assert done.code == 4
    assert "not an HDF5 file" in done.err
    assert not (tmp_path / "owned").exists()


# -- journals ----------------------------------------------------------------------------------------

_CELL = {"test_scores": 0.5, "n_test_samples": 1, "fit_time": 0.1, "score_time": 0.1}
_WRITER = """
import sys, time
from featcache.errors import UsageError
from heads.search.journal import Journal
cell = {"test_scores": 0.5, "n_test_samples": 1, "fit_time": 0.1, "score_time": 0.1}
for number in range(int(sys.argv[3])):
    while True:
        try:
            with Journal(sys.argv[1]) as journal:
                journal.add(f"{sys.argv[2]}-{number}", cell)
            break
        except UsageError:
            time.sleep(0.001)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), name, str(count)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def test_what_another_search_added_while_this_one_opened_is_kept(tmp_path, monkeypatch):
    lock = Journal._lock

    def late(self) -> None:
        assert writer(tmp_path / "j", "other", 3).wait() == 0
        lock(self)

    monkeypatch.setattr(Journal, "_lock", late)
    with Journal(tmp_path / "j") as journal:
        journal.add("own", _CELL)
    monkeypatch.undo()
    with Journal(tmp_path / "j") as journal:
        assert sorted(journal._cells) == ["other-0", "other-1", "other-2", "own"]


def test_searches_that_open_one_journal_again_and_again_lose_no_cell(tmp_path):
    children = [writer(tmp_path / "j", name, 25) for name in "abc"]
    assert [child.wait() for child in children] == [0, 0, 0]
    with Journal(tmp_path / "j") as journal:
        assert len(journal) == 75


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {"key": 1},
        {"key": "k", **_CELL, "n_test_samples": "x"},
        {**_CELL},
        {"key": "k", **_CELL, "more": 1},
        "[" * 9999,
    ],
)
def test_a_signed_line_of_a_journal_that_is_none_is_passed_over(tmp_path, entry):
    with Journal(tmp_path / "j") as journal:
        journal.add("sound", _CELL)
    text = (entry if isinstance(entry, str) else json.dumps(entry)).encode()
    with (tmp_path / "j").open("ab") as file:
        file.write(hashlib.sha256(text).hexdigest()[:16].encode() + b" " + text + b"\n")
    with Journal(tmp_path / "j") as journal:
        assert list(journal._cells) == ["sound"]


# -- runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"test": {"accuracy": 2, "accuracy_ci": [0, 1]}},
        {"classes": ["a\x1b", "b"]},
        {"classes": ["only"]},
        {"data": 3},
        {"test": None},
        {"candidates": "9"},
        {"per_split": {"train": {"a": -1}}},
        {"best_params": []},
        {"verb": {}},
        {"finished": 1},
    ],
)
def test_a_run_that_lies_is_refused_by_the_report(tmp_path, change):
    test = {"accuracy": 0.5, "accuracy_ci": [0.4, 0.6], "n": 4, "confusion": [[1, 1], [1, 1]]}
    run = {
        "verb": "grid",
        "finished": "2026-01-01T00:00:00",
        "data": "/d",
        "classes": ["a", "b"],
        "model": "knn",
        "feature_set": "s",
        "best_params": {},
        "candidates": 1,
        "folds": 2,
        "best_score": 0.5,
        "test": test,
    }
    (tmp_path / "runs" / "grid-1").mkdir(parents=True)
    place = tmp_path / "runs" / "grid-1" / "run.json"
    place.write_text(json.dumps(run))
    report(tmp_path / "runs", cache=tmp_path / "cache")
    place.write_text(json.dumps({**run, **change}))
    with pytest.raises(DataError, match=r"run\.json"):
        report(tmp_path / "runs", cache=tmp_path / "cache")


# -- terminals and spreadsheets ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äß猫 $ ' \" =", "plain äß猫 $ ' \" ="),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\x7f", "a\\x0db\\x7f"),
        ("\u202efdp.exe", "\\u202efdp.exe"),
        ("\udcff", "\\xff"),
        ("\ud800", "\\ud800"),
        ("one\ntwo\t", "one\ntwo\t"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert printable(text) == shown
    assert "\n" not in printable(text, lines=False)


def test_names_on_disk_do_not_reach_the_terminal(made, cli, tmp_path):
    folder = tmp_path / f"in{ESC}"
    folder.mkdir()
    shutil.copy(image(made), folder / f"{ESC}.png")
    (folder / f"bad{ESC}.png").write_bytes(b"no image")
    for options in (("--skip-bad",), ("-v",)):
        done = cli("predict", made / "logistic", folder, *options)
        assert done.code == (0 if options == ("--skip-bad",) else 3)
        assert "\\x1b[2J" in done.out + done.err
        assert not set("\x1b\x07") & set(done.out + done.err)
    done = cli("predict", made / "logistic", folder / f"{ESC}.png", "--json")
    assert done.json["rows"][0]["path"] == str(folder / f"{ESC}.png")
    assert "\x1b" not in done.out


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nb", "\u202eb", "x" * 256])
def test_a_class_that_would_steer_a_terminal_is_refused_before_the_work(name):
    with pytest.raises(DataError, match="Rename it, or leave it out"):
        task_classes("multiclass", [name, "normal", "covid"])
    assert task_classes("multiclass", [name, "normal", "covid"], ["normal", "covid"]) == ("normal", "covid")


def test_odd_names_of_classes_keep_working(tmp_path):
    names = ("Lungenentzündung (böse)", "a $x$ 'b' \"c\"", "正常", FORMULA)
    write_images(tmp_path / "images", 16, classes=names, size=16)
    featcache.extract(tmp_path / "images", "pixels", size=8, cache=tmp_path / "c")
    f = featcache.load("pixels", cache=tmp_path / "c")
    assert set(f.classes) == set(names)
    model = LogisticRegression().fit(f.X, f.y)
    save_bundle(tmp_path / "b", model, f, np.arange(16), task="multiclass", scores={}, cache=tmp_path / "c")
    found = predict(tmp_path / "b", [tmp_path / "images"], cache=tmp_path / "c")
    assert set(found["rows"][0]["probabilities"]) == set(names)


@pytest.mark.parametrize(
    "cell",
    [
        FORMULA,
        "=1",
        "+x",
        "-x",
        "@x",
        "\tx",
        "\rx",
        " x",
        "x ",
        "'=x",
        "'=x'",
        "' x'",
        "''",
        "'",
        "",
        "x",
        "= '",
        "''-5''",
        "＝x",
        " ",
        "a\nb",
    ],
)
def test_cells_come_back_as_they_were(tmp_path, cell):
    write_table(tmp_path / "t.csv", ("path", cell), [(cell, "label"), ("x", cell)])
    assert read_table(tmp_path / "t.csv") == [{"path": cell, cell: "label"}, {"path": "x", cell: cell}]
    with (tmp_path / "t.csv").open(newline="") as file:
        for row in csv.reader(file):
            assert not any(text.startswith(("=", "+", "-", "@", "\t", "\r", "＝")) for text in row)


@pytest.mark.parametrize("number", [-1, -0.5, "-0.5", "+3", "1e-05", "-inf", "nan", "-7"])
def test_numbers_stay_numbers(number):
    assert spreadsheet_cells.guarded(number) == number


def test_the_audits_manifest_gives_the_same_data(tmp_path):
    """Formulas and outer spaces in classes and names come through ``manifest.csv``, which is made for --data."""
    classes = (FORMULA, " normal ", "'quoted'", "-5")
    write_images(tmp_path / "images", 24, classes=classes, size=16)
    for path in list((tmp_path / "images").rglob("*.png"))[:6]:
        path.rename(path.with_name(f"={path.name}"))
    first = open_dataset(tmp_path / "images")
    found = audit(tmp_path / "images", cache=tmp_path / "c", out=tmp_path / "a")
    again = open_dataset(Path(found["run"]) / "manifest.csv")
    assert dict(zip(again.paths, again.labels, strict=True)) == dict(zip(first.paths, first.labels, strict=True))
    for table in Path(found["run"]).glob("*.csv"):
        with table.open(newline="") as file:
            assert not any(cell.startswith(("=", "+", "@", " ")) for row in csv.reader(file) for cell in row)


def test_a_name_that_is_not_utf8_leaves_a_table_that_others_can_read(tmp_path):
    write_table(tmp_path / "t.csv", ("path",), [("a\udcff.png",)])
    assert "a\\udcff.png" in (tmp_path / "t.csv").read_text("utf-8")


def test_files_are_read_once_for_a_prediction(made, tmp_path, monkeypatch):
    """A second look would cost as much, and might find another picture in the file."""
    from featcache.extraction import planning

    fresh = tmp_path / "new.png"
    shutil.copy(image(made), fresh)
    os.utime(fresh)
    read = []
    file_key = planning._file_key
    monkeypatch.setattr(planning, "_file_key", lambda path: read.append(path) or file_key(path))
    predict(made / "logistic", [fresh], cache=made / "cache")
    assert read == [str(fresh)]


# -- the fuzzer --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_minutes_of_trouble():
    from fuzz_foreign import fuzz

    done, findings = fuzz(120, start=int.from_bytes(os.urandom(3), "big"))
    assert not findings
    assert done > 100
