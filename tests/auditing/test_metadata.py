"""What a table says of its images, as an audit takes it: columns that give the label away, splits that heed them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats.contingency import association as cramer
from scipy.stats.contingency import crosstab
from shortened import few_trees, undrawn

from featcache import Classification, Multilabel, Regression
from featcache.data.dataset import open_dataset
from heads import audit
from heads.auditing import audit_record
from heads.auditing.balanced_splits import splits_of
from heads.auditing.confounding import confounded
from heads.auditing.metadata_probes import of_interest, told_by, worth_asking
from heads.auditing.questions import MEASURES, ask
from heads.auditing.shortcut_probes import chances

PATIENTS, IMAGES = 32, 2


def noise(seed: int) -> Image.Image:
    """A picture like no other, and of no class."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8))


def write_table(place: Path, columns: dict[str, list]) -> Path:
    with place.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return place


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Noise of 32 patients: ``view`` goes with the class, ``dose`` is known of one mostly, ``ward`` renames it."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    count = PATIENTS * IMAGES
    for number in range(count):
        noise(number if number != count - 1 else 0).save(folder / f"{number:02}.png")  # the last is a copy of the first
    sick = np.repeat(np.arange(PATIENTS) % 2, IMAGES)
    sex = np.repeat(rng.permutation(np.arange(PATIENTS) < 20), IMAGES)
    age = np.repeat(rng.integers(20, 90, PATIENTS), IMAGES)
    ap = np.where(sick == 1, 1, rng.random(count) < 0.2)
    dose = [
        f"{value:.1f}" if not there or rng.random() < 0.1 else ""
        for value, there in zip(rng.random(count), sick, strict=True)
    ]
    edema = np.repeat(rng.permutation(np.arange(PATIENTS) % 2), IMAGES)
    edema[-1] = 1 - edema[0]
    effusion = [str(value) for value in np.where(rng.random(count) < 0.97, sick, 1 - sick)]
    effusion[-1] = ""
    return write_table(
        folder / "table.csv",
        {
            "path": [f"{number:02}.png" for number in range(count)],
            "label": np.array(["well", "sick"])[sick],
            "group": np.repeat(np.arange(PATIENTS), IMAGES),
            "sex": np.array(["F", "M"])[sex.astype(int)],
            "view": np.array(["PA", "AP"])[ap.astype(int)],
            "age": age,
            "dose": dose,
            "ward": np.array(["east", "west"])[sick],
            "edema": edema,
            "effusion": effusion,
        },
    )


@pytest.fixture(scope="module")
def audits(table, tmp_path_factory) -> dict[str, dict]:
    """What is found in it, by kind of task."""
    folder = tmp_path_factory.mktemp("audits")
    tasks = (Classification(), Multilabel(("edema", "effusion")), Regression("age"))
    with few_trees(), undrawn():
        return {task.kind: audit(table, task=task, cache=folder / "cache", out=folder / task.kind) for task in tasks}


def by_probe(result: dict, label: str) -> dict[str, dict]:
    return {row["probe"]: row for row in result["shortcuts"] if row["label"] == label}


def test_a_column_that_tells_the_class_is_a_shortcut(audits):
    found = by_probe(audits["classes"], "label")
    assert {name for name, row in found.items() if row["flag"]} == {"view", "dose missing", "effusion"}
    assert found["view"]["of"] == "metadata"
    assert found["view"]["score"] > 0.8
    assert found["view"]["score_ci"][0] > 0.6
    assert found["sex"]["p_value"] > 0.1
    assert found["dose missing"]["n"] == PATIENTS * IMAGES
    assert "dose" not in found or found["dose"]["n"] < PATIENTS * IMAGES  # asked where it is known
    text = next(text for text in audits["classes"]["warnings"] if text.startswith("shortcut, by metadata"))
    assert f"{found['view']['score']:.0%} by view" in text


def test_another_name_of_the_label_is_asked_about(audits):
    ward = by_probe(audits["classes"], "label")["ward"]
    assert (ward["score"], ward["flag"], ward["names_label"]) == (1.0, False, True)
    assert any(text.startswith("column ward: label follows from it") for text in audits["classes"]["warnings"])
    assert not [row for row in audits["classes"]["absent"] if row["column"] == "ward"]


def test_what_the_task_learns_is_no_probe(audits):
    assert set(by_probe(audits["labels"], "edema")) == set(by_probe(audits["labels"], "effusion"))
    names = {row["probe"] for row in audits["labels"]["shortcuts"]}
    assert not names & {"edema", "effusion", "effusion missing"}
    assert {"view", "sex", "age", "ward"} <= names
    assert "age" not in {row["probe"] for row in audits["number"]["shortcuts"]}


def test_labels_are_asked_for_one_by_one(audits):
    assert by_probe(audits["labels"], "effusion")["ward"]["flag"]
    assert by_probe(audits["labels"], "effusion")["ward"]["measure"] == "ROC area"
    assert not any(row["flag"] for row in by_probe(audits["labels"], "edema").values())
    assert "effusion (0." in next(text for text in audits["labels"]["warnings"] if "by metadata" in text)
    assert audits["labels"]["per_split"]["all"]["edema"] == PATIENTS


