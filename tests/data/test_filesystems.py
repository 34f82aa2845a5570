"""Images behind URLs and in archives: the same rows as from a folder, read no more often than they have to be."""

from __future__ import annotations

import functools
import http.server
import io
import os
import shutil
import socket
import tarfile
import time
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
from pictures import age, write_images
from servers import serving

import featcache
from featcache.data import filesystems, remote_files
from featcache.data.dataset import find_images, open_dataset
from featcache.errors import DataError
from heads.auditing.audit import audit
from heads.experiments.head_fit import fit_head
from heads.inference.prediction import predict

SIZE = 24


@pytest.fixture
def folder(tmp_path):
    """Two parts, two classes, 40 images."""
    for part, count, seed in (("train", 28, 0), ("test", 12, 1)):
        write_images(tmp_path / "xrays" / part, count, seed=seed)
    (tmp_path / "xrays" / "notes.txt").write_text("no image")
    age(tmp_path / "xrays")
    return tmp_path / "xrays"


@pytest.fixture
def manifest(folder):
    """The same as a manifest beside the folder, with patients."""
    rows = [
        f"xrays/{p.relative_to(folder).as_posix()},{p.parent.name},{p.parent.parent.name},patient{number // 2}"
        for number, p in enumerate(sorted(folder.rglob("*.png")))
    ]
    path = folder.parent / "manifest.csv"
    path.write_text("\n".join(["path,label,split,group", *rows]))
    age(folder.parent)
    return path


class Server(http.server.ThreadingHTTPServer):
    """A web server over a folder, which notes what it was asked for."""

    def __init__(self, folder: Path, ranges: bool = True) -> None:
        self.asked: list[tuple[str, str]] = []
        self.ranges = ranges  # whether it gives parts of files
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def bodies(self) -> list[str]:
        return [path for method, path in self.asked if method == "GET" and path.endswith(".png")]


class _Handler(http.server.SimpleHTTPRequestHandler):
    def send_head(self):
        self.server.asked.append((self.command, self.path))
        wanted = self.headers.get("Range", "")
        if not (self.server.ranges and wanted.startswith("bytes=")):
            return super().send_head()
        data = Path(self.translate_path(self.path)).read_bytes()
        first, last = wanted.removeprefix("bytes=").split("-")
        part = data[int(first) : int(last) + 1 if last else None]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        return io.BytesIO(part)

    def log_message(self, *_: object) -> None:
        pass


def served(folder: Path, ranges: bool = True):
    return serving(Server(folder, ranges))


@pytest.fixture
def in_memory(folder):
    """The folder on fsspec's memory file system; its URL."""
    files = fsspec.filesystem("memory")
    for path in folder.rglob("*.*"):
        files.pipe_file(f"/bucket/xrays/{path.relative_to(folder).as_posix()}", path.read_bytes())
    yield "memory://bucket/xrays"
    files.rm("/bucket", recursive=True)


def zipped(folder: Path, to: Path, around: str = "") -> Path:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, around + path.relative_to(folder).as_posix())
        archive.writestr(f"__MACOSX/{around}._x.png", b"rubbish")
    return to


def tarred(folder: Path, to: Path) -> Path:
    with tarfile.open(to, "w") as archive:
        archive.add(folder, arcname=folder.name)
    return to


def rows_of(data: object, cache: Path) -> dict[str, tuple]:
    """Pixels, label, split and group of each image, by its name."""
    featcache.extract(data, "pixels", size=SIZE, cache=cache)
    found = featcache.load("pixels", task="binary", pooling="map", data=data, cache=cache)
    names = ["/".join(path.split("::")[0].split("/")[-3:]) for path in found.paths]
    return {
        name: (pixels.tobytes(), label, split)
        for name, pixels, label, split in zip(names, found.X, found.y, found.splits, strict=True)
    }


