"""What stands where an image is expected: pipes, devices, floods, servers that trickle, and URLs that carry secrets."""

from __future__ import annotations

import contextlib
import csv
import functools
import http.server
import io
import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import age, write_images
from servers import serving
from surroundings import OFFLINE, ROOT

import featcache
from featcache.data import filesystems, remote_files, urls
from featcache.data.dataset import find_images, open_dataset
from featcache.data.manifest import read_table
from featcache.errors import DataError, UsageError
from heads.auditing.audit import audit
from heads.experiments.head_fit import fit_head
from heads.inference.prediction import predict

SECRET = "s3cretS1gnature"
SIZE = 24


# -- URLs that carry secrets ------------------------------------------------------------------------


class Signed(http.server.ThreadingHTTPServer):
    """A store as S3 is: it answers to signed GETs alone, and counts the bytes of the bodies that it gives."""

    def __init__(self, folder: Path) -> None:
        self.valid = SECRET
        self.sent: dict[str, int] = {}
        super().__init__(("127.0.0.1", 0), functools.partial(_Signed, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_port}"

    def signed(self, path: str) -> str:
        return f"{self.url}/{path}?X-Amz-Algorithm=AWS4&X-Amz-Credential=me{self.valid}&X-Amz-Signature={self.valid}"


class _Signed(http.server.SimpleHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(403)

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        if query.get("X-Amz-Signature") != [self.server.valid]:
            return self.send_error(403)
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        data, whole = path.read_bytes(), path.stat().st_size
        tag = f'"{hash(data)}"'
        asked = self.headers.get("Range")
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            data = data[int(first) : int(last) + 1]
        self.server.sent[path.name] = self.server.sent.get(path.name, 0) + len(data)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{whole}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return None

    def log_message(self, *_: object) -> None:
        pass


def signed_manifest(place: Path, server: Signed, paths: list[Path], root: Path) -> Path:
    rows = [f"{server.signed(path.relative_to(root).as_posix())},{path.parent.name}" for path in paths]
    place.write_text("\n".join(["path,label", *rows]))
    return place


def everything_written(*folders: Path) -> bytes:
    return b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("few_trees", "undrawn")
def test_signatures_are_used_and_never_written_down(tmp_path, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    paths = write_images(tmp_path / "store", 12)
    where = {"cache": tmp_path / "cache"}
    small = {"backbone": "mobilenet", "weights": "random", "size": 32, **where}
    with serving(Signed(tmp_path / "store")) as server:
        data = signed_manifest(tmp_path / "m.csv", server, paths, tmp_path / "store")
        made = featcache.extract(data, **small)
        assert made.computed == 12
        first = dict(server.sent)
        assert first == {path.name: path.stat().st_size + 1 for path in paths}  # one byte to know it by, then all, once
        server.valid = "another" + SECRET  # signed anew: the same objects, known by their ETag
        signed_manifest(tmp_path / "m.csv", server, paths, tmp_path / "store")
        again = featcache.extract(data, **small)
        assert (again.computed, again.reused) == (0, 12)
        assert server.sent == {name: count + 1 for name, count in first.items()}
        found = audit(data, task="binary", out=tmp_path / "audit", **where)
        fit_head("binary", data=data, pooling="avg", units=2, epochs=1, out=tmp_path / "run", **where)
        rows = predict(tmp_path / "run" / "bundle", [server.signed("covid/0000.png")], **where)["rows"]
        assert rows[0]["path"] == f"{server.url}/covid/0000.png"
        server.valid = "a third"  # what was signed has expired
        late = featcache.extract(data, skip_bad=True, **small)
        assert len(late.bad) == 12
        assert "403" in late.bad[0].reason
        with pytest.raises(DataError, match="403"):
            open_dataset(f"{server.url}/m.csv?X-Amz-Signature={SECRET}")
    printed = capsys.readouterr()
    said = " ".join(
        [caplog.text, printed.out, printed.err, json.dumps(found), json.dumps(late.to_dict()), json.dumps(rows)]
    )
    assert SECRET not in said
    written = everything_written(tmp_path / "cache", tmp_path / "audit", tmp_path / "run")
    assert b"covid/0000.png" in written
    assert SECRET.encode() not in written


def test_a_traceback_shows_no_signature(cli, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = f"http://127.0.0.1:{port}"
    (tmp_path / "m.csv").write_text(f"path,label\n{place}/a.png?sig={SECRET},x\n{place}/b.png?sig={SECRET},y\n")
    for data in (f"{place}/m.csv?token={SECRET}", f"{place}/x.zip?sig={SECRET}", "m.csv"):
        done = cli("extract", "--backbone", "pixels", "--data", data, "-v", "--json")
        assert done.code == 3, done.err
        assert SECRET not in done.out + done.err


PASSWORDS = [
    "http://alice:{}@host/a.png",
    "https://alice:{}@host:8000/x/",
    "HTTP://alice:{}@host/a.png",
    "https://{}@host/a.png",
    "smb://alice:{}@host/share/a.png",
    "webdav://alice:{}@host/a.png",
    "ftp://alice:{}@host/a.csv",
    "sftp://a:{}@host/a",
    "s4://alice:{}@host/a.png",
    "abfs://box:{}@account/a.png",
    "zip::http://alice:{}@host/x.zip",
    "zip://a.png::http://alice:{}@host/x.zip",
    "simplecache::zip://a.png::smb://alice:{}@host/x.zip",
    "http:/alice:{}@host/a.png",
    "http:\\\\alice:{}@host\\a.png",
    "http://alice:a/{}@host/a.png",
    "https://host/x?next=http%3A%2F%2Falice%3A{}%40host%2F",
    "http://alice%3A{}@host/a.png",
]


@pytest.mark.parametrize("url", PASSWORDS)
def test_a_password_is_refused_wherever_it_stands(url, tmp_path):
    url = url.format(SECRET)
    (tmp_path / "m.csv").write_text(f"path,label\na.png,x\n{url},y\n")
    for door in (
        lambda: open_dataset(url),
        lambda: find_images(url),
        lambda: open_dataset(tmp_path / "m.csv"),
        lambda: find_images(tmp_path / "m.csv"),
        lambda: featcache.FrozenBackbone("pixels", cache=str(tmp_path)).fit([url]),
    ):
        with pytest.raises(DataError, match=r"password or a user's name|no host and port") as found:
            door()
        assert SECRET not in str(found.value)
    with pytest.raises(DataError, match="row 2"):
        open_dataset(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        (
            "https://b.s3.amazonaws.com/a.png?X-Amz-Signature=SEC&X-Amz-Date=1&versionId=7",
            "https://b.s3.amazonaws.com/a.png?versionId=7",
        ),
        (
            "https://b.s3.amazonaws.com/a.png?AWSAccessKeyId=SEC&Signature=SEC&Expires=9",
            "https://b.s3.amazonaws.com/a.png",
        ),
        (
            "https://storage.googleapis.com/b/a.png?X-Goog-Signature=SEC&X-Goog-Expires=1",
            "https://storage.googleapis.com/b/a.png",
        ),
        (
            "https://x.blob.core.windows.net/c/a.png?sv=2020&st=1&se=2&sr=b&sp=r&sig=SEC%3D",
            "https://x.blob.core.windows.net/c/a.png",
        ),
        ("https://d.cloudfront.net/a.png?Policy=SEC&Signature=SEC&Key-Pair-Id=SEC", "https://d.cloudfront.net/a.png"),
        ("https://host/get?id=7&access_token=SEC", "https://host/get?id=7"),
        ("https://host/get?id=7;X%2DAmz%2DSignature=SEC", "https://host/get?id=7"),
        ("https://host/a.png#token=SEC", "https://host/a.png"),
        ("https://host/get?id=7&x=eyJSEC.SEC.SEC", "https://host/get?id=7"),
        ("zip://a.png::https://host/x.zip?sig=SEC", "zip://a.png::https://host/x.zip"),
    ],
)
def test_what_signs_is_left_out_of_the_name(url, named):
    url = url.replace("SEC", SECRET)
    found = urls.locate(url)
    assert found == named
    assert urls.fetchable(found) == url
    moved = pickle.loads(pickle.dumps(found))  # to another process
    assert (moved, urls.fetchable(moved)) == (named, url)
    assert SECRET not in f"{found} {found!r} {json.dumps([found])} {urls.scrubbed('at ' + url)}"


@pytest.mark.parametrize(
    "url",
    [
        "https://host/get?id=7",
        "https://host/wado?requestType=WADO&studyUID=1.2.3&seriesUID=4&objectUID=5",
        "s3://b/a#1.png",
        "https://host/get?sp=1&st=2&series=3",
        "abfs://box@account.dfs.core.windows.net/a.png",
        "https://host/a@b.png",
        "http://[::1]:8000/a.png",
        "github://owner:repository@main/a.png",
        "https://host/get?key=patient7/a.png",
    ],
)
def test_what_identifies_an_object_is_kept(url):
    assert urls.locate(url) == url


def test_two_objects_of_one_script_are_two_and_a_key_is_none(tmp_path):
    opaque = [urls.locate(f"https://host/get?key={letter * 24}") for letter in "ab"]
    assert opaque[0] != opaque[1]
    assert "a" * 24 not in opaque[0]
    (tmp_path / "m.csv").write_text("path,label\nhttps://host/get?id=7,x\nhttps://host/get?id=8,y\n")
    assert len(set(open_dataset(tmp_path / "m.csv").paths)) == 2


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=60),
    st.sampled_from(["", "http://", "s3://b/", "zip://a::", "file://", "http://[", "https://h/?", "::"]),
)
def test_any_text_is_a_place_or_refused(text, before):
    with contextlib.suppress(DataError, UsageError):
        found = urls.locate(before + text)
        assert isinstance(found, str)
        urls.name_of(found), urls.suffix_of(found), urls.shown(found)
    with contextlib.suppress(DataError, UsageError):
        urls.beside("https://host/dir/m.csv", before + text)
    with contextlib.suppress(DataError, UsageError):
        urls.beside("/data/m.csv", before + text)


# -- URLs that are odd ------------------------------------------------------------------------------


def test_file_urls_are_paths(tmp_path):
    write_images(tmp_path / "my images", 4)
    local = open_dataset(tmp_path / "my images")
    for url in (
        f"file://{tmp_path}/my images",
        f"file://{tmp_path}/my%20images",
        f"file://localhost{tmp_path}/my images",
    ):
        assert open_dataset(url) == local
        assert find_images(url) == local.paths
    (tmp_path / "m.csv").write_text(f"path,label\nfile://{local.paths[0]},x\n{local.paths[1]},y\n")
    assert open_dataset(f"file://{tmp_path}/m.csv").paths == local.paths[:2]
    with pytest.raises(DataError, match="three slashes"):
        open_dataset("file://images")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("ftp://127.0.0.1:9/x.csv", "refused"),
        ("ftp://", "no host"),
        ("http://[::1/x.csv", "in brackets"),
        ("http://host:port/x/", "no host and port"),
        ("http:///x.csv", "no host"),
        ("s4://b/x", "expected s3://"),
        ("smb://host/x.csv", "smb|Smb|SMB"),
        ("http://127.0.0.1:9/\0.csv", "NUL"),
        ("://x", "cannot be"),
        ("zip://::/nowhere.zip", "no such file|No such file"),
        ("zip://a.csv::", "cannot be"),
        ("http://", "no host"),
    ],
)
def test_odd_urls_get_a_sentence(data, says, tmp_path):
    with pytest.raises(DataError, match=says):
        open_dataset(data)