def test_a_number_is_told_by_the_correlation_of_ranks(audits):
    rows = audits["number"]["shortcuts"]
    assert {row["measure"] for row in rows} == {"rank correlation"}
    assert {row["label"] for row in rows} == {"age"}
    assert not any(row["flag"] for row in rows)


def test_copies_that_contradict_each_other(audits, table):
    """The copy has another class, another state of edema, an unknown one of effusion, and an age of its own."""
    for kind in ("classes", "labels"):
        assert [copies["conflict"] for copies in audits[kind]["duplicates"]] == [True]
        assert any(text.startswith("labels: 1 pair of copies") for text in audits[kind]["warnings"])
    rows = list(csv.DictReader(table.read_text().splitlines()))
    ages = np.array([float(row["age"]) for row in rows])
    assert audits["number"]["duplicates"][0]["conflict"] == (abs(ages[0] - ages[-1]) >= ages.std())


def test_what_is_not_known_is_no_conflict(table, tmp_path):
    with few_trees(), undrawn():
        result = audit(table, task=Multilabel(("effusion",)), cache=tmp_path / "c", out=tmp_path / "o")
    assert result["images"] == PATIENTS * IMAGES - 1  # of the copy nothing is known: it is not there
    assert result["duplicates"] == []


def test_the_table_of_what_goes_together(audits, table):
    rows = list(csv.DictReader(table.read_text().splitlines()))
    found = {row["column"]: row for row in audits["classes"]["confounding"]}
    assert found["view"]["strength"] == pytest.approx(
        cramer(crosstab([row["label"] for row in rows], [row["view"] for row in rows]).count)
    )
    assert found["view"]["p"] < 0.001
    assert found["sex"]["p"] > 0.1
    assert found["sex"]["groups"] == PATIENTS - 1  # a copy joins two of them
    assert [row["p"] for row in audits["classes"]["confounding"]] == sorted(row["p"] for row in found.values())
    written = Path(audits["classes"]["run"]) / "confounding.csv"
    assert len(written.read_text().splitlines()) == 1 + len(found)


def test_what_no_split_can_balance_is_named(audits):
    assert {(row["class"], row["column"], row["value"]) for row in audits["classes"]["absent"]} == {
        ("sick", "view", "PA")
    }
    assert audits["number"]["absent"] == []


def test_the_manifest_keeps_the_metadata_and_splits_heed_them(audits, table):
    made = open_dataset(Path(audits["classes"]["run"]) / "manifest.csv")
    given = open_dataset(table)
    assert made.table == given.table
    assert set(made.metadata) == set(given.metadata)
    parts = {
        group: {split for split, own in zip(made.splits, made.groups, strict=True) if own == group}
        for group in made.groups
    }
    assert all(len(splits) == 1 for splits in parts.values())
    sizes = Counter(made.splits)
    assert sizes["train"] == pytest.approx(0.6 * len(made), abs=4)
    for column in (made.labels, made.table["sex"], made.table["view"]):
        overall = Counter(column)
        for part, size in sizes.items():
            shares = Counter(value for value, split in zip(column, made.splits, strict=True) if split == part)
            assert all(abs(shares[value] / size - count / len(made)) < 0.15 for value, count in overall.items())
    several = open_dataset(Path(audits["labels"]["run"]) / "manifest.csv")
    assert several.table["edema"] == given.table["edema"]
    assert set(several.splits) == {"train", "val", "test"}


def test_splits_of_many_groups_are_even_and_those_given_stay():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), rng.integers(1, 5, 200))
    y, names = rng.integers(0, 3, 200)[groups], ("a", "b", "c")
    columns = {name: rng.integers(0, 5, len(groups)).astype(str).astype(object) for name in ("one", "two", "three")}
    splits, unbalanced = splits_of([""] * len(groups), columns, Classification(), y, names, groups.astype(str))
    assert unbalanced == []
    for column in (y, *columns.values()):
        for part in ("train", "val", "test"):
            own = column[np.array(splits) == part]
            assert all(abs(np.mean(own == value) - np.mean(column == value)) < 0.04 for value in set(column))
    bent = ["train" if value in "01" else "test" for value in columns["one"]]
    alone = [str(i) for i in range(len(bent))]
    kept, unbalanced = splits_of(bent, columns, Classification(), y, names, alone)
    assert kept == bent
    assert [row["column"] for row in unbalanced] == ["one"]
    few, _ = splits_of([""] * 6, {}, Classification(), np.arange(6) % 2, ("a", "b"), list("abcdef"))
    assert set(few) == {"train"}


