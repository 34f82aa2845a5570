"""Evidence for labels and for numbers: finite differences agree with the maps, and they lie where the image says it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from findings import LABELS, write_findings
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVR, LinearSVR

import featcache
from featcache import Multilabel, Regression
from featcache.errors import UsageError
from featcache.features.pooling import pool
from heads import DenseHeadMultilabelClassifier, DenseHeadRegressor, LabelWiseClassifier, fit_head, saliency
from heads.inference.class_activation import contributions
from heads.training.calibrated_ridge import CalibratedRidgeClassifier

SIDE, CHANNELS = 3, 6


def maps_and_targets(count: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps, three labels of which the last is known of nobody to be there, and a number; all learnable."""
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(count, SIDE, SIDE, CHANNELS)).astype(np.float32)
    Y = (rng.random((count, 3)) < 0.5).astype(np.float64)
    maps[..., :3] += 2 * Y[:, None, None]
    Y[:, 2] = 0
    Y[::5, 0] = np.nan
    return maps, Y, 50 + 10 * maps[..., 4].mean(axis=(1, 2)) + 3 * maps[:, 0, 0, 0]


def differences(of, maps: np.ndarray, pooling: str) -> np.ndarray:
    """Each cell's share in what ``of`` gives pooled rows, by central differences along the cell's own values."""
    found, step = np.zeros(maps.shape[:3]), 1e-2
    for row, column in np.ndindex(SIDE, SIDE):
        ends = []
        for sign in (1, -1):
            moved = maps.astype(np.float64)
            moved[:, row, column] *= 1 + sign * step
            ends.append(of(pool(moved, pooling)))
        found[:, row, column] = (ends[0] - ends[1]) / (2 * step)
    return found


def logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


LABEL_MODELS = {
    "dense": DenseHeadMultilabelClassifier(8, activation="tanh", epochs=3, random_state=0),
    "normalised": DenseHeadMultilabelClassifier((6, 4), activation="gelu", batch_norm=True, epochs=3, random_state=0),
    "label-wise": make_pipeline(StandardScaler(), PCA(5), LabelWiseClassifier(LogisticRegression())),
    "ridges": make_pipeline(StandardScaler(), LabelWiseClassifier(CalibratedRidgeClassifier(0.1))),
    "pipelines": LabelWiseClassifier(make_pipeline(StandardScaler(), LogisticRegression())),
}


@pytest.mark.parametrize("pooling", ["flatten", "avg"])
@pytest.mark.parametrize("name", LABEL_MODELS)
def test_of_each_label_the_map_is_the_gradient_of_its_own_logit(name, pooling):
    maps, Y, _ = maps_and_targets()
    model = LABEL_MODELS[name].fit(pool(maps, pooling), Y)
    for label in range(2):
        wanted = differences(lambda rows, c=label: logit(model.predict_proba(rows)[:, c]), maps, pooling)
        found = contributions(model, maps, pooling, label)
        assert np.ptp(wanted) > 0.01
        np.testing.assert_allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())
    each = np.arange(len(maps)) % 2
    mixed = contributions(model, maps, pooling, each)
    np.testing.assert_allclose(mixed[0], contributions(model, maps[:1], pooling, 0)[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mixed[1], contributions(model, maps[1:2], pooling, 1)[0], rtol=1e-4, atol=1e-5)
    probable = model.predict_proba(pool(maps, pooling)).argmax(axis=1)
    np.testing.assert_array_equal(contributions(model, maps, pooling), contributions(model, maps, pooling, probable))


def test_nothing_speaks_for_a_label_of_one_value():
    maps, Y, _ = maps_and_targets()
    model = LabelWiseClassifier(LogisticRegression()).fit(pool(maps, "avg"), Y)
    assert not contributions(model, maps, "avg", 2).any()


NUMBER_MODELS = {
    "dense": DenseHeadRegressor(8, activation="tanh", epochs=3, random_state=0),
    "huber": DenseHeadRegressor(8, loss="huber", activation="elu", batch_norm=True, epochs=3, random_state=0),
    "ridge": make_pipeline(StandardScaler(), PCA(5, whiten=True), Ridge()),
    "linear svr": LinearSVR(random_state=0),
    "svr of scaled targets": make_pipeline(
        StandardScaler(), TransformedTargetRegressor(SVR(kernel="linear"), transformer=StandardScaler())
    ),
}


@pytest.mark.parametrize("pooling", ["flatten", "avg"])
@pytest.mark.parametrize("name", NUMBER_MODELS)
def test_of_a_number_the_map_is_its_gradient_in_its_own_unit(name, pooling):
    maps, _, y = maps_and_targets()
    model = NUMBER_MODELS[name].fit(pool(maps, pooling), y)
    wanted = differences(model.predict, maps, pooling)
    found = contributions(model, maps, pooling)
    assert wanted.min() < 0 < wanted.max()
    np.testing.assert_allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())
    np.testing.assert_array_equal(found, contributions(model, maps, pooling, 0))


