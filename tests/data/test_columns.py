"""What a table says besides: which columns become metadata, which are of people, and where the files lie."""

from __future__ import annotations

import json
import logging
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from pictures import write_images

import featcache
from featcache.data.dataset import open_dataset
from featcache.data.label_table import label_table
from featcache.data.tasks import Regression
from featcache.errors import DataError, UsageError

ROWS = 60


@pytest.fixture
def table(tmp_path):
    """A manifest of 60 images that are there, to which a test adds columns."""
    paths = write_images(tmp_path / "images", ROWS, size=8)

    def write(**columns):
        frame = {"path": [str(path) for path in paths], "label": [path.parent.name for path in paths], **columns}
        pd.DataFrame(frame).to_csv(tmp_path / "m.csv", index=False)
        return tmp_path / "m.csv"

    return write


def test_columns_are_typed_as_pandas_reads_them(table):
    ages = [None if i % 7 == 0 else 20 + i for i in range(ROWS)]
    path = table(age=ages, sex=["M", "F"] * 30, smoker=["0", "1"] * 30, view=["PA", "", "AP"] * 20)
    found, reference = open_dataset(path).metadata, pd.read_csv(path)
    assert list(found) == ["age", "sex", "smoker", "view"]
    np.testing.assert_array_equal(found["age"], reference["age"].to_numpy(np.float64))
    np.testing.assert_array_equal(found["smoker"], reference["smoker"].to_numpy(np.float64))
    assert found["sex"].tolist() == reference["sex"].tolist()
    assert found["view"].tolist() == [None if value != value else value for value in reference["view"]]


def test_ages_as_dicom_writes_them_are_years(table):
    found = open_dataset(table(age=["058Y", "006M", "052W", "", "nan"] * 12)).metadata["age"]
    assert found[0] == 58
    assert math.isclose(found[1], 0.5)
    assert math.isclose(found[2], 1, rel_tol=0.01)
    assert np.isnan(found[3:5]).all()


@pytest.mark.parametrize(
    "name",
    [
        *("name", "patient_name", "PatientName", "first name", "Surname", "mrn", "SSN", "hospital_number", "dob"),
        *(
            "PatientBirth",
            "birth_date",
            "address",
            "phone",
            "E-Mail",
            "AccessionNumber",
            "StudyInstanceUID",
            "patientid",
        ),
        *("Patient ID", "subject_id", "rad_id", "StudyDate_DICOM", "date", "patient", "referring physician"),
    ],
)
def test_a_column_of_people_is_left_out_by_its_name(table, name):
    """Even where it has but two values, and where they are numbers."""
    found = open_dataset(table(**{name: ["19500101", "7"] * 30, "age": range(ROWS)}))
    assert list(found.metadata) == ["age"]
    assert list(found.left_out) == [name]
    assert name in found.table  # a task may be told to learn it


@pytest.mark.parametrize(
    "name",
    [
        "covid",
        "sex",
        "age",
        "view",
        "ManufacturerModelName",
        "station_name",
        "patient_age",
        "PatientSex",
        "idle",
        "side",
    ],
)
def test_a_column_of_images_is_kept(table, name):
    assert list(open_dataset(table(**{name: ["1", "2"] * 30})).metadata) == [name]


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ([f"seen by Dr {i}" for i in range(ROWS)], "another text in nearly every row"),
        ([f"word {i % 52}" for i in range(ROWS)], "more than 50 different texts"),
        (["1954-03-01", "2001-12-31"] * 30, "a date"),
        (["01/03/1954", ""] * 30, "a date"),
        (["19540301", "20011231.0"] * 30, "a date"),
        (["", "NA"] * 30, "nothing known"),
    ],
)
def test_a_column_is_left_out_by_its_cells(table, cells, why):
    found = open_dataset(table(remark=cells))
    assert not found.metadata
    assert why in found.left_out["remark"]
    kept = open_dataset(featcache.DataSource(table(remark=cells), metadata=["remark"])).metadata["remark"]
    assert [cell or "" for cell in kept] == ["" if cell in ("", "NA") else cell for cell in cells]


