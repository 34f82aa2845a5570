"""Summaries in the cache: read by the next audit, and taken anew where they are not what they were."""

from __future__ import annotations

import hashlib
import sqlite3

import numpy as np
import pytest
from PIL import Image

from featcache.data.dataset import open_dataset
from featcache.errors import StoreError
from featcache.store.store import Store
from heads.auditing import audited_images, kept_summaries
from heads.auditing.audited_images import AuditedImages, summarise
from heads.auditing.kept_summaries import NAME, KeptSummaries


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        place = tmp_path / "data" / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (90, 120 + number), dtype=np.uint8)).save(place)
    return tmp_path / "data"


@pytest.fixture
def taken(monkeypatch):
    """How many images were decoded."""
    count = []
    summary_of = audited_images.summary_of
    monkeypatch.setattr(audited_images, "summary_of", lambda data: count.append(1) or summary_of(data))
    return count


def looked_at(data, cache) -> AuditedImages:
    with KeptSummaries(cache) as kept, Store(cache) as store:
        images = summarise(store, kept, open_dataset(data), lambda what, done: None)
        assert [summary.whole.shape[1] for summary in images.summaries] == [128] * len(images.keys)
        return images


def same(one: AuditedImages, other: AuditedImages) -> bool:
    return one.keys == other.keys and all(
        (a == b).all()
        for a, b in (
            (one.sketches.details, other.sketches.details),
            (one.sketches.cells, other.sketches.cells),
            (one.properties, other.properties),
            (one.measured, other.measured),
        )
    )


def test_a_second_audit_reads_the_looks_and_no_image(data, tmp_path, taken):
    first = looked_at(data, tmp_path / "cache")
    assert len(taken) == 6
    assert same(first, looked_at(data, tmp_path / "cache"))
    assert len(taken) == 6
    (data / "a" / "new.png").write_bytes((data / "a" / "0.png").read_bytes() + b"more")
    assert len(looked_at(data, tmp_path / "cache").keys) == 7
    assert len(taken) == 7


HARMED = {
    "a flipped bit": lambda said: said[:-9] + bytes([said[-9] ^ 1]) + said[-8:],
    "cut short": lambda said: said[:100],
    "nothing": lambda said: b"",
}
FORGED = {  # sealed anew, as whoever wrote the cache could do
    "another size": lambda said: (9).to_bytes(2, "little") + said[2:],
    "no pixels": lambda said: bytes(4) + said[4:],
    "too many pixels": lambda said: b"\xff\xff\xff\xff" + said[4:],
    "not a number": lambda said: said[:4] + np.array([np.nan], "<f8").tobytes() + said[12:],
    "below nothing": lambda said: said[:4] + np.array([-5], "<f8").tobytes() + said[12:],
}


@pytest.mark.parametrize("how", [*HARMED, *FORGED])
def test_a_summary_that_is_none_is_made_anew(how, data, tmp_path, taken):
    first = looked_at(data, tmp_path / "cache")
    with sqlite3.connect(tmp_path / "cache" / NAME) as db:
        key, said = db.execute("SELECT key, said FROM summaries").fetchone()
        other = (HARMED | FORGED)[how](said)
        seal = hashlib.blake2b(key + other, digest_size=16).digest() if how in FORGED else None
        db.execute("UPDATE summaries SET said = ?, seal = coalesce(?, seal) WHERE key = ?", (other, seal, key))
    db.close()
    assert same(first, looked_at(data, tmp_path / "cache"))
    assert len(taken) == 7


@pytest.mark.parametrize("content", [b"no database", b"", "another"])
def test_another_file_in_its_place_is_made_anew(content, data, tmp_path, taken):
    first = looked_at(data, tmp_path / "cache")
    place = tmp_path / "cache" / NAME
    place.unlink()
    if content == "another":
        with sqlite3.connect(place) as db:
            db.execute("CREATE TABLE summaries (key BLOB)")
        db.close()
    else:
        place.write_bytes(content)
    assert same(first, looked_at(data, tmp_path / "cache"))
    assert same(first, looked_at(data, tmp_path / "cache"))
    assert len(taken) == 12


def test_a_place_that_cannot_be_written_is_done_without(data, tmp_path, taken, caplog):
    (tmp_path / "cache" / NAME).mkdir(parents=True)
    looked_at(data, tmp_path / "cache")
    assert "summaries are kept for this audit alone" in caplog.text


def test_a_disk_without_room_is_named_before(data, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_summaries, "_SPARE", 10**18)
    with pytest.raises(StoreError, match=r"summaries of 6 images take .* GB; free some, or give --limit N"):
        looked_at(data, tmp_path / "cache")


def test_an_image_that_changes_meanwhile_is_named(data, tmp_path, monkeypatch):
    read = audited_images.filesystems.read
    monkeypatch.setattr(audited_images.filesystems, "read", lambda path: read(path) + b"x" * path.endswith("0.png"))
    images = looked_at(data, tmp_path / "cache")
    assert [(bad.path[-5:], bad.reason) for bad in images.bad] == [("0.png", "it changed while it was read")]
