"""Well-known collections of chest radiographs as they are shipped: known by their columns, read as a manifest is.

Each has a small adapter, which gives the ordinary columns (``path``, and where it has them ``label``, ``split`` and
``group``), those that hold labels, and age, sex and view under the names that DICOM headers have here: so one name
serves everywhere. What it says besides stays under its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import DataError
from ..system.plain_text import printable
from .label_lists import joined, quoted
from .manifest import lines_beside, table_beside
from .metadata import is_unknown
from .reader_votes import VOTED, votes

Table = Mapping[str, list[str]]
_CHEXPERT = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
_NO_FINDING, _NOT_A_FINDING = "No Finding", "Support Devices"


@dataclass(frozen=True)
class Shipped:
    """What a collection's table says, in ordinary columns.

    Attributes
    ----------
    name : str
        The collection's.
    table : mapping of str to list of str
        ``path`` and the others, one cell an image.
    label_columns : tuple of str
        Those that hold its labels.
    passed : tuple of str
        Columns that say again what an ordinary one does, and so are no metadata.
    """

    name: str
    table: dict[str, list[str]]
    label_columns: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()


def shipped(root: str, table: Table) -> Shipped | None:
    """A collection's table in ordinary columns; None for a table of no collection that is known.

    Raises :class:`DataError` where it lacks a file beside it that it needs, or contradicts itself.
    """
    if "path" in table:
        return None
    for columns, adapter in _KNOWN:
        if set(columns) <= set(table):
            return adapter(root, table)
    return None


def known_collections() -> tuple[str, ...]:
    """Their names."""
    return ("NIH ChestX-ray14", "CheXpert", "MIMIC-CXR", "PadChest", "RSNA pneumonia", "VinDr-CXR")


def _nih(root: str, table: Table) -> Shipped:
    names = table["Image Index"]
    parts = dict.fromkeys(lines_beside(root, "train_val_list.txt"), "train")
    parts.update((name, "test") for name in lines_beside(root, "test_list.txt"))
    own = {
        "path": list(names),
        **({"split": [parts.get(name, "") for name in names]} if parts else {}),
        "group": [patient.zfill(8) for patient in table["Patient ID"]],  # as file names have it
        **_said(table, patient_sex="Patient Gender", patient_age="Patient Age", view_position="View Position"),
    }
    passed = ("Patient Gender", "Patient Age", "View Position")
    return Shipped("NIH ChestX-ray14", {**table, **own}, ("Finding Labels",), passed)


def _chexpert(root: str, table: Table) -> Shipped:
    paths = table["Path"]
    own = {
        "path": list(paths),
        "group": [next((part for part in path.split("/") if part.startswith("patient")), "") for path in paths],
    }
    if "Sex" in table:
        own["patient_sex"] = [{"Male": "M", "Female": "F"}.get(cell, cell) for cell in table["Sex"]]
    if "Age" in table:
        own["patient_age"] = ["" if cell in ("0", "0.0") else cell for cell in table["Age"]]
    if {"Frontal/Lateral", "AP/PA"} <= table.keys():
        pairs = zip(table["Frontal/Lateral"], table["AP/PA"], strict=True)
        own["view_position"] = [view or ("LATERAL" if side == "Lateral" else "") for side, view in pairs]
    passed = ("Path", "Sex", "Age", "AP/PA")
    return Shipped("CheXpert", {**_settled(table), **own}, _CHEXPERT, passed)


def _mimic(root: str, table: Table) -> Shipped:
    about = table_beside(root, ("-chexpert", "-negbio"), "-metadata")
    parts = table_beside(root, ("-chexpert", "-negbio"), "-split")
    listed = parts or about
    if listed is None or not {"dicom_id", "study_id", "subject_id"} <= listed.keys():
        raise DataError(
            f"{root}: MIMIC-CXR's labels are of studies, and no file beside them says which images a study has; "
            "expected mimic-cxr-2.0.0-split.csv or mimic-cxr-2.0.0-metadata.csv in the same folder"
        )
    studies = {study: row for row, study in enumerate(table["study_id"])}
    images = zip(listed["dicom_id"], listed["subject_id"], listed["study_id"], strict=True)
    at, rows, own = [], [], {"path": [], "group": []}  # type: ignore[var-annotated]
    for place, (image, patient, study) in enumerate(images):
        row = studies.get(study)
        if row is not None:  # some studies have no labels
            at.append(place)
            rows.append(row)
            own["path"].append(f"files/p{patient[:2]}/p{patient}/s{study}/{image}")
            own["group"].append(f"p{patient}")
    if parts is not None and "split" in parts:
        own["split"] = [{"validate": "val"}.get(parts["split"][i], parts["split"][i]) for i in at]
    if about is not None and {"dicom_id", "ViewPosition"} <= about.keys():
        views = dict(zip(about["dicom_id"], about["ViewPosition"], strict=True))
        own["view_position"] = [views.get(listed["dicom_id"][i], "") for i in at]
    labels = _settled(table)
    return Shipped("MIMIC-CXR", {**{name: [labels[name][i] for i in rows] for name in labels}, **own}, _CHEXPERT)


def _padchest(root: str, table: Table) -> Shipped:
    own = {
        "path": list(table["ImageID"]),
        "group": list(table["PatientID"]),
        "Labels": [joined(quoted(cell)) for cell in table["Labels"]],
        **_said(table, patient_sex="PatientSex_DICOM", view_position="Projection"),
    }
    if {"StudyDate_DICOM", "PatientBirth"} <= table.keys():
        pairs = zip(table["StudyDate_DICOM"], table["PatientBirth"], strict=True)
        own["patient_age"] = [_years(study, birth) for study, birth in pairs]
    passed = ("PatientSex_DICOM", "Projection", "ImageDir", "", "Unnamed: 0")
    return Shipped("PadChest", {**table, **own}, ("Labels",), passed)


def _rsna(root: str, table: Table) -> Shipped:
    first: dict[str, str] = {}
    for image, target in zip(table["patientId"], table["Target"], strict=True):
        if first.setdefault(image, target) != target:
            shown = printable(image, lines=False)
            raise DataError(f"{root}: {shown} stands twice, with Target {first[image]} and {target}; keep one of them")
    images = list(first)
    words = {"1": "pneumonia", "0": "no pneumonia"}
    own = {
        "path": images,
        "label": [words.get(target, "") for target in first.values()],
        "group": images,
        "Target": list(first.values()),
    }
    detailed = table_beside(root, ("stage_2_train_labels",), "stage_2_detailed_class_info")
    if detailed is not None and {"patientId", "class"} <= detailed.keys():
        classes = dict(zip(detailed["patientId"], detailed["class"], strict=True))
        own["class"] = [classes.get(image, "") for image in images]
    return Shipped("RSNA pneumonia", own, passed=("Target",))


def _vindr(root: str, table: Table) -> Shipped:
    images, labels = votes(root, table)
    return Shipped("VinDr-CXR", {"path": images, **labels}, tuple(labels))


def _said(table: Table, **columns: str) -> dict[str, list[str]]:
    """Columns under other names, those that there are."""
    return {name: list(table[column]) for name, column in columns.items() if column in table}


def _settled(table: Table) -> dict[str, list[str]]:
    """The labels of CheXpert's program; where it found nothing, what it does not mention is settled: it is not there.

    As torchxrayvision reads them. Devices are no finding, and stay as they are.
    """
    healthy = [cell in ("1", "1.0") for cell in table[_NO_FINDING]]
    findings = [name for name in _CHEXPERT if name not in (_NO_FINDING, _NOT_A_FINDING)]
    settled = {
        name: ["0" if none and not cell else cell for none, cell in zip(healthy, table[name], strict=True)]
        for name in findings
    }
    return {**table, **settled}


def _years(study: str, birth: str) -> str:
    """The study's year less that of birth, which is all that is published: an age to within a year."""
    if is_unknown(study) or is_unknown(birth):
        return ""
    begin, end = birth.partition(".")[0], study[:4]
    age = int(end) - int(begin) if begin.isdecimal() and end.isdecimal() else -1
    return str(age) if 0 <= age <= 120 else ""


_KNOWN: Sequence[tuple[Sequence[str], Callable[[str, Table], Shipped]]] = (
    (("Image Index", "Finding Labels", "Patient ID"), _nih),
    (("Path", *_CHEXPERT), _chexpert),
    (("subject_id", "study_id", *_CHEXPERT), _mimic),
    (("ImageID", "Labels", "PatientID", "Projection"), _padchest),
    (("patientId", "Target"), _rsna),
    *(((*columns,), _vindr) for columns in VOTED),
)