def test_behind_unit_rows_a_map_adds_up_to_the_number_but_for_a_constant():
    maps, _, y = maps_and_targets()
    rows = pool(maps, "flatten")
    model = make_pipeline(Normalizer(), Ridge(alpha=0.01)).fit(rows, y)
    rest = model.predict(rows) - contributions(model, maps, "flatten").sum(axis=(1, 2))
    np.testing.assert_allclose(rest, model[-1].intercept_, rtol=1e-4)


def test_models_that_have_no_map():
    maps, Y, y = maps_and_targets()
    rows = pool(maps, "avg")
    near = LabelWiseClassifier(KNeighborsClassifier()).fit(rows, Y)
    with pytest.raises(UsageError, match="KNeighborsClassifier has no class-activation map"):
        contributions(near, maps, "avg")
    with pytest.raises(UsageError, match="RandomForestRegressor has no class-activation map"):
        contributions(RandomForestRegressor(3).fit(rows, y), maps, "avg")
    with pytest.raises(UsageError, match="SVR has no class-activation map"):
        contributions(SVR().fit(rows, y), maps, "avg")
    with pytest.raises(UsageError, match="expected positions in 1 "):
        contributions(Ridge().fit(rows, y), maps, "avg", 1)


# -- from images to pictures -----------------------------------------------------------------------

QUARTERS = {
    "Edema": (slice(0, 8), slice(0, 8)),
    "Mass": (slice(0, 8), slice(8, 16)),
    "Nodule": (slice(8, 16), slice(0, 8)),
}
SETTINGS = {"backbone": "pixels", "units": 16, "batch_norm": True, "learning_rate": 0.01, "epochs": 40}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence")
    featcache.extract(write_findings(folder / "here"), "pixels", size=16, cache=folder / "c")
    return folder


@pytest.fixture(scope="module")
def labels(made):
    return fit_head(Multilabel(LABELS), **SETTINGS, cache=made / "c", out=made / "labels")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "saliency.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_rarest_label_that_is_there_is_explained_where_it_shows(labels, made, tmp_path):
    result = saliency(labels.result["bundle"], split="test", cache=made / "c", limit=3, out=tmp_path / "run")
    rows, features = rows_of(tmp_path / "run"), labels.features
    assert len(rows) == result["images"]
    of_path = {path: row for row, path in enumerate(features.paths)}
    counts = np.nansum(features.y[[of_path[row["path"]] for row in rows]], axis=0)
    right = []
    for row in rows:
        has = np.flatnonzero(features.y[of_path[row["path"]]] == 1)
        if len(has):
            assert row["explained"] == LABELS[min(has, key=lambda label: counts[label])]
            assert row["labels"] == "|".join(LABELS[label] for label in has)
            down, across = QUARTERS[row["explained"]]
            inside = (
                down.start <= int(row["peak_row"]) < down.stop,
                across.start <= int(row["peak_column"]) < across.stop,
            )
            right.append(all(inside))
    assert len(right) > 30
    assert np.mean(right) > 0.6  # by chance a quarter
    assert set(result["border"]) == set(LABELS)
    assert len(list((tmp_path / "run" / "overlays").iterdir())) == 3


def test_one_label_for_all_images_and_given_ones(labels, made, cli, tmp_path):
    paths = labels.features.paths[:4]
    bundle = labels.result["bundle"]
    done = cli("saliency", bundle, *paths, "--label", "Mass", "--cache", made / "c", "--out", tmp_path / "a", "--json")
    assert done.code == 0, done.err
    assert (done.json["label"], done.json["misclassified"]) == ("Mass", None)
    assert {row["explained"] for row in rows_of(tmp_path / "a")} == {"Mass"}
    plain = saliency(bundle, paths, cache=made / "c", limit=0, out=tmp_path / "b")
    assert plain["label"] is None
    for row, p in zip(rows_of(tmp_path / "b"), labels.probabilities[:4], strict=True):
        assert row["explained"] == LABELS[int(p.argmax())]
        assert float(row["probability"]) == pytest.approx(p.max(), abs=1e-4)
    shown = cli("saliency", bundle, "--split", "test", "--limit", "0", "--label", "Edema", "--cache", made / "c")
    assert "by the label explained" in shown.out
    for options, says in ((["--label", "Gout"], "no such label"), (["--label", ""], "--label")):
        done = cli("saliency", bundle, *options, "--cache", made / "c")
        assert (done.code, says in done.err) == (2, True)


def test_what_raises_a_number(made, cli, tmp_path):
    """The age is the light of all quarters, so that all cells raise it together."""
    fitted = fit_head(Regression("age"), **SETTINGS, cache=made / "c", out=tmp_path / "age")
    bundle = fitted.result["bundle"]
    result = saliency(bundle, split="test", cache=made / "c", limit=2, out=tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    assert set(rows[0]) >= {"true", "predicted", "peak_value"}
    told = dict(zip(fitted.features.paths, fitted.probabilities, strict=True))
    assert all(float(row["predicted"]) == pytest.approx(told[row["path"]], rel=1e-4) for row in rows)
    assert result["misclassified"] is None
    assert list(result["border"]) == ["age"]
    with pytest.raises(UsageError, match="only one of several labels"):
        saliency(bundle, label="age", cache=made / "c")
    shown = cli("saliency", bundle, fitted.features.paths[0], "--limit", "0", "--cache", made / "c")
    assert "what raises the number" in shown.out