@pytest.mark.parametrize("kind", ["memory", "zip", "zip around", "tar", "url of a zip", "http", "http manifest"])
def test_the_same_rows_from_wherever_they_are(kind, folder, manifest, in_memory, tmp_path):
    with served(folder.parent) as server:
        zipped(folder, tmp_path / "flat.zip")
        data = {
            "memory": lambda: in_memory,
            "zip": lambda: tmp_path / "flat.zip",
            "zip around": lambda: zipped(folder, tmp_path / "deep.zip", "a/b/"),
            "tar": lambda: tarred(folder, tmp_path / "xrays.tar"),
            "url of a zip": lambda: f"{server.url}/flat.zip",
            "http": lambda: f"{server.url}/xrays/",
            "http manifest": lambda: f"{server.url}/manifest.csv",
        }[kind]()
        assert rows_of(data, tmp_path / "cache") == rows_of(folder, tmp_path / "local")
        assert len(find_images(data)) == 40
        again = featcache.extract(data, "pixels", size=SIZE, cache=tmp_path / "cache")
        assert (again.computed, again.reused) == (0, 40)


def test_a_manifest_may_name_urls_and_files_beside_it(folder, in_memory, tmp_path):
    import pandas as pd

    far = [f"{in_memory}/train/covid/{name}" for name in ("0000.png", "0002.png")]
    near = ["xrays/train/normal/0001.png", "xrays/train/normal/0003.png"]
    table = pd.DataFrame({"path": far + near, "label": ["covid"] * 2 + ["normal"] * 2})
    table.to_parquet(tmp_path / "m.parquet", index=False)
    found = open_dataset(tmp_path / "m.parquet")
    assert found.paths == far + [str(tmp_path / name) for name in near]
    assert featcache.extract(tmp_path / "m.parquet", "pixels", size=SIZE, cache=tmp_path / "c").computed == 4
    files = fsspec.filesystem("memory")
    files.pipe_file("/bucket/m.parquet", (tmp_path / "m.parquet").read_bytes())
    table.assign(path=["xrays/train/covid/0000.png", *far[1:], *map(str, found.paths[2:])]).to_parquet(
        tmp_path / "n.parquet", index=False
    )
    files.pipe_file("/bucket/n.parquet", (tmp_path / "n.parquet").read_bytes())
    assert open_dataset("memory://bucket/n.parquet").paths[0] == "memory://bucket/xrays/train/covid/0000.png"


def test_what_did_not_change_is_not_read_again(folder, manifest, tmp_path):
    with served(folder.parent) as server:
        data = f"{server.url}/manifest.csv"
        first = featcache.extract(data, "pixels", size=SIZE, cache=tmp_path / "cache")
        assert first.computed == 40
        assert sorted(server.bodies()) == sorted(set(server.bodies()))  # once for its key, and not again for its pixels
        assert len(server.bodies()) == 40
        server.asked.clear()
        again = featcache.extract(data, "pixels", size=SIZE, cache=tmp_path / "cache")
        assert (again.computed, again.reused) == (0, 40)
        assert not server.bodies()
        # One that did is: its bytes decide.
        changed = folder / "train" / "covid" / "0000.png"
        shutil.copy(folder / "train" / "normal" / "0001.png", changed)
        with open(changed, "ab") as file:
            file.write(b"other")
        third = featcache.extract(data, "pixels", size=SIZE, cache=tmp_path / "cache")
        assert (third.computed, third.reused) == (1, 39)
        assert server.bodies() == ["/xrays/train/covid/0000.png"]


def test_a_server_that_gives_files_only_whole(folder, tmp_path):
    zipped(folder, tmp_path / "flat.zip")
    with served(tmp_path, ranges=False) as server, pytest.raises(DataError, match="download it"):
        open_dataset(f"{server.url}/flat.zip")


def test_an_archive_that_changed_is_opened_anew(folder, tmp_path):
    path = zipped(folder, tmp_path / "x.zip")
    assert len(open_dataset(path)) == 40
    (folder / "train" / "covid" / "0000.png").unlink()
    path.unlink()
    zipped(folder, path)
    os.utime(path, (time.time() + 5, time.time() + 5))
    found = open_dataset(path)
    assert len(found) == 39
    assert all(len(filesystems.read(p)) > 50 for p in found.paths)


