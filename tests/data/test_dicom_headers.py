"""What DICOM headers say: columns, groups by pseudonyms, read once; and that no patient's ID is ever written."""

from __future__ import annotations

import io
import logging
import os
import stat
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import featcache
from featcache.data import dicom_headers
from featcache.data.dicom_headers import HEADER_COLUMNS, read_header
from featcache.extraction.planning import choose_data
from featcache.system import pseudonyms as module
from featcache.system.pseudonyms import pseudonyms

pydicom = pytest.importorskip("pydicom")
SECRET = "ZX-4711-QUORN"


def dicom(seed: int, syntax: str = "ExplicitVRLittleEndian", **elements) -> bytes:
    """A small radiograph with these elements in its header."""
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{seed + 1}"
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 16, 16, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = np.random.default_rng(seed).integers(0, 256, (16, 16), dtype=np.uint8).tobytes()
    for name, value in elements.items():
        setattr(data, name, value)
    out = io.BytesIO()
    pydicom.dcmwrite(out, data, enforce_file_format=True)
    return out.getvalue()


def patient(number: int) -> dict[str, str]:
    return {
        "PatientID": f"{SECRET}{number // 2:03d}",
        "PatientName": "Muster^Erika",
        "PatientBirthDate": "19540301",
        "PatientSex": "FM"[number % 4 // 2],
        "PatientAge": f"{40 + number:03d}Y",
        "Modality": "DX",
        "Manufacturer": "Acme",
        "StationName": "XR1",
        "ViewPosition": "PA",
        "PixelSpacing": [0.15, 0.2],
    }


def write_radiographs(folder: Path, count: int) -> Path:
    """``folder/<class>/<number>.dcm``; two images a patient."""
    for number in range(count):
        path = folder / ("covid", "normal")[number // 2 % 2] / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dicom(number, **patient(number)))
    return folder


@pytest.fixture
def read(tmp_path):
    """Write bytes to a file and read its header."""

    def of(data: bytes):
        (tmp_path / "x.dcm").write_bytes(data)
        with dicom_headers.without_remarks():
            return read_header(str(tmp_path / "x.dcm"), lambda text: f"<{text}>")

    return of


@pytest.mark.parametrize(
    "syntax",
    ["ExplicitVRLittleEndian", "ImplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian"],
)
def test_values_are_those_that_pydicom_reads(read, syntax):
    data = dicom(0, syntax, **patient(0), StudyDescription="x" * 60)
    reference = pydicom.dcmread(io.BytesIO(data))
    assert read(data) == {
        "modality": reference.Modality,
        "manufacturer": reference.Manufacturer,
        "station_name": reference.StationName,
        "patient_sex": reference.PatientSex,
        "patient_age": reference.PatientAge,
        "view_position": reference.ViewPosition,
        "pixel_spacing": str(reference.PixelSpacing[0]),
        "patient": f"<{reference.PatientID}>",
    }


def test_a_long_private_block_before_is_passed_over(read):
    data = pydicom.dcmread(io.BytesIO(dicom(0, **patient(0))))
    data.add_new(0x00091001, "OB", b"\1" * 300_000)
    data.add_new(0x00090010, "LO", "SOMEBODY")
    out = io.BytesIO()
    pydicom.dcmwrite(out, data)
    assert read(out.getvalue())["patient_age"] == "040Y"


def test_a_header_that_says_little_says_that(read):
    assert read(dicom(0)) == {}
    assert read(dicom(0, PatientSex="F", PatientID=" ")) == {"patient_sex": "F"}


def test_values_that_no_terminal_should_see_are_dropped(read):
    data = dicom(0, Manufacturer="Acme", StationName="XR1")
    assert read(data.replace(b"Acme", b"A\x1b[2"))["station_name"] == "XR1"
    assert "manufacturer" not in read(data.replace(b"Acme", b"A\x1b[2"))


def test_damaged_headers_give_nothing_or_what_is_there_and_never_an_error(read, capfd):
    data = dicom(0, **patient(0))
    head = data.index(b"\xe0\x7f\x10\x00")
    rng = np.random.default_rng(0)
    for _ in range(300):
        bad = bytearray(data[: int(rng.integers(0, head))] if rng.random() < 0.3 else data)
        for place in rng.integers(0, max(1, min(len(bad), head)), 6):
            if len(bad):
                bad[place] = rng.integers(0, 256)
        found = read(bytes(bad))
        assert found is None or set(found) <= {*HEADER_COLUMNS, "patient"}
    nested = data[:head] + b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    read(nested)
    assert capfd.readouterr() == ("", "")


def test_a_deflated_header_that_inflates_without_end_stops(read, monkeypatch):
    data = dicom(0, "DeflatedExplicitVRLittleEndian", Modality="DX")
    head = data[: data.index(b"1.2.840.10008.1.2.1.99") + 22]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    plain = b"\x08\x00\x60\x00CS\x02\0DX" + b"\x09\x00\x01\x10OB\0\0" + (400_000_000).to_bytes(4, "little")
    bomb = head + packer.compress(plain + bytes(400_000_000)) + packer.flush()
    assert len(bomb) < 500_000
    inflated = []
    kind = zlib.decompressobj

    class Watched:
        def __init__(self, bits):
            self._real = kind(bits)

        def decompress(self, *arguments):
            inflated.append(self._real.decompress(*arguments))
            return inflated[-1]

    monkeypatch.setattr(dicom_headers.zlib, "decompressobj", Watched)
    assert read(bomb) == {"modality": "DX"}
    assert max(map(len, inflated)) <= 8_000_000


def test_headers_become_columns_and_groups(tmp_path):
    write_radiographs(tmp_path / "images", 8)
    featcache.extract(tmp_path / "images", "pixels", size=8, cache=tmp_path / "cache")
    features = featcache.load("pixels", task="binary", cache=tmp_path / "cache")
    order = [int(Path(path).stem) for path in features.paths]
    assert list(features.metadata) == list(HEADER_COLUMNS)
    assert features.metadata["patient_age"].tolist() == [40 + number for number in order]
    assert features.metadata["patient_sex"].tolist() == ["FM"[number % 4 // 2] for number in order]
    assert features.metadata["pixel_spacing"].tolist() == [0.15] * 8
    assert features.groups.tolist() == [pseudonyms().of(f"{SECRET}{number // 2:03d}") for number in order]
    ages = featcache.load("pixels", task=featcache.Regression("patient_age"), cache=tmp_path / "cache")
    assert ages.y.tolist() == [40 + number for number in order]


def test_the_table_goes_before_its_headers(tmp_path):
    write_radiographs(tmp_path / "images", 4)
    (tmp_path / "m.csv").write_text(
        "path,label,group,PatientAge\nimages/covid/0.dcm,a,g0,7\nimages/covid/1.dcm,b,g1,8\nimages/normal/2.dcm,a,,9\n"
    )
    with featcache.Store(tmp_path / "cache") as store:
        found = choose_data(store, tmp_path / "m.csv")
        assert found.metadata["PatientAge"].tolist() == [7, 8, 9]
        assert "patient_age" not in found.metadata
        assert found.groups == ["g0", "g1", pseudonyms().of(f"{SECRET}001")]
        by_name = choose_data(store, tmp_path / "m.csv", r"^(\d)")
        assert by_name.groups == ["0", "1", "2"]
        unread = choose_data(store, featcache.DataSource(tmp_path / "m.csv", headers=False))
        assert list(unread.metadata) == ["PatientAge"]
        assert unread.groups[2] == "images/normal/2.dcm"


def test_one_patient_for_all_is_no_group(tmp_path):
    for number in range(4):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dicom(number, PatientID="ANONYMOUS", PatientSex="F"))
    with featcache.Store(tmp_path / "cache") as store:
        found = choose_data(store, tmp_path / "images")
    assert found.groups == found.names


def test_headers_are_read_once_for_all_verbs_and_again_with_another_key(tmp_path, monkeypatch):
    write_radiographs(tmp_path / "images", 4)
    opened = []
    monkeypatch.setattr(
        "featcache.extraction.header_columns.read_header",
        lambda path, of: (opened.append(path), read_header(path, of))[1],
    )

    def groups() -> list[str]:
        opened.clear()
        with featcache.Store(tmp_path / "cache") as store:
            return choose_data(store, tmp_path / "images").groups

    first = groups()
    assert len(opened) == 4
    assert groups() == first
    assert not opened
    (tmp_path / "images" / "covid" / "0.dcm").rename(tmp_path / "images" / "covid" / "renamed.dcm")
    assert sorted(groups()) == sorted(first)
    assert not opened
    monkeypatch.setenv("FEATCACHE_KEYS", str(tmp_path / "other keys"))
    other = groups()
    assert len(opened) == 4
    assert not set(other) & set(first)


def test_what_the_index_holds_is_checked(tmp_path):
    write_radiographs(tmp_path / "images", 4)
    with featcache.Store(tmp_path / "cache") as store:
        first = choose_data(store, tmp_path / "images")
        mark = pseudonyms().mark
        for odd in ('{"patient": 3}', '{"../x": "a"}', "[]", "no JSON", '{"patient": "' + "x" * 300 + '"}'):
            store.index.remember_headers(dict.fromkeys(store.index.headers(mark), odd), mark)
            again = choose_data(store, tmp_path / "images")
            assert again.groups == first.groups
            assert again.table == first.table


def test_unreadable_headers_are_counted(tmp_path, caplog):
    write_radiographs(tmp_path / "images", 4)
    (tmp_path / "images" / "covid" / "bad.dcm").write_bytes(b"no DICOM at all")
    with caplog.at_level(logging.WARNING, "featcache"), featcache.Store(tmp_path / "cache") as store:
        found = choose_data(store, tmp_path / "images")
    assert "DICOM: 1 of 5 headers cannot be read" in caplog.text
    assert found.metadata["patient_sex"].tolist().count(None) == 1


# -- the key, and what is never written ---------------------------------------------------------------


def test_the_key_is_made_once_and_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_KEYS", str(tmp_path / "keys"))
    script = "from featcache.system.pseudonyms import pseudonyms; print(pseudonyms().of('1'))"
    running = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert {process.communicate()[0].strip() for process in running} == {pseudonyms().of("1")}
    assert os.listdir(tmp_path / "keys") == ["patients.key"]
    assert len((tmp_path / "keys" / "patients.key").read_bytes()) == 32
    assert stat.S_IMODE((tmp_path / "keys" / "patients.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("trouble", ["off", "open folder", "open file", "short", "link"])
def test_without_a_key_of_ones_own_pseudonyms_are_of_this_process(tmp_path, monkeypatch, caplog, trouble):
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    place = folder / "patients.key"
    monkeypatch.setenv("FEATCACHE_KEYS", "off" if trouble == "off" else str(folder))
    if trouble == "open folder":
        folder.chmod(0o755)
    elif trouble == "link":
        (tmp_path / "elsewhere").write_bytes(b"\1" * 32)
        place.symlink_to(tmp_path / "elsewhere")
    elif trouble != "off":
        place.write_bytes(b"\1" * (31 if trouble == "short" else 32))
        place.chmod(0o644 if trouble == "open file" else 0o600)
    with caplog.at_level(logging.WARNING, "featcache"):
        made = pseudonyms()
    assert not made.kept
    assert made.of("1") == pseudonyms().of("1")
    assert "in each process" in caplog.text
    write_radiographs(tmp_path / "images", 4)
    with featcache.Store(tmp_path / "cache") as store:
        assert len(set(choose_data(store, tmp_path / "images").groups)) == 2
        assert not store.index.headers(made.mark)


def test_a_key_that_cannot_be_written_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setattr(module.os, "link", lambda *_: (_ for _ in ()).throw(OSError(28, "no room")))
    assert not pseudonyms().kept
    assert os.listdir(tmp_path / "keys") == []


def test_no_patients_id_name_or_birth_is_ever_written(tmp_path, cli, few_trees):
    """In no encoding, in no file that any verb leaves, and in nothing that it says."""
    write_radiographs(tmp_path / "images", 32)
    told = ""
    for words in (
        ("extract", "--data", "images", "--backbone", "pixels", "--size", "8", "-v"),
        ("audit", "--out", "runs/audit", "-v"),
        ("fit-head", "--backbone", "pixels", "--epochs", "1", "--out", "runs/fit", "-v"),
        ("evaluate", "runs/fit/bundle", "--data", "images", "--out", "runs/evaluate", "-v"),
        ("report", "--out", "report.html", "-v"),
        ("cache", "export", "out.h5", "--backbone", "pixels"),
    ):
        done = cli(*words, "--json")
        assert done.code == 0, (words, done.err)
        told += done.out + done.err
    secrets = (SECRET, "Muster", "19540301")
    written = {place: place.read_bytes() for place in tmp_path.rglob("*") if place.is_file() and place.suffix != ".dcm"}
    written[Path("what was said")] = told.encode()
    assert {"index.sqlite", "run.json", "bundle.json", "report.html", "out.h5"} <= {place.name for place in written}
    group = pseudonyms().of(f"{SECRET}000").encode()
    assert any(group in content for content in written.values())  # what is looked for would be found
    for secret in secrets:
        for form in (
            secret.encode(),
            secret.encode("utf-16-le"),
            secret.encode("utf-16-be"),
            secret.encode().hex().encode(),
            secret.encode().hex().upper().encode(),
        ):
            assert not [place for place, content in written.items() if form in content], (secret, form)