@pytest.mark.parametrize("door", [open_dataset, find_images])
def test_nothing_is_no_place(door):
    with pytest.raises(UsageError, match="names no place"):
        door("")


def test_no_verb_walks_the_current_folder_for_an_empty_option(cli, tmp_path):
    write_images(tmp_path, 4)
    done = cli("extract", "--backbone", "pixels", "--data", "")
    assert done.code == 2
    assert "Traceback" not in done.err


# -- what is no file --------------------------------------------------------------------------------


@pytest.fixture
def odd(tmp_path):
    """A folder of two classes with a pipe, a link to a device, a socket, a sparse flood and a dead link among them."""
    write_images(tmp_path / "d", 8)
    covid = tmp_path / "d" / "covid"
    os.mkfifo(covid / "pipe.png")
    os.mkfifo(covid / "1.2.840")  # a name as of a bare DICOM file, which is looked into
    os.symlink("/dev/zero", covid / "zero.png")
    os.symlink("nowhere", covid / "dead.png")
    here = os.getcwd()
    os.chdir(covid)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket.png")
    finally:
        os.chdir(here)
    with open(covid / "flood.png", "wb") as file:
        file.truncate(filesystems.MOST_BYTES + 1)
    age(tmp_path / "d")
    return tmp_path / "d"