@pytest.mark.usefixtures("few_trees", "undrawn")
def test_heads_audits_and_predictions(folder, in_memory, tmp_path):
    where = {"cache": tmp_path / "cache"}
    featcache.extract(in_memory, "mobilenet", weights="random", size=64, **where)
    fitted = fit_head("binary", data=in_memory, pooling="avg", units=4, epochs=2, out=tmp_path / "run", **where)
    assert fitted.result["test"]["n"] == 12
    found = audit(in_memory, task="binary", out=tmp_path / "audit", **where)
    assert found["images"] == 40
    assert not found["unreadable"]
    written = open_dataset(tmp_path / "audit" / "manifest.csv")  # its paths are URLs
    assert written.paths[0].startswith("memory://bucket/")
    far = predict(tmp_path / "run" / "bundle", [f"{in_memory}/test"], **where)["rows"]
    near = predict(tmp_path / "run" / "bundle", [folder / "test"], **where)["rows"]
    assert [row["label"] for row in far] == [row["label"] for row in near]
    np.testing.assert_allclose(
        [list(row["probabilities"].values()) for row in far], [list(row["probabilities"].values()) for row in near]
    )


# -- what goes wrong -----------------------------------------------------------------------------


def test_a_missing_image_is_bad_and_the_rest_is_kept(folder, manifest, tmp_path):
    (folder / "test" / "covid" / "0000.png").unlink()
    with served(folder.parent) as server:
        data = f"{server.url}/manifest.csv"
        found = featcache.extract(data, "pixels", size=SIZE, cache=tmp_path / "c", skip_bad=True)
    assert (found.computed, found.skipped) == (39, 1)
    assert "no such file" in found.bad[0].reason


def test_a_server_that_is_not_there(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.monotonic()
    for data in (f"http://127.0.0.1:{port}/manifest.csv", f"http://127.0.0.1:{port}/xrays/"):
        with pytest.raises(DataError, match="cannot be"):
            open_dataset(data)
    assert time.monotonic() - started < 15


def test_a_server_that_hangs_does_not_hold_for_ever(monkeypatch):
    monkeypatch.setattr(remote_files, "_ANSWER", 1)
    fsspec.filesystem("http").clear_instance_cache()
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(DataError, match="no answer within 1 s"):
        open_dataset(f"http://127.0.0.1:{deaf.getsockname()[1]}/manifest.csv")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("https://me:secret@host/x/", "credentials"),
        ("s4://bucket/x", "cannot be listed"),
        ("memory://nothing/here", "no such file or folder"),
        ("xrays.tar.gz", "unpack it"),
        ("https://127.0.0.1:9/x.zip", "cannot be"),
    ],
)
def test_places_that_are_refused(data, says):
    with pytest.raises(DataError, match=says) as found:
        open_dataset(data)
    assert "secret" not in str(found.value)


def test_a_protocol_whose_package_is_missing_says_which(monkeypatch):
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(DataError, match=r"pip install 'featcache\[http\]'.*\[s3\]"):
        open_dataset("s3://bucket/xrays")


def test_a_damaged_archive(folder, tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match="cannot be listed"):
        open_dataset(tmp_path / "bad.zip")
    path = zipped(folder, tmp_path / "flip.zip")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    found = featcache.extract(path, "pixels", size=SIZE, cache=tmp_path / "c", skip_bad=True)
    assert found.skipped >= 1
    assert found.computed >= 38


def test_an_archive_that_promises_too_much(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "MOST_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "train" / "covid" / "0000.png", "covid/bomb.png")
        archive.writestr("../../normal/bomb.png", bytes(1_000_000))
    found = open_dataset(tmp_path / "bomb.zip")
    with pytest.raises(OSError, match="promises more than"):
        filesystems.read(found.paths[0])
    assert not (tmp_path.parent / "normal").exists()


def test_plain_paths_never_import_fsspec(folder):
    import subprocess
    import sys

    script = (
        "import sys, featcache.extraction.extract; from featcache.data.dataset import open_dataset; "
        "open_dataset(sys.argv[1]); print('fsspec' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
