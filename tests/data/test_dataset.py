"""Layouts, splits, groups and tasks."""

from __future__ import annotations

import os

import pandas as pd
import pytest
from pictures import write_images

from featcache.data.dataset import find_images, open_dataset
from featcache.data.tasks import task_classes
from featcache.errors import DataError, UsageError


def test_class_folders(tmp_path):
    write_images(tmp_path / "d", 6, classes=("a", "b", "c"))
    (tmp_path / "d" / "README.txt").write_text("no image")
    (tmp_path / "d" / ".DS_Store").write_text("hidden")
    found = open_dataset(tmp_path / "d")
    assert found.classes == ["a", "b", "c"]
    assert found.names == ["a/0000.png", "a/0003.png", "b/0001.png", "b/0004.png", "c/0002.png", "c/0005.png"]
    assert set(found.splits) == {""}
    assert found.ignored == [".DS_Store", "README.txt"]
    assert found.ignored_kinds == {".txt": 1, "hidden": 1}


def test_split_folders_and_deeper_ones(tmp_path):
    for split in ("Training", "valid", "test"):
        write_images(tmp_path / "d" / split, 4)
        nested = tmp_path / "d" / split / "covid" / "patient-7"
        nested.mkdir()
        (tmp_path / "d" / split / "covid" / "0000.png").rename(nested / "0000.png")
    found = open_dataset(tmp_path / "d")
    assert len(found) == 12
    assert [s for n, s in zip(found.names, found.splits, strict=True) if n.startswith("valid")] == ["val"] * 4
    assert set(found.splits) == {"train", "val", "test"}
    assert "Training/covid/patient-7/0000.png" in found.names


def test_manifests_in_csv_and_parquet_agree(tmp_path):
    write_images(tmp_path / "pictures", 4)
    rows = [
        {
            "path": f"pictures/{'covid' if i % 2 == 0 else 'normal'}/{i:04d}.png",
            "label": "xy"[i % 2],
            "split": ["train", "", "validation", "TEST"][i],
            "group": ["p1", "p1", "", "p2"][i],
        }
        for i in range(4)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "m.csv", index=False)
    pd.DataFrame(rows).to_parquet(tmp_path / "m.parquet")
    csv, parquet = open_dataset(tmp_path / "m.csv"), open_dataset(tmp_path / "m.parquet")
    for found in (csv, parquet):
        assert found.labels == ["x", "y", "x", "y"]
        assert found.splits == ["train", "", "val", "test"]
        assert found.groups == ["p1", "p1", "pictures/covid/0002.png", "p2"]
        assert all(os.path.exists(path) for path in found.paths)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,x\n", "no column 'path'"),
        ("path,label\n", "no rows"),
        ("", "empty"),
        ("path,label\na.png,\n", "lack a path or a label"),
        ("path,label\na.png\n", "row 1 has 1 cells"),
        ("path,label,split\na.png,x,holdout\n", "split 'holdout'"),
        ("path,label\na.png,x\n./a.png,y\n", "listed more than once"),
    ],
)
def test_a_bad_manifest_says_what_is_wrong(tmp_path, text, message):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "m.csv")


def test_what_pandas_wrote_into_a_parquet_file_may_be_damaged(tmp_path):
    """It names a type for each column, which pandas looks up without a look."""
    parquet = pytest.importorskip("pyarrow.parquet")
    pd.DataFrame({"path": ["a.png"], "label": ["covid"]}).to_parquet(tmp_path / "m.parquet")
    table = parquet.read_table(tmp_path / "m.parquet")
    wrong = table.schema.metadata[b"pandas"].replace(b'"unicode"', b'"u^icode"').replace(b'"object"', b'"u^icode"')
    assert wrong != table.schema.metadata[b"pandas"]
    parquet.write_table(table.replace_schema_metadata({b"pandas": wrong}), tmp_path / "m.parquet")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        open_dataset(tmp_path / "m.parquet")


def test_text_in_a_parquet_file_may_be_no_text(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    latin = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pa.py_buffer(b"\xe9\xe8ab")]
    )
    parquet.write_table(pa.table({"path": ["a.png", "b.png"], "label": latin}), tmp_path / "m.parquet")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        open_dataset(tmp_path / "m.parquet")


