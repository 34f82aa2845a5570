"""Collections as they are shipped: their published columns, a few made-up rows, small images."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featcache
from featcache.data.collections import known_collections
from featcache.data.dataset import find_images, open_dataset
from featcache.data.tasks import Classification, Multilabel, Regression
from featcache.errors import DataError

CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,"
    "Height],OriginalImagePixelSpacing[x,y],"
)
MIMIC = (
    "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,"
    "Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)
MIMIC_ABOUT = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime"
)
PADCHEST = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,Report,MethodLabel,Labels,Localizations"
)
VINDR = "image_id,rad_id,Aortic enlargement,Atelectasis,Cardiomegaly,Other diseases,No finding"


def draw(*paths: Path) -> None:
    """Small pictures, each another one."""
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(path, format="PNG")


def write(path: Path, header: str, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([header, *rows, ""])
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def nih(tmp_path):
    names = ["00000001_000.png", "00000001_001.png", "00000002_000.png", "00000005_006.png"]
    draw(*(tmp_path / f"images_00{i % 2 + 1}" / "images" / name for i, name in enumerate(names)))
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:3]) + "\n")
    (tmp_path / "test_list.txt").write_text(names[3])
    return write(
        tmp_path / "Data_Entry_2017.csv",
        NIH,
        "00000001_000.png,Cardiomegaly,0,1,058Y,M,PA,2682,2749,0.143,0.143,",
        "00000001_001.png,Cardiomegaly|Emphysema,1,1,058Y,M,PA,2894,2729,0.143,0.143,",
        "00000002_000.png,No Finding,0,2,006M,M,AP,2500,2048,0.168,0.168,",
        "00000005_006.png,Infiltration,6,5,070Y,F,PA,2992,2991,0.143,0.143,",
    )


def test_nih_chest_xray14(nih):
    found = open_dataset(nih)
    assert found.names[0] == "images_001/images/00000001_000.png"
    assert found.splits == ["train", "train", "train", "test"]
    assert found.groups == ["00000001", "00000001", "00000002", "00000005"]
    assert not any(found.labels)
    assert found.metadata["patient_age"].tolist() == [58, 58, 0.5, 70]
    assert found.metadata["patient_sex"].tolist() == ["M", "M", "M", "F"]
    assert found.metadata["view_position"].tolist() == ["PA", "PA", "AP", "PA"]
    assert found.metadata["Follow-up #"].tolist() == [0, 1, 0, 6]
    assert "Patient ID" in found.left_out
    targets = Multilabel().targets(found)
    assert targets.names == ("Cardiomegaly", "Emphysema", "Infiltration")
    assert targets.y.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert Regression("patient_age").targets(found).y.tolist() == [58, 58, 0.5, 70]
    assert find_images(nih) == found.paths


def test_nih_as_it_was_written_anew_in_2020(nih):
    """Ages are numbers there, and no comma stands at the end."""
    table = write(
        nih.with_name("Data_Entry_2017_v2020.csv"), NIH[:-1], "00000001_000.png,Mass,0,1,57,M,PA,2682,2749,0.143,0.143"
    )
    assert open_dataset(table).metadata["patient_age"].tolist() == [57]


def test_nih_without_its_lists_has_no_splits(nih):
    nih.with_name("train_val_list.txt").unlink()
    nih.with_name("test_list.txt").unlink()
    assert open_dataset(nih).splits == [""] * 4


@pytest.mark.parametrize("root", ["CheXpert-v1.0-small", "."])
def test_chexpert(tmp_path, root):
    """The folder that paths begin with, or the one above it."""
    views = ["patient00001/study1/view1_frontal.jpg", "patient00002/study1/view2_lateral.jpg"]
    draw(*(tmp_path / "CheXpert-v1.0-small" / "train" / view for view in views))
    table = write(
        tmp_path / "CheXpert-v1.0-small" / "train.csv",
        CHEXPERT,
        f"CheXpert-v1.0-small/train/{views[0]},Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
        f"CheXpert-v1.0-small/train/{views[1]},Male,0,Lateral,,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
    )
    source = table if root != "." else featcache.DataSource(table, images=tmp_path)
    found = open_dataset(source)
    assert [Path(path).exists() for path in found.paths] == [True, True]
    assert found.groups == ["patient00001", "patient00002"]
    assert found.metadata["patient_sex"].tolist() == ["F", "M"]
    np.testing.assert_array_equal(found.metadata["patient_age"], [68, np.nan])
    assert found.metadata["view_position"].tolist() == ["AP", "LATERAL"]
    assert found.label_columns == tuple(CHEXPERT.split(",")[5:])
    asked = Multilabel(("Cardiomegaly", "Lung Opacity", "Support Devices"), uncertain="ones")
    np.testing.assert_array_equal(asked.targets(found).y, [[0, 0, 1], [1, 1, np.nan]])


@pytest.fixture
def mimic(tmp_path):
    folder = tmp_path / "mimic-cxr-jpg"
    draw(
        folder / "files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg",
        folder / "files/p10/p10000032/s50414267/174413ec-4ec4c1f7.jpg",
        folder / "files/p11/p11000011/s51029426/68b5c4b1-227d0485.jpg",
    )
    write(
        folder / "mimic-cxr-2.0.0-split.csv.gz",
        "dicom_id,study_id,subject_id,split",
        "02aa804e-bde0afdd,50414267,10000032,train",
        "174413ec-4ec4c1f7,50414267,10000032,train",
        "68b5c4b1-227d0485,51029426,11000011,validate",
        "00000000-00000000,59999999,11000011,test",
    )
    write(
        folder / "mimic-cxr-2.0.0-metadata.csv.gz",
        MIMIC_ABOUT,
        "174413ec-4ec4c1f7,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506,213014.53",
        "02aa804e-bde0afdd,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506,213014.53",
        "68b5c4b1-227d0485,11000011,51029426,CHEST (PORTABLE AP),AP,3056,2544,21350110,000000.00",
    )
    return write(
        folder / "mimic-cxr-2.0.0-chexpert.csv.gz",
        MIMIC,
        "10000032,50414267,,,,,,,,,1.0,,,,,",
        "11000011,51029426,-1.0,1.0,,0.0,,,,,,,,,,1.0",
    )


def test_mimic_cxr(mimic):
    """Labels of a study are those of each of its images; a study without labels has none here."""
    found = open_dataset(mimic)
    assert found.names == [
        "files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg",
        "files/p10/p10000032/s50414267/174413ec-4ec4c1f7.jpg",
        "files/p11/p11000011/s51029426/68b5c4b1-227d0485.jpg",
    ]
    assert all(Path(path).exists() for path in found.paths)
    assert found.splits == ["train", "train", "val"]
    assert found.groups == ["p10000032", "p10000032", "p11000011"]
    assert found.metadata["view_position"].tolist() == ["PA", "LATERAL", "AP"]
    asked = Multilabel(("Cardiomegaly", "Support Devices")).targets(found)
    np.testing.assert_array_equal(asked.y, [[0, np.nan], [0, np.nan], [1, 1]])
    assert {"subject_id", "study_id"} <= set(found.left_out)


def test_mimic_cxr_needs_what_says_which_images_a_study_has(mimic):
    mimic.with_name("mimic-cxr-2.0.0-split.csv.gz").unlink()
    assert open_dataset(mimic).splits == [""] * 3  # the metadata says it, too
    mimic.with_name("mimic-cxr-2.0.0-metadata.csv.gz").unlink()
    with pytest.raises(DataError, match=r"no file beside them.*mimic-cxr-2\.0\.0-split\.csv"):
        open_dataset(mimic)


@pytest.mark.parametrize("name", ["PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", "labels.csv.gz"])
def test_padchest(tmp_path, name):
    names = ["20536686640136348236148679891455886468_k6ga29.png", "135_a.png", "136_b.png"]
    draw(*(tmp_path / "0" / each for each in names))
    table = write(
        tmp_path / name,
        PADCHEST,
        f"0,{names[0]},0,20140915,s1,839860488694292331637988235681460987,1930.0,F,POSTEROANTERIOR,PA,Manual,No,CR,"
        "ImagingDynamicsCompanyLtd,sin hallazgo,Physician,\"['pulmonary fibrosis', 'chronic changes']\",[]",
        f"1,{names[1]},0,20150101,s2,7,1955.0,M,,L,Manual,No,CR,Philips,otro,Physician,\"['normal']\",[]",
        f"2,{names[2]},0,20150101,s3,8,,M,,AP_horizontal,Manual,No,CR,Philips,tercero,Physician,,[]",
    )
    found = open_dataset(table)
    assert found.names == [f"0/{each}" for each in names]
    assert found.groups == ["839860488694292331637988235681460987", "7", "8"]
    np.testing.assert_array_equal(found.metadata["patient_age"], [84, 60, np.nan])
    assert found.metadata["patient_sex"].tolist() == ["F", "M", "M"]
    assert found.metadata["view_position"].tolist() == ["PA", "L", "AP_horizontal"]
    assert {"StudyDate_DICOM", "PatientBirth", "PatientID", "StudyID"} <= set(found.left_out)
    targets = Multilabel().targets(found)
    assert targets.names == ("chronic changes", "pulmonary fibrosis")
    assert targets.rows.tolist() == [0, 1]
    assert targets.y.tolist() == [[1, 1], [0, 0]]


@pytest.fixture
def rsna(tmp_path):
    draw(*(tmp_path / "stage_2_train_images" / f"{name}.png" for name in ("0004cfab", "000924cf", "00436515")))
    write(
        tmp_path / "stage_2_detailed_class_info.csv",
        "patientId,class",
        "0004cfab,No Lung Opacity / Not Normal",
        "000924cf,Normal",
        "00436515,Lung Opacity",
        "00436515,Lung Opacity",
    )
    return write(
        tmp_path / "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target",
        "0004cfab,,,,,0",
        "000924cf,,,,,0",
        "00436515,264.0,152.0,213.0,379.0,1",
        "00436515,562.0,152.0,256.0,453.0,1",
    )


def test_rsna_pneumonia(rsna):
    found = open_dataset(rsna)
    assert found.labels == ["no pneumonia", "no pneumonia", "pneumonia"]
    assert found.names[2] == "stage_2_train_images/00436515.png"
    assert found.metadata["class"].tolist() == ["No Lung Opacity / Not Normal", "Normal", "Lung Opacity"]
    assert Classification("binary").targets(found).y.tolist() == [0, 0, 1]
    rsna.write_text(rsna.read_text() + "0004cfab,1.0,2.0,3.0,4.0,1\n")
    with pytest.raises(DataError, match="0004cfab stands twice, with Target 0 and 1"):
        open_dataset(rsna)


def test_vindr_cxr_by_what_most_readers_say(tmp_path):
    draw(tmp_path / "train" / "000434271f63.dicom", tmp_path / "train" / "00053190460d.dicom")
    wide = write(
        tmp_path / "image_labels_train.csv",
        VINDR,
        "000434271f63,R10,0,1,0,0,0",
        "000434271f63,R9,0,1,1,0,0",
        "000434271f63,R8,0,0,1,0,0",
        "00053190460d,R8,1,0,0,0,0",
        "00053190460d,R9,0,0,0,0,1",
    )
    found = open_dataset(wide)
    assert found.names == ["train/000434271f63.dicom", "train/00053190460d.dicom"]
    assert found.label_columns == ("Aortic enlargement", "Atelectasis", "Cardiomegaly", "Other diseases")
    asked = Multilabel(("Atelectasis", "Cardiomegaly")).targets(found)
    assert asked.y.tolist() == [[1, 1], [0, 0]]
    assert found.table["Aortic enlargement"] == ["0", "-1"]  # one of two readers
    boxes = write(
        tmp_path / "train.csv",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max",
        "000434271f63,Atelectasis,1,R10,1,2,3,4",
        "000434271f63,Atelectasis,1,R10,5,6,7,8",
        "000434271f63,No finding,14,R9,,,,",
        "000434271f63,Atelectasis,1,R8,1,2,3,4",
        "00053190460d,Cardiomegaly,3,R8,1,2,3,4",
        "00053190460d,No finding,14,R9,,,,",
    )
    found = open_dataset(boxes)
    assert found.table["Atelectasis"] == ["1", "0"]
    assert found.table["Cardiomegaly"] == ["0", "-1"]
    agreed = write(
        tmp_path / "image_labels_test.csv",
        VINDR.replace("rad_id,", ""),
        "000434271f63,1,0,0,0,0",
        "00053190460d,,0,0,0,1",
    )
    assert open_dataset(agreed).table["Aortic enlargement"] == ["1", "0"]
    write(wide, VINDR, "000434271f63,R10,maybe,1,0,0,0")
    with pytest.raises(DataError, match="'Aortic enlargement' holds 'maybe' in row 1; expected 0 or 1"):
        open_dataset(wide)


def test_a_collection_without_its_images_says_where_to_name_them(nih, tmp_path):
    moved = tmp_path / "tables" / nih.name
    moved.parent.mkdir()
    nih.rename(moved)
    with pytest.raises(DataError, match=r"none of the 4 images that it names lies below .*tables.*--images FOLDER"):
        open_dataset(moved)
    assert len(open_dataset(featcache.DataSource(moved, images=tmp_path))) == 4
    with pytest.raises(DataError, match="no column 'label', which task multiclass learns"):
        Classification().targets(open_dataset(featcache.DataSource(moved, images=tmp_path)))


def test_a_collection_from_the_command_line_to_features(nih, tmp_path, cli):
    done = cli("extract", "--data", str(nih), "--backbone", "pixels", "--size", "8", "--json")
    assert done.code == 0, done.err
    assert done.json["images"] == 4
    features = featcache.load("pixels", task=featcache.Multilabel(), cache=tmp_path / "cache")
    assert features.classes == ("Cardiomegaly", "Emphysema", "Infiltration")
    assert features.metadata["patient_sex"].tolist() == ["M", "M", "M", "F"]
    assert features.split("test").y.tolist() == [[0, 0, 1]]


def test_a_table_of_none_of_them_names_those_that_are_known(tmp_path):
    table = write(tmp_path / "x.csv", "file,finding", "a.png,none")
    with pytest.raises(DataError) as caught:
        open_dataset(table)
    assert all(name in str(caught.value) for name in known_collections())


def test_damaged_gzip_and_lists_of_labels_are_refused_or_read_as_text(tmp_path):
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress(b"path,label\na.png,x\n")[:-9])
    with pytest.raises(DataError, match="not a readable gzip file"):
        open_dataset(tmp_path / "m.csv.gz")