REASONS = {
    "pipe.png": "a named pipe",
    "zero.png": "a device",
    "dead.png": "No such file",
    "socket.png": "a socket",
    "flood.png": "more than 1 GB",
}


@pytest.mark.usefixtures("few_trees")
@pytest.mark.timeout(120)
def test_pipes_devices_and_floods_are_bad_images(odd, tmp_path):
    found = featcache.extract(odd, "pixels", size=SIZE, cache=tmp_path / "c", skip_bad=True)
    assert (found.computed, found.skipped) == (8, 5)
    for bad in found.bad:
        assert REASONS[Path(bad.path).name] in bad.reason
    assert found.ignored == {"no suffix": 1}
    result = audit(odd, cache=tmp_path / "c", out=tmp_path / "audit")
    assert {Path(row["path"]).name for row in result["unreadable"]} == set(REASONS)
    for name in ("pipe.png", "zero.png", "flood.png"):
        with pytest.raises(OSError, match=REASONS[name]):
            filesystems.read(odd / "covid" / name)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.timeout(120)
def test_a_pipe_for_prediction_or_saliency_is_a_bad_image(odd, tmp_path):
    from heads.inference.saliency_maps import saliency

    where = {"cache": tmp_path / "c"}
    featcache.extract(odd, "mobilenet", weights="random", size=32, skip_bad=True, **where)
    fit_head("binary", data=odd, pooling="avg", units=2, epochs=1, out=tmp_path / "run", **where)
    bundle = tmp_path / "run" / "bundle"
    with pytest.raises(DataError) as found:
        predict(bundle, [odd / "covid" / "pipe.png"], **where)
    assert "a named pipe" in found.value.bad[0].reason
    with pytest.raises(DataError) as found:
        saliency(bundle, images=[odd / "covid" / "zero.png"], out=tmp_path / "s", **where)
    assert "a device" in found.value.bad[0].reason


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_a_pipe_for_a_manifest_or_weights(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="a named pipe"):
        open_dataset(tmp_path / name)
    os.mkfifo(tmp_path / "w.weights.h5")
    images = write_images(tmp_path / "d", 2)[0].parent.parent
    with pytest.raises(featcache.errors.WeightsError, match="no such file"):
        featcache.extract(images, "mobilenet", weights=str(tmp_path / "w.weights.h5"), size=32, cache=tmp_path / "c")