def test_what_is_left_out_is_said_once_in_one_line(table, tmp_path, caplog):
    path = table(mrn=range(ROWS), dob=["1954-03-01"] * ROWS, age=range(ROWS))
    with caplog.at_level(logging.INFO, "featcache"):
        featcache.extract(path, "pixels", size=8, cache=tmp_path / "cache")
        features = featcache.load("pixels", cache=tmp_path / "cache")
    assert list(features.metadata) == ["age"]
    (line,) = [record.getMessage() for record in caplog.records if "no metadata" in record.getMessage()]
    assert "mrn, dob (tells of people by its name)" in line
    assert "--metadata A,B" in line
    assert "1954" not in caplog.text


def test_later_verbs_read_the_data_as_the_extract_did(table, tmp_path, cli):
    """The table lies elsewhere than its images; its path alone would find none of them."""
    path = table(mrn=range(ROWS), age=range(ROWS))
    frame = pd.read_csv(path)
    frame["path"] = [place.rpartition("/")[2] for place in frame["path"]]
    (tmp_path / "tables").mkdir()
    frame.to_csv(tmp_path / "tables" / "m.csv", index=False)
    told = ("--data", "tables/m.csv", "--images", "images", "--metadata", "mrn")
    done = cli("extract", *told, "--backbone", "pixels", "--size", "8", "--json")
    assert done.code == 0, done.err
    last = json.loads((tmp_path / "cache" / "last-extract.json").read_text())
    assert (last["images"], last["metadata"], last["headers"]) == (str(tmp_path / "images"), ["mrn"], True)
    for data in (None, tmp_path / "tables" / "m.csv"):
        features = featcache.load("pixels", data=data, cache=tmp_path / "cache")
        assert list(features.metadata) == ["mrn", "age"]
        assert features.metadata["mrn"].tolist() == list(range(ROWS))
    written = cli("cache", "export", "out.h5", "--backbone", "pixels")
    assert written.code == 0, written.err


def test_how_data_was_read_is_checked_when_it_is_read_back(table, tmp_path):
    featcache.extract(table(age=range(ROWS)), "pixels", size=8, cache=tmp_path / "cache")
    place = tmp_path / "cache" / "last-extract.json"
    for name, value in (("images", 3), ("metadata", ["a\x1b[2J"]), ("headers", "no"), ("images", "a\0b")):
        place.write_text(json.dumps({**json.loads(place.read_text()), name: value}))
        with featcache.Store(tmp_path / "cache") as store:
            assert store.last_extract() == {}


def test_bare_names_are_found_at_any_depth(tmp_path):
    write_images(tmp_path / "images" / "deep" / "er", 4, size=8)
    pd.DataFrame({"path": ["0002.png", "0001.png"], "label": "ab"}).to_csv(tmp_path / "m.csv", index=False)
    (tmp_path / "m.csv").write_text("path,label\n0002.png,a\n0001.png,b\n")
    found = open_dataset(featcache.DataSource(tmp_path / "m.csv", images=tmp_path / "images"))
    assert found.names == ["deep/er/covid/0002.png", "deep/er/normal/0001.png"]
    assert found.paths == [str(tmp_path / "images" / name) for name in found.names]
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "images")
    assert open_dataset(featcache.DataSource(tmp_path / "m.csv", images=tmp_path / "packed.zip")).names == found.names
    shutil.copytree(tmp_path / "images" / "deep", tmp_path / "images" / "again")
    with pytest.raises(DataError, match=r"2 name\(s\) stand for more than one file.*again/er.*deep/er"):
        open_dataset(featcache.DataSource(tmp_path / "m.csv", images=tmp_path / "images"))
    # One that lies in the folder itself is the one that a relative path means.
    for name in ("normal/0001.png", "covid/0002.png"):
        shutil.copy(tmp_path / "images" / "again" / "er" / name, tmp_path / "images")
    again = open_dataset(featcache.DataSource(tmp_path / "m.csv", images=tmp_path / "images"))
    assert again.names == ["0002.png", "0001.png"]


