"""Tasks out of tables: what is learnt of which images, and what cannot be is a sentence."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from featcache import Classification, Multilabel, Regression
from featcache.data.dataset import open_dataset
from featcache.data.tasks import about_task, as_task, task_of
from featcache.errors import DataError, UsageError


@pytest.fixture
def manifest(tmp_path):
    """Writes a manifest of images that nobody opens, and reads it as a dataset."""

    def write(header, *rows):
        lines = [f"path,{header}", *(f"{number}.png,{row}" for number, row in enumerate(rows))]
        (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
        return open_dataset(tmp_path / "m.csv")

    return write


def known(targets):
    """What is known, with None for what is not."""
    return [[None if np.isnan(value) else int(value) for value in row] for row in targets.y]


# -- several labels ---------------------------------------------------------------------------------


def test_columns_of_0_and_1(manifest):
    data = manifest("Edema,Mass,note", "1,0,a", "0.0,,b", "-1,1.0,c", ",,d")
    targets = Multilabel(("Edema", "Mass")).targets(data)
    assert targets.names == ("Edema", "Mass")
    assert targets.rows.tolist() == [0, 1, 2]  # of the last nothing is known
    assert known(targets) == [[1, 0], [0, None], [None, 1]]


@pytest.mark.parametrize(("uncertain", "value"), [("ignore", None), ("zeros", 0), ("ones", 1)])
def test_uncertain(manifest, uncertain, value):
    data = manifest("Edema,Mass", "1,1", "-1,0", "0,1")
    assert known(Multilabel("all", uncertain=uncertain).targets(data)) == [[1, 1], [value, 0], [0, 1]]


def test_all_are_the_columns_that_hold_nothing_else(manifest):
    data = manifest("Edema,age,Mass,sex,empty", "1,30,0,M,", "0,40,1,F,", "1,50,-1,M,")
    assert Multilabel("all").targets(data).names == ("Edema", "Mass")


@pytest.mark.parametrize("mark", "|;,")
def test_a_column_that_lists_labels(manifest, mark):
    lists = [f'"Edema{mark} Mass"', "No Finding", "Mass", '""', '"Mass "']
    targets = Multilabel(column="findings").targets(manifest("findings", *lists))
    assert targets.names == ("Edema", "Mass")
    assert targets.rows.tolist() == [0, 1, 2, 4]  # blank is not known
    assert known(targets) == [[1, 1], [0, 0], [0, 1], [0, 1]]


def test_some_labels_of_a_list_and_the_one_for_none_of_them(manifest):
    data = manifest("findings", "A|B", "No Finding", "C")
    assert Multilabel(("C", "No Finding"), "findings").targets(data).y.tolist() == [[0, 0], [0, 1], [1, 0]]


def test_labels_that_nobody_has_are_left_out_of_all_and_refused_by_name(manifest, caplog):
    data = manifest("A,B", "1,0", "0,0")
    with caplog.at_level(logging.WARNING):
        assert Multilabel("all").targets(data).names == ("A",)
    assert "no image is known to have are left out: B" in caplog.text
    with pytest.raises(DataError, match=r"no image is known to have B; leave it out: --labels A"):
        Multilabel(("A", "B")).targets(data)


@pytest.mark.parametrize(
    ("header", "rows", "task", "says"),
    [
        ("A,B", ["1,x", "0,1"], Multilabel(("A", "B")), r"column 'B' holds 'x' in row 1; expected 1, 0, -1"),
        ("A", [",", ""], Multilabel(("A",)), "row 1 has"),
        ("A,B", ["nan,", "NA,"], Multilabel(("A", "B")), r"of no image is any of the labels A, B known"),
        ("A,B", ["1,0"], Multilabel(("C",)), r"no column C; found A, B"),
        ("A,B", ["1,0"], Multilabel(column="C"), r"no column 'C'; found A, B"),
        ("f,B", ["x|y,0"], Multilabel(("z",), "f"), r"column 'f' lists no z; it lists x, y"),
        ("f,B", ["normal,0"], Multilabel(column="f"), r"column 'f' lists 0 labels"),
        ("label", ["a", "b"], Regression("age"), r"no column 'age'; found none besides"),
        ("age,b", ["4,1", "old,1"], Regression("age"), r"1 cell\(s\) that are no numbers, the first is 'old' in row 2"),
        ("age,b", ["1980-01-02,1", "1999-01-02,1"], Regression("age"), "holds dates; expected numbers"),
        ("age,b", ["4,1", "4,2", ",3"], Regression("age"), "fewer than two different numbers"),
        ("age,b", ["4,1", "inf,2"], Regression("age"), "'inf' in row 2"),
        ("age,b", ["4,1", "5,2"], Classification(), r"no column 'label', which task multiclass learns"),
    ],
)
def test_what_cannot_be_learnt_is_a_sentence(manifest, header, rows, task, says):
    with pytest.raises(DataError, match=says):
        task.targets(manifest(header, *rows))


def test_nothing_says_which_columns_hold_labels(manifest):
    with pytest.raises(UsageError, match=r"--labels A,B or --labels all \(A\), or the one that lists labels"):
        Multilabel().targets(manifest("A,age", "1,30", "0,40"))


# -- numbers ----------------------------------------------------------------------------------------


def test_numbers_and_ages_as_dicom_writes_them(manifest):
    targets = Regression("age").targets(manifest("age,x", "030Y,1", "6M,1", ",1", "41.5,1"))
    assert targets.rows.tolist() == [0, 1, 3]
    np.testing.assert_allclose(targets.y, [30, 0.5, 41.5])


# -- dividing, drawing ------------------------------------------------------------------------------


def test_strata_are_the_rarest_labels_and_fifths():
    y = np.array([[1, 1], [1, 0], [0, 0], [1, np.nan], [0, 1]], np.float32)
    assert Multilabel().strata(y).tolist() == [2, 1, 0, 1, 2]
    assert Multilabel().as_classes(y, ("A", "B"))[1] == ("none of them", "A", "B")
    numbers = np.arange(100.0)
    assert np.bincount(Regression("x").strata(numbers)).tolist() == [20] * 5
    codes, names = Regression("x").as_classes(numbers, ("x",))
    assert names[0] == "x 0 to 19"
    assert codes.max() == 4


def test_what_a_model_is_judged_by_need_not_have_all_that_it_learnt(manifest):
    data = manifest("A,B", "1,0", "0,0")
    targets = Multilabel(("A", "B", "C")).judged(data)
    assert targets.names == ("A", "B", "C")
    assert known(targets) == [[1, 0, None], [0, 0, None]]
    with pytest.raises(DataError, match="no column C"):
        Multilabel(("C",)).judged(data)
    listed = manifest("findings", "A|B", "none here")
    assert known(Multilabel(("A", "Z"), "findings").judged(listed)) == [[1, 0], [0, 0]]


# -- as objects -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [
        Classification(),
        Classification("binary", ("a", "b")),
        Multilabel(),
        Multilabel("all", None, "ones"),
        Multilabel(("a", "b"), "findings"),
        Regression("age"),
    ],
)
def test_tasks_are_written_down_and_read_again(task):
    assert task_of(about_task(task)) == task
    assert hash(task_of(about_task(task))) == hash(task)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: as_task("trinary"), "task 'trinary' is unknown"),
        (lambda: as_task("regression"), "name its column with --target"),
        (lambda: Multilabel(uncertain="maybe"), "--uncertain 'maybe' is unknown"),
        (lambda: Multilabel(("a", "a")), "--labels needs different names"),
        (lambda: Multilabel(("a", "")), "--labels needs different names"),
    ],
)
def test_tasks_that_no_data_could_have(make, says):
    with pytest.raises(UsageError, match=says):
        make()