@pytest.mark.timeout(60)
def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path):
    path = write_images(tmp_path / "d", 2)[0]
    stamps, failed = filesystems.stat([str(path)])
    assert len(stamps) == 1
    assert not failed
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="a named pipe"):
        filesystems.read(path)


class Flood(http.server.BaseHTTPRequestHandler):
    """Gives zeros for ever, and says nothing of how many."""

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 20))

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.timeout(120)
def test_a_server_that_never_ends_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "MOST_BYTES", 20_000_000)
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flood)) as server:
        place = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(OSError, match=r"more than 0\.02 GB"):
            filesystems.read(f"{place}/a.png")


# -- archives ---------------------------------------------------------------------------------------


def test_members_named_to_walk_out_or_linked_elsewhere(tmp_path):
    image = write_images(tmp_path / "x", 2)[0].read_bytes()
    (tmp_path / "secret.png").write_bytes(image)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("covid/a.png", "normal/b.png", "../walk/c.png", "/abs/d.png", "covid/../../e.png"):
            member = tarfile.TarInfo(name)
            member.size = len(image)
            archive.addfile(member, io.BytesIO(image))
        for name, kind, target in (
            ("covid/link.png", tarfile.SYMTYPE, str(tmp_path / "secret.png")),
            ("covid/hard.png", tarfile.LNKTYPE, "../secret.png"),
            ("covid/pipe.png", tarfile.FIFOTYPE, ""),
            ("covid/device.png", tarfile.CHRTYPE, ""),
            ("covid/loop.png", tarfile.SYMTYPE, "loop.png"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("covid/a.png", "normal/b.png", "../walk/c.png", "/abs/d.png", "covid/../../e.png"):
            archive.writestr(name, image)
        link = zipfile.ZipInfo("covid/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(tmp_path / "secret.png"))
    before = sorted(tmp_path.rglob("*"))
    for name in ("x.tar", "x.zip"):
        found = open_dataset(tmp_path / name)
        assert {"covid", "normal"} <= set(found.classes) <= {"covid", "normal", "abs"}
        assert not any(".." in part for part in found.names)
        made = featcache.extract(tmp_path / name, "pixels", size=SIZE, cache=tmp_path / "c", skip_bad=True)
        bad = {filesystems.name_of(one.path) for one in made.bad}
        assert "link.png" in bad
        assert bad <= {"link.png", "hard.png", "pipe.png", "device.png", "loop.png", "d.png"}
        assert made.ignored["hidden"] >= 1
    assert [path for path in sorted(tmp_path.rglob("*")) if "c" not in path.relative_to(tmp_path).parts] == before


def test_a_member_that_inflates_to_more_than_any_file_may_have(tmp_path):
    image = write_images(tmp_path / "x", 1)[0].read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("covid/a.png", image)
        with archive.open("normal/bomb.png", "w", force_zip64=True) as member:
            for _ in range(filesystems.MOST_BYTES // 10_000_000 + 1):
                member.write(bytes(10_000_000))
    assert (tmp_path / "x.zip").stat().st_size < 2_000_000
    made = featcache.extract(tmp_path / "x.zip", "pixels", size=SIZE, cache=tmp_path / "c", skip_bad=True)
    assert [bad.reason for bad in made.bad] == ["cannot be read: it promises more than 1 GB"]


def test_images_in_an_archive_are_told_by_content(tmp_path):
    image = write_images(tmp_path / "x", 1)[0].read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in (
            ("covid/a.jfif", image),
            ("normal/bare", image),
            ("normal/odd.xyz", b"no image"),
            ("n.txt", b""),
        ):
            archive.writestr(name, content)
    found = open_dataset(tmp_path / "x.zip")
    assert found.names == ["covid/a.jfif", "normal/bare"]
    assert found.ignored_kinds == {".txt": 1, ".xyz": 1}


# -- ending when asked to ---------------------------------------------------------------------------


class Trickle(http.server.ThreadingHTTPServer):
    """Gives the first images at once, and of the others a byte a second."""

    daemon_threads = True

    def __init__(self, folder: Path, quick: int = 10**6, slow_head: bool = False) -> None:
        self.quick, self.slow_head, self.slow = quick, slow_head, threading.Event()
        super().__init__(("127.0.0.1", 0), functools.partial(_Trickle, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Trickle(http.server.SimpleHTTPRequestHandler):
    def do_HEAD(self):
        if self.server.slow_head:
            self.server.slow.set()
            time.sleep(60)
        super().do_HEAD()

    def do_GET(self):
        if not self.path.endswith(".zip"):
            return super().do_GET()
        self.server.slow.set()  # its first part never comes
        self.send_response(206)
        self.send_header("Content-Range", "bytes 0-99/1000")
        self.send_header("Content-Length", "100")
        self.end_headers()
        return time.sleep(60)

    def copyfile(self, source, outputfile):
        number = int(Path(self.path).stem) if Path(self.path).stem.isdigit() else 10**6
        if number < self.server.quick:
            return super().copyfile(source, outputfile)
        with contextlib.suppress(OSError):
            for byte in source.read():
                self.server.slow.set()
                outputfile.write(bytes([byte]))
                time.sleep(1)
        return None

    def log_message(self, *_: object) -> None:
        pass


def ended_by(number: int, server: Trickle, where: Path, *arguments: object) -> tuple[subprocess.Popen, float, str, str]:
    """Run a command until the server trickles, send the signal, and say how long the command took to end."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
        cwd=where,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **OFFLINE, "no_proxy": "127.0.0.1"},
    )
    try:
        assert server.slow.wait(240)
        time.sleep(1)
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        return process, time.monotonic() - began, out, err
    finally:
        process.kill()


@pytest.mark.parametrize("verb", ["extract", "audit", "manifest", "stat", "archive", "devices"])
def test_sigterm_ends_whatever_is_being_read(verb, tmp_path):
    paths = write_images(tmp_path / "store", 12)
    rows = [f"{path.relative_to(tmp_path).as_posix()},{path.parent.name}" for path in paths]
    (tmp_path / "7.csv").write_text("\n".join(["path,label", *rows]))
    with zipfile.ZipFile(tmp_path / "7.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.relative_to(tmp_path / "store"))
    quick = 0 if verb in ("manifest", "archive") else 9
    with serving(Trickle(tmp_path, quick, slow_head=verb == "stat")) as server:
        data = f"{server.url}/7.{'zip' if verb == 'archive' else 'csv'}"
        arguments = (
            ["audit", "--data", data] if verb == "audit" else ["extract", "--backbone", "pixels", "--data", data]
        )
        if verb == "devices":
            arguments += ["--devices", "cpu:1"]
        process, seconds, out, err = ended_by(signal.SIGTERM, server, tmp_path, *arguments, "--json")
    assert process.returncode == 130
    assert seconds < 5.5, f"{seconds:.1f} s"  # of which the machine may take some
    assert json.loads(out)["exit_code"] == 130
    assert "interrupted" in err
    assert "Traceback" not in err


def test_what_was_committed_before_sigterm_stays(tmp_path):
    """Features of nine images are made, then the three slow ones begin; the second run needs no more than these."""
    paths = write_images(tmp_path / "store", 12)
    near = [f"store/{path.relative_to(tmp_path / 'store').as_posix()},{path.parent.name}" for path in paths[:9]]
    (tmp_path / "near.csv").write_text("\n".join(["path,label", *near]))
    featcache.extract(tmp_path / "near.csv", "pixels", size=224, cache=tmp_path / "cache")
    with serving(Trickle(tmp_path, quick=9)) as server:
        far = [
            f"{server.url}/store/{path.relative_to(tmp_path / 'store').as_posix()},{path.parent.name}" for path in paths
        ]
        (tmp_path / "far.csv").write_text("\n".join(["path,label", *far]))
        process, seconds, _, _ = ended_by(
            signal.SIGTERM, server, tmp_path, "extract", "--backbone", "pixels", "--data", "far.csv"
        )
        assert process.returncode == 130
        assert seconds < 5.5
        server.quick = 10**6
        found = featcache.extract(tmp_path / "far.csv", "pixels", cache=tmp_path / "cache")
    assert (found.computed, found.reused) == (3, 9)


def test_ctrl_c_does_not_wait_for_a_slow_server_either(tmp_path):
    paths = write_images(tmp_path / "store", 6)
    rows = [f"{path.relative_to(tmp_path).as_posix()},{path.parent.name}" for path in paths]
    (tmp_path / "7.csv").write_text("\n".join(["path,label", *rows]))
    with serving(Trickle(tmp_path, 3)) as server:
        (tmp_path / "near.csv").write_text("\n".join(["path,label", *(f"{server.url}/{row}" for row in rows)]))
        process, seconds, _, err = ended_by(
            signal.SIGINT, server, tmp_path, "extract", "--backbone", "pixels", "--data", "near.csv"
        )
    assert process.returncode == 130
    assert seconds < 5.5
    assert "interrupted" in err


# -- manifests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"path,label\na\0.png,x\n", "row 1 holds a NUL in column 'path'"),
        (b"path,label\na.png,x\nb.png,y\0\n", "row 2 holds a NUL in column 'label'"),
        (b"path,label,split,label\na.png,x,,y\n", "stand more than once: label"),
        (b"path,label, label ,path\na.png,x,y,b.png\n", "stand more than once: path, label"),
        ("path,label\na.png,Lungenentzündung\n".encode("latin-1"), "line 2 holds the byte 0xfc, which is not UTF-8"),
        ("path,label\na.png,x\n".encode("utf-16"), "UTF-16"),
        (b"path;label\na.png;x\n", "separated by semicolons"),
        (b"path\tlabel\na.png\tx\n", "separated by tabs"),
        (b'path,label\n"' + b"a" * 200_000 + b'",x\n', "field larger"),
        (b"\xff\xfe\x00", "UTF-16"),
    ],
)
def test_what_is_wrong_with_a_manifest(tmp_path, content, says):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        open_dataset(tmp_path / "m.csv")


def test_byte_order_marks_and_unnamed_columns_are_fine(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf,path,label,\n0,a.png,x,\n")
    assert read_table(str(tmp_path / "m.csv"))["label"] == ["x"]


def test_two_columns_of_one_name_in_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_arrays(
        [pa.array(["a.png"]), pa.array(["x"]), pa.array(["y"])], names=["path", "label", "label"]
    )
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(DataError, match=r"label|not a readable Parquet"):
        open_dataset(tmp_path / "m.parquet")


def test_spaces_after_commas_are_the_writers_but_a_file_may_have_its_own(tmp_path):
    write_images(tmp_path / "d", 2)
    (tmp_path / "d" / "covid" / "0000.png").rename(tmp_path / " a.png ")
    (tmp_path / "d" / "normal" / "0001.png").rename(tmp_path / "b.png")
    (tmp_path / "m.csv").write_text("path, label\n a.png , covid \n b.png , normal\n")
    found = open_dataset(tmp_path / "m.csv")
    assert [Path(path).name for path in found.paths] == [" a.png ", "b.png"]
    assert found.labels == ["covid", "normal"]


@pytest.mark.usefixtures("few_trees", "undrawn")
@pytest.mark.parametrize("spaced", [" a.png", "a.png "])
def test_an_audit_keeps_the_spaces_of_files_names(spaced, tmp_path):
    for path in write_images(tmp_path / "d", 12):
        path.rename(path.with_name(path.stem + spaced) if path.stem.endswith("0") else path)
    found = open_dataset(tmp_path / "d")
    audit(tmp_path / "d", cache=tmp_path / "c", out=tmp_path / "o")
    again = open_dataset(tmp_path / "o" / "manifest.csv")
    assert sorted(zip(again.paths, again.labels, strict=True)) == sorted(zip(found.paths, found.labels, strict=True))


_cell = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(_cell, min_size=1, max_size=5), max_size=5),
    st.sampled_from(["utf-8", "utf-16", "cp1252"]),
    st.booleans(),
)
def test_any_table_is_read_or_refused_with_a_sentence(tmp_path_factory, rows, encoding, headed):
    place = tmp_path_factory.mktemp("m") / "m.csv"
    text = io.StringIO()
    csv.writer(text).writerows(
        [["path", "label", "split", "group"][: len(rows[0]) if rows else 4], *rows] if headed else rows
    )
    place.write_bytes(text.getvalue().encode(encoding, "replace"))
    with contextlib.suppress(DataError):
        found = open_dataset(place)
        assert len(found.paths) == len(found.labels) == len(found.splits) == len(found.groups) > 0
        featcache.extract(place, "pixels", size=SIZE, cache=place.parent / "c", skip_bad=True)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_for_a_manifest(tmp_path_factory, content):
    place = tmp_path_factory.mktemp("m") / "m.csv"
    place.write_bytes(content)
    with contextlib.suppress(DataError):
        open_dataset(place)
    place.rename(place.with_suffix(".parquet"))
    with contextlib.suppress(DataError):
        open_dataset(place.with_suffix(".parquet"))


_name = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda n: n not in (".", "..")
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_name, _name, st.sampled_from(["image", "text", "pipe", "folder", "link"])), max_size=6))
def test_any_tree_is_read_or_refused_with_a_sentence(tmp_path_factory, entries):
    root = tmp_path_factory.mktemp("tree")
    image = write_images(tmp_path_factory.mktemp("one"), 1)[0]
    for folder, name, kind in entries:
        with contextlib.suppress(OSError):  # the same name twice, or longer than the disk takes
            (root / folder).mkdir(exist_ok=True)
            place = root / folder / name
            if os.path.lexists(place):  # written to twice, a pipe would wait for whoever reads it
                continue
            {
                "image": lambda p: p.write_bytes(image.read_bytes()),
                "text": lambda p: p.write_text("no image"),
                "pipe": os.mkfifo,
                "folder": lambda p: p.mkdir(),
                "link": lambda p: p.symlink_to(root),
            }[kind](place)
    with contextlib.suppress(DataError):
        found = open_dataset(root)
        assert sum(found.ignored_kinds.values()) == len(found.ignored)
        done = featcache.extract(root, "pixels", size=SIZE, cache=tmp_path_factory.mktemp("c"), skip_bad=True)
        assert done.images == len(found) == done.computed + done.copies + done.skipped