def test_two_sets_are_compared_by_their_tables(table, tmp_path, cli):
    rng = np.random.default_rng(5)
    for number in range(40):
        noise(1000 + number).save(tmp_path / f"{number:02}.png")
    other = write_table(
        tmp_path / "other.csv",
        {
            "path": [f"{number:02}.png" for number in range(40)],
            "label": ["well", "sick"] * 20,
            "sex": np.where(rng.random(40) < 0.6, "m", "f"),  # in small letters
            "view": ["ap"] * 40,
            "age": rng.integers(1, 12, 40),
            "scanner": ["X", "Y"] * 20,
        },
    )
    with few_trees(), undrawn():
        done = cli("audit", "--data", table, "--against", other, "--json")
    metadata = done.json["against"]["metadata"]
    found = {row["column"]: row for row in metadata["columns"]}
    assert set(found) == {"sex", "view", "age"}
    assert found["age"]["p"] < 0.001
    assert found["age"]["value"] is None
    assert found["age"]["other"] < 12 < found["age"]["own"]
    assert (found["view"]["p"] < 0.01, found["view"]["other"]) == (True, 1.0 if found["view"]["value"] == "ap" else 0.0)
    assert found["sex"]["p"] > 0.05
    assert metadata["alone"]["other"] == ["scanner"]
    assert set(metadata["alone"]["own"]) == {"dose", "ward", "edema", "effusion"}


def test_a_record_speaks_for_its_task_alone(audits, table):
    cache = Path(audits["classes"]["run"]).parent / "cache"
    keys = [bytes.fromhex(name) for name in _keys(table)]
    assert audit_record.read_record(cache, keys).warnings == audits["classes"]["warnings"]
    number = audit_record.read_record(cache, keys, Regression("age"))
    assert number.warnings == audits["number"]["warnings"]
    assert audit_record.read_record(cache, keys, Regression("dose")) is None


def _keys(table: Path) -> list[str]:
    import hashlib

    return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in open_dataset(table).paths]


def test_a_class_whose_groups_are_all_held_out_is_given_nothing():
    """So rare a label may have all of its patients in one fold."""
    X, zeros = np.arange(12.0)[:, None], np.zeros(12, int)
    forest = MEASURES["classes"].forest(2, 0).fit(X, zeros)
    assert MEASURES["classes"].given(forest, X, 3).tolist() == [[1, 0, 0]] * 12
    assert MEASURES["labels"].given(forest, X, 2).tolist() == [0] * 12


# -- real radiographs ----------------------------------------------------------------------------


def real(reference: Path, name: str):
    dataset = open_dataset(reference / "data" / name / "manifest.csv")
    task = Classification()
    targets = task.targets(dataset)
    return dataset, task, targets, of_interest(dataset, task, targets.names)


def columns_told(task, y, names, groups, columns, seed=0):
    """Probe and p of what each column tells."""
    answers, probes = [], []
    for question in ask(task, y, names, groups, seed):
        for column in worth_asking(columns):
            told = told_by(column, question, MEASURES[task.kind])
            if told is not None:
                answers.append(told)
                probes.append(column.name)
    return dict(zip(probes, chances(MEASURES[task.kind], answers, seed), strict=True))


@pytest.mark.slow
@pytest.mark.real
def test_the_view_tells_intensive_care_from_the_ward(reference, tmp_path):
    with few_trees(), undrawn():
        result = audit(reference / "data" / "hannover" / "manifest.csv", cache=tmp_path / "c", out=tmp_path / "o")
    found = by_probe(result, "label")
    assert found["view"]["flag"]
    assert not found["sex"]["flag"]
    assert result["confounding"][0]["column"] == "view"
    assert ("icu", "view", "pa") in {(row["class"], row["column"], row["value"]) for row in result["absent"]}
    assert json.loads((tmp_path / "o" / "run.json").read_text())["confounding"] == result["confounding"]


@pytest.mark.real
def test_of_the_columns_of_intensive_care_the_view_tells(reference):
    dataset, task, targets, columns = real(reference, "hannover")
    p = columns_told(task, targets.y, targets.names, dataset.groups, columns)
    assert {name for name, value in p.items() if value < 0.01} == {"view"}


@pytest.mark.real
def test_the_view_does_not_tell_pneumonia_and_findings_name_it(reference):
    dataset, task, targets, columns = real(reference, "nih")
    p = columns_told(task, targets.y, targets.names, dataset.groups, columns)
    assert p["view"] > 0.05
    together = {row["column"]: row for row in confounded(columns, task, targets.y, targets.names, dataset.groups)}
    assert together["findings"]["strength"] == pytest.approx(1)
    assert together["view"]["p"] > 0.05


@pytest.mark.real
@pytest.mark.parametrize("name", ["hannover", "nih"])
def test_labels_dealt_to_real_patients_raise_no_flag(name, reference):
    dataset, task, targets, columns = real(reference, name)
    groups, rng, least = np.unique(dataset.groups, return_inverse=True)[1], np.random.default_rng(0), []
    for seed in range(60):
        y = rng.permutation(np.arange(groups.max() + 1) % 2)[groups]
        least.append(min(columns_told(task, y, targets.names, dataset.groups, columns, seed).values()))
    assert np.mean(np.array(least) < 0.01) <= 0.04