def test_a_partly_downloaded_collection_lists_what_is_not_there(tmp_path):
    write_images(tmp_path / "images", 2, size=8)
    (tmp_path / "m.csv").write_text("path,label\n0000.png,a\n0001.png,b\nabsent.png,a\n")
    source = featcache.DataSource(tmp_path / "m.csv", images=tmp_path / "images")
    with pytest.raises(DataError, match=r"1 of 3 images") as caught:
        featcache.extract(source, "pixels", size=8, cache=tmp_path / "cache")
    assert [bad.path for bad in caught.value.bad] == [str(tmp_path / "images" / "absent.png")]
    result = featcache.extract(source, "pixels", size=8, skip_bad=True, cache=tmp_path / "cache")
    assert (result.images, result.skipped) == (3, 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metadata": ["agee"]}, DataError, "--metadata names agee, and there is no such column; found age"),
        ({"images": "nowhere"}, DataError, "no such folder"),
        ({"images": "empty"}, DataError, r"none of the 60 images that it names lies below .*empty.*--images"),
    ],
)
def test_how_data_is_read_is_refused_in_a_sentence(table, tmp_path, options, error, message):
    (tmp_path / "empty").mkdir()
    path = table(age=range(ROWS))
    frame = pd.read_csv(path)
    frame["path"] = [place.rpartition("/")[2] for place in frame["path"]]
    frame.to_csv(path, index=False)
    if "images" in options:
        options = {"images": tmp_path / options["images"]}
    with pytest.raises(error, match=message):
        open_dataset(featcache.DataSource(path, **options))


def test_a_folder_of_images_has_no_other_one(tmp_path):
    write_images(tmp_path / "images", 2, size=8)
    with pytest.raises(UsageError, match="--images says where the images of a table lie"):
        open_dataset(featcache.DataSource(tmp_path / "images", images=tmp_path))


def test_an_image_that_is_named_twice_with_different_labels_is_told_apart(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\na.png,x\nb.png,x\n./a.png,y\n")
    with pytest.raises(DataError, match=r"rows 1 and 3 with different labels \(x and y\)"):
        open_dataset(tmp_path / "m.csv")


def test_a_date_is_no_number_to_learn(table):
    dataset = open_dataset(table(born=["19540301", "20011231"] * 30, age=["41", "x"] * 30))
    with pytest.raises(DataError, match="column 'born' holds dates; expected numbers") as caught:
        Regression("born").targets(dataset)
    assert "1954" not in str(caught.value)
    with pytest.raises(DataError, match=r"30 cell\(s\) that are no numbers, the first is 'x' in row 2"):
        Regression("age").targets(dataset)


def test_rows_that_are_taken_keep_what_is_said_of_them(table):
    dataset = open_dataset(table(age=range(ROWS), effusion=["1", "0", "-1"] * 20))
    some = dataset.take([5, 3])
    assert some.metadata["age"].tolist() == [5, 3]
    np.testing.assert_array_equal(label_table(some, ("effusion",), None, "ignore")[1], [[np.nan], [1]])


def test_a_studys_file_says_how_its_data_is_read(table, tmp_path, monkeypatch):
    """The settings of a study, as ``--images`` and the others make them, read back from its file in another folder."""
    from heads.studies.study import _settings
    from heads.studies.study_file import StudyFile, read_study, write_study

    monkeypatch.chdir(tmp_path)
    source = featcache.DataSource("m.csv", images="images", metadata=["mrn"], headers=False)
    settings = _settings(source, "pixels", tmp_path / "cache", {})
    write_study(tmp_path / "study.toml", StudyFile(settings))
    read = read_study(tmp_path / "study.toml").study
    assert (read.data, read.images_below) == (str(tmp_path / "m.csv"), str(tmp_path / "images"))
    assert (read.metadata, read.headers) == (("mrn",), False)