def test_a_folder_of_another_shape_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset(tmp_path / "nowhere")
    for find in (open_dataset, find_images):
        with pytest.raises(DataError, match="cannot be looked for"):
            find("A" * 5000)
        with pytest.raises(UsageError, match="no such user's home"):
            find("~nobody-of-this-name/xrays")
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match="no images found"):
        open_dataset(tmp_path / "d")
    write_images(tmp_path / "d" / "train", 2)
    write_images(tmp_path / "d", 2)
    with pytest.raises(DataError, match="split folders"):
        open_dataset(tmp_path / "d")


def test_an_image_outside_any_class_is_not_passed_over(tmp_path):
    paths = write_images(tmp_path / "d", 4)
    paths[0].rename(tmp_path / "d" / "stray.png")
    with pytest.raises(DataError, match=r"outside any class folder.*stray\.png"):
        open_dataset(tmp_path / "d")


def test_links_are_followed_and_loops_are_not(tmp_path):
    write_images(tmp_path / "elsewhere", 4)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "covid").symlink_to(tmp_path / "elsewhere" / "covid")
    (tmp_path / "d" / "normal").mkdir()
    (tmp_path / "elsewhere" / "normal" / "0001.png").rename(tmp_path / "d" / "normal" / "1.png")
    (tmp_path / "d" / "normal" / "loop").symlink_to(tmp_path / "d" / "normal")
    assert open_dataset(tmp_path / "d").names == ["covid/0000.png", "covid/0002.png", "normal/1.png"]


@pytest.mark.parametrize(
    ("stem", "group"),
    [
        ("person12_bacteria_47", "person12_bacteria"),
        ("person1_virus_6", "person1_virus"),
        ("IM-0115-0001", "IM-0115"),
        ("NORMAL2-IM-0045-0001", "NORMAL2-IM-0045"),
        ("00001362_001", "00001362"),
        ("sub-S03044_ses-E06025_run-1_bp-chest_vp-ap", "sub-S03044"),
        ("patient00001/study1/view1_frontal", "patient00001"),
        ("p10/p10000032/s50414267/02aa804e", "p10000032"),
        ("scan_17", "a/scan_17.png"),
    ],
)
def test_patients_in_the_names_of_well_known_collections(tmp_path, stem, group):
    path = write_images(tmp_path / "d", 1, classes=("a",))[0]
    target = path.parent / f"{stem}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    assert open_dataset(tmp_path / "d").groups == [group]


def test_group_regex(tmp_path):
    write_images(tmp_path / "d", 4)
    assert open_dataset(tmp_path / "d", group_regex=r"^(\d\d)").groups == ["00"] * 4
    assert open_dataset(tmp_path / "d", group_regex=r"\d(?P<group>\d)$").groups == ["0", "2", "1", "3"]
    assert open_dataset(tmp_path / "d", group_regex=r"^(.)\w*/").groups == ["c", "c", "n", "n"]
    with pytest.raises(UsageError, match="regular expression"):
        open_dataset(tmp_path / "d", group_regex="(")


def test_tasks():
    four = ["covid", "normal", "pneumonia_bac", "pneumonia_vir"]
    assert task_classes("binary", four) == ("normal", "covid")
    assert task_classes("binary", ["COVID", "Normal", "x"]) == ("Normal", "COVID")
    assert task_classes("binary", ["cat", "dog"]) == ("cat", "dog")
    assert task_classes("multiclass", four) == tuple(four)
    assert task_classes("multiclass", four, ["normal", "pneumonia_vir"]) == ("normal", "pneumonia_vir")
    with pytest.raises(DataError, match="--classes"):
        task_classes("binary", ["a", "b", "c"])
    with pytest.raises(DataError, match="at least two"):
        task_classes("multiclass", ["a", "a"])
    with pytest.raises(DataError, match="no images of the class"):
        task_classes("multiclass", four, ["normal", "flu"])
    with pytest.raises(UsageError, match="exactly two"):
        task_classes("binary", four, four)
    with pytest.raises(UsageError, match="unknown"):
        task_classes("trinary", four)
