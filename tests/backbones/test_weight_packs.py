"""Weights for machines without internet: packed, proven, placed; and packs that were made to harm."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from legacy_weights import save_legacy
from servers import serving
from surroundings import ROOT

import featcache
from featcache.backbones import imagenet_files, registry, weight_caches, weights
from featcache.errors import UsageError

MOBILENET = "models/mobilenet_1_0_224_tf_no_top.h5"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SNAPSHOT = f"models--owner--net/snapshots/{COMMIT}"
HUB = {"config.json": b'{"model_type": "dinov2"}', "model.safetensors": bytes(range(256)) * 20}


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory) -> Path:
    """Weights of MobileNet in the layout of the published file."""
    path = tmp_path_factory.mktemp("published") / "mobilenet.h5"
    save_legacy(weights.build(registry.get("mobilenet"), 32, weights.parse("random:3")), path)
    return path


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """Empty caches of the houses; called again, those of another machine."""

    def machine(name: str) -> Path:
        for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / name / "keras"))
        monkeypatch.setenv("HF_HOME", str(tmp_path / name / "huggingface"))
        return tmp_path / name

    machine("here")
    return machine


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- packs as they are written by hand: what the format says, without the code that is tested


def network(files: dict[str, bytes], **changes) -> dict:
    listed = [{"file": n, "bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in files.items()]
    plain = {"name": "hf:owner/net", "house": "hub", "source": "owner/net", "commit": COMMIT, "branch": "main"}
    return {**plain, "files": listed, **changes}


def manifest(*networks: dict, **changes) -> bytes:
    return json.dumps({"format": "featcache-weights", "version": 1, "networks": list(networks), **changes}).encode()


def tar(path: Path, text: bytes, members: dict[str, bytes], change=lambda entry: entry) -> Path:
    with tarfile.open(path, "w:", format=tarfile.USTAR_FORMAT) as pack:
        for name, content in {"manifest.json": text, **members}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry = change(entry) if name != "manifest.json" else entry
            pack.addfile(entry, io.BytesIO(content))
        size = pack.offset
    os.truncate(path, size + 1024)  # tarfile fills up to a tape's block
    return path


def members(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"hub/{SNAPSHOT}/{name}": content for name, content in files.items()}


def sound(path: Path) -> Path:
    return tar(path, manifest(network(HUB)), members(HUB))


# ---- what is packed is what is unpacked


def test_weights_go_to_a_machine_without_internet(cli, cli_process, homes, weights_file, images, tmp_path):
    put(homes("online") / "keras" / MOBILENET, weights_file.read_bytes())
    packed = cli("weights", "pack", "mobilenet", "w.tar", "--json")
    assert packed.code == 0, packed.err
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    assert packed.json["digests"] == {f"keras/{MOBILENET}": digest}
    assert packed.json["digest"] == hashlib.sha256((tmp_path / "w.tar").read_bytes()).hexdigest()
    again = cli("weights", "pack", "mobilenet", "again.tar", "--json")
    assert again.json["digest"] == packed.json["digest"]

    offline = homes("offline")
    done = cli("weights", "unpack", "w.tar", "--json")
    assert done.code == 0, done.err
    assert done.json["digests"] == packed.json["digests"]
    assert done.json["placed"] == [str(offline / "keras" / MOBILENET)]
    assert files(offline) == {f"keras/{MOBILENET}": weights_file.read_bytes()}
    assert cli("weights", "unpack", "w.tar", "--json").json["kept"] == done.json["placed"]

    given = ("extract", "--data", images, "--backbone", "mobilenet", "--size", "32", "--weights")
    for cache, source, run in (("a", "imagenet", cli_process), ("b", weights_file, cli)):
        extracted = run(*given, source, "--cache", cache)
        assert extracted.code == 0, extracted.err
    a, b = (featcache.load("mobilenet", data=images, cache=tmp_path / cache) for cache in "ab")
    np.testing.assert_array_equal(a.X, b.X)


def test_without_internet_and_without_weights_nothing_is_packed(cli, homes, tmp_path):
    done = cli("weights", "pack", "mobilenet", "w.tar", "--json")
    assert done.code == 4
    assert "featcache weights pack mobilenet" in done.json["error"]
    assert not (tmp_path / "w.tar").exists()


def test_keras_downloads_what_is_not_here(cli, homes, monkeypatch, tmp_path):
    class Published(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = b"weights" if self.path == f"/{Path(MOBILENET).name}" else b""
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    weights.load_tensorflow()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Published)
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr("keras.src.applications.mobilenet.BASE_WEIGHT_PATH", url)
    with serving(server):
        done = cli("weights", "pack", "mobilenet", "w.tar", "--json")
    assert done.code == 0, done.err
    assert done.json["sources"] == {"mobilenet": url + Path(MOBILENET).name}
    assert files(tmp_path / "here") == {f"keras/{MOBILENET}": b"weights"}


def test_a_file_that_keras_would_not_take_is_not_packed_and_not_deleted(cli, homes, tmp_path):
    path = tmp_path / "here/keras/models/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    put(path, b"other weights")
    done = cli("weights", "pack", "vgg16", "w.tar", "--json")
    assert done.code == 4
    assert "is not the file that Keras wants" in done.json["error"]
    assert path.read_bytes() == b"other weights"


def test_the_size_chooses_among_a_networks_files():
    mobilenet = registry.get("mobilenet")
    assert imagenet_files.imagenet_file(mobilenet).name == Path(MOBILENET).name
    assert imagenet_files.imagenet_file(mobilenet, 128).name == "mobilenet_1_0_128_tf_no_top.h5"
    with pytest.raises(UsageError, match="too small"):
        imagenet_files.imagenet_file(registry.get("xception"), 32)


@pytest.mark.slow
def test_every_network_of_the_table_has_a_file_of_its_own():
    found = [imagenet_files.imagenet_file(row) for row in registry.TABLE.values() if row.keras_name]
    assert len({file.name for file in found}) == len(found) == 40
    assert all("top" in file.name and file.name.endswith(".h5") for file in found)


def test_a_network_of_the_hub_is_placed_with_its_branch(cli, homes, tmp_path):
    done = cli("weights", "unpack", sound(tmp_path / "w.tar"), "--json")
    assert done.code == 0, done.err
    assert done.json["commits"] == {"hf:owner/net": COMMIT}
    wanted = {f"huggingface/hub/{SNAPSHOT}/{name}": content for name, content in HUB.items()}
    wanted["huggingface/hub/models--owner--net/refs/main"] = COMMIT.encode()
    assert files(tmp_path / "here") == wanted


def test_the_hubs_own_client_finds_what_was_unpacked_and_it_is_packed_again(cli, homes, monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or it tries for 12 seconds
    sound(tmp_path / "w.tar")
    assert cli("weights", "unpack", "w.tar").code == 0
    cache = weight_caches.home("hub")
    got = hub.hf_hub_download("owner/net", "config.json", cache_dir=cache, local_files_only=True)
    assert Path(got).read_bytes() == HUB["config.json"]
    done = cli("weights", "pack", "hf:owner/net", "again.tar", "--json")
    assert done.code == 0, done.err
    assert done.json["commits"] == {"hf:owner/net": COMMIT}
    assert set(done.json["digests"]) == set(members(HUB))
    pinned = cli("weights", "pack", f"hf:owner/net@{COMMIT}", "pinned.tar", "--json")
    assert pinned.json["digests"] == done.json["digests"]
    homes("third")
    assert cli("weights", "unpack", "pinned.tar").code == 0
    assert not list((tmp_path / "third").rglob("refs"))  # a commit that was asked for is no branch


@pytest.mark.parametrize(
    ("held", "word"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"pickle"}, "pickled"),
        ({"model.safetensors": b"x"}, "config.json is not in"),
        (
            {
                "config.json": b"{}",
                "model-1.safetensors": b"x",
                "model.safetensors.index.json": (
                    b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
                ),
            },
            "model-2.safetensors is not in",
        ),
    ],
    ids=["pickled", "no config", "half"],
)
def test_what_the_hubs_cache_holds_of_a_network_is_no_whole_one(cli, homes, tmp_path, held, word):
    pytest.importorskip("huggingface_hub")
    for name, content in held.items():
        put(weight_caches.home("hub") / SNAPSHOT / name, content)
    put(weight_caches.home("hub") / "models--owner--net/refs/main", COMMIT.encode())
    done = cli("weights", "pack", "hf:owner/net", "w.tar", "--json")
    assert done.code == 4
    assert word in done.json["error"]
    assert not (tmp_path / "w.tar").exists()


def test_the_hubs_own_client_downloads_at_a_commit(cli_process, homes, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    held = {**HUB, "pytorch_model.bin": b"pickle", "modeling.py": b"raise SystemExit", "onnx/config.json": b"{}"}
    fetched = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            name = path.partition(f"/resolve/{COMMIT}/")[2]
            if path.startswith("/api/models/owner/net/tree/"):
                tree = [
                    {"type": "file", "path": n, "size": len(b), "oid": hashlib.sha1(b).hexdigest()}
                    for n, b in held.items()
                ]
                self.send(json.dumps(tree).encode())
            elif path.startswith("/api/models/owner/net"):
                self.send(json.dumps({"id": "owner/net", "sha": COMMIT, "siblings": []}).encode())
            elif name in held:
                fetched.append(name)
                self.send(held[name], ETag=f'"{hashlib.sha1(held[name]).hexdigest()}"', **{"X-Repo-Commit": COMMIT})
            else:
                self.send_error(404)

        do_HEAD = do_GET  # noqa: N815 - the server's own name

        def send(self, content, **headers):
            self.send_response(200)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    with serving(server):
        done = cli_process("weights", "pack", "hf:owner/net", "w.tar", "--json")
    assert done.code == 0, done.err
    assert done.json["commits"] == {"hf:owner/net": COMMIT}
    assert set(done.json["digests"]) == set(members(HUB))
    assert set(fetched) == set(HUB)


def test_names_that_are_no_networks(cli, homes):
    for name, word in {"xrv:all": "pickled", "pixels": "no weights", "vgg61": "vgg16", "hub:x": "no house"}.items():
        done = cli("weights", "pack", name, "w.tar", "--json")
        assert done.code == 2
        assert word in done.json["error"], name


# ---- what must not happen to a cache


def test_another_file_is_not_overwritten(cli, homes, tmp_path):
    for place in (f"{SNAPSHOT}/config.json", "models--owner--net/refs/main"):
        machine = homes(place.replace("/", "_"))
        put(weight_caches.home("hub") / place, b"mine")
        done = cli("weights", "unpack", sound(tmp_path / "w.tar"), "--json")
        assert done.code == 4
        assert "not overwritten" in done.json["error"]
        assert files(machine) == {f"huggingface/hub/{place}": b"mine"}


def test_a_full_disk_leaves_whole_files_alone(homes, tmp_path):
    sound(tmp_path / "w.tar")
    done = subprocess.run(
        [sys.executable, ROOT / "cli.py", "weights", "unpack", "w.tar", "--json"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000)),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "no room left" in done.stderr
    assert "HF_HOME" in done.stderr
    assert files(tmp_path / "here") == {f"huggingface/hub/{SNAPSHOT}/config.json": HUB["config.json"]}


KILLED = """
import os, signal, sys
from pathlib import Path
from featcache.backbones import weight_packs
count = 0
def watch(frame, event, _):
    global count
    if event == "c_call" and os.path.basename(frame.f_code.co_filename) == "atomic_files.py":
        count += 1
        if count == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(watch)
weight_packs.unpack(Path(sys.argv[1]))
sys.setprofile(None)
print(count)
"""


def test_killed_at_steps_of_unpacking(cli, homes, tmp_path):
    pack = sound(tmp_path / "w.tar")

    def run(step: int) -> subprocess.CompletedProcess:
        program = [sys.executable, "-c", KILLED, pack, str(step)]
        return subprocess.run(program, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)

    whole = homes("whole")
    steps = int(run(0).stdout)
    assert steps > 40
    wanted = files(whole)
    for step in range(2, steps, steps // 5):
        killed = homes(f"killed{step}")
        assert run(step).returncode == -signal.SIGKILL
        held = {name: content for name, content in files(killed).items() if "/.tmp-" not in name}
        assert held.items() <= wanted.items()
        assert not any("/refs/" in name for name in held) or held == wanted
        assert cli("weights", "unpack", pack).code == 0
        assert files(killed).items() >= wanted.items()


# ---- packs that were made to harm


def changed(**changes):
    def change(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        for name, value in changes.items():
            setattr(entry, name, value)
        return entry

    return change


def spoilt(text: bytes | None = None, held: dict[str, bytes] | None = None, change=lambda entry: entry):
    return lambda path: tar(
        path, manifest(network(HUB)) if text is None else text, members(HUB) if held is None else held, change
    )


def of_file(name: str, content: bytes = b"x"):
    return spoilt(manifest(network({name: content})), members({name: content}))


def lying(**changes):
    """A manifest that says something else of its first file."""
    plain = network(HUB)
    plain["files"][0] |= changes
    return spoilt(manifest(plain))


def shortened(path: Path) -> None:
    os.truncate(sound(path), path.stat().st_size - 1500)


def compressed(path: Path) -> None:
    with tarfile.open(path, "w:gz") as pack:
        pack.addfile(tarfile.TarInfo("manifest.json"))


HOSTILE = {
    "a symbolic link": (spoilt(change=changed(type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0)), ""),
    "a hard link": (spoilt(change=changed(type=tarfile.LNKTYPE, linkname="manifest.json", size=0)), ""),
    "a link of the right length": (
        spoilt(
            manifest(network({"a.txt": b""})), members({"a.txt": b""}), changed(type=tarfile.SYMTYPE, linkname="/x")
        ),
        "found a link",
    ),
    "a device": (spoilt(change=changed(type=tarfile.CHRTYPE)), ""),
    "a name that leads out": (of_file("../../x.json"), "a plain name"),
    "an absolute name": (of_file("/etc/x.json"), "a plain name"),
    "a member that leads out": (spoilt(held={"../../evil.json": HUB["config.json"]}), ""),
    "a repository that leads out": (spoilt(manifest(network(HUB, source="../../x"))), "no repository"),
    "a repository that is another": (spoilt(manifest(network(HUB, source="a--b/c"))), "no repository"),
    "a commit that leads out": (spoilt(manifest(network(HUB, commit="../../x"))), "commit"),
    "a branch that leads out": (spoilt(manifest(network(HUB, branch="../x"))), "branch"),
    "a wrong digest": (lying(sha256="0" * 64), "SHA-256"),
    "a digest that is none": (lying(sha256="../x"), "64 hexadecimal digits"),
    "a member more": (spoilt(held=members({**HUB, "more.json": b"{}"})), "more than its manifest lists"),
    "a member less": (spoilt(held=members({"config.json": HUB["config.json"]})), "cut short"),
    "another order": (spoilt(held=members(dict(reversed(HUB.items())))), "found a file called"),
    "a promise of 8 GB": (lying(bytes=(8 << 30) - 1), "cut short"),
    "a promise of more": (lying(bytes=1 << 40), "bytes"),
    "a size of 50 digits": (lying(bytes=10**50), "bytes"),
    "a size of 5000 digits": (
        spoilt(manifest(network(HUB)).replace(b'"bytes": 24', b'"bytes": ' + b"1" * 5000)),
        "expected JSON",
    ),
    "a size below nothing": (lying(bytes=-1), "bytes"),
    "pickled weights": (of_file("pytorch_model.bin"), "pickles and code never are"),
    "code": (of_file("modeling.py"), "pickles and code never are"),
    "a hidden file": (of_file(".netrc"), "a plain name"),
    "a file of another house": (of_file("x.h5"), "none of the files"),
    "one name, two contents": (
        lambda path: tar(
            path, manifest(network({"a.json": b"1"}), network({"a.json": b"2"})), members({"a.json": b"1"})
        ),
        "twice",
    ),
    "one branch, two commits": (
        lambda path: tar(path, manifest(network(HUB), network(HUB, commit="f" * 40)), members(HUB)),
        "two commits",
    ),
    "a house nobody knows": (spoilt(manifest(network(HUB, house="/tmp"))), "house"),
    "a manifest that is a list": (spoilt(b"[1]"), "Expected object"),
    "a manifest that is no text": (spoilt(b"\xff\xfe"), "expected JSON"),
    "a manifest without end": (spoilt(b"[" * 100_000), ""),
    "a manifest of a later version": (spoilt(manifest(network(HUB), version=2)), "newer"),
    "no networks": (spoilt(manifest()), "networks"),
    "a field that nobody knows": (spoilt(manifest(network(HUB, run="rm"))), "run"),
    "half a file": (shortened, "cut short"),
    "something behind the end": (lambda path: path.write_bytes(sound(path).read_bytes() + b"x"), "more than its"),
    "compressed": (compressed, "does not begin"),
    "nothing": (lambda path: path.write_bytes(b""), "does not begin"),
    "a pipe": (os.mkfifo, "is no file"),
}


@pytest.mark.parametrize(("make", "word"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pack_places_nothing(cli, homes, tmp_path, make, word):
    make(tmp_path / "w.tar")
    done = cli("weights", "unpack", "w.tar", "--json")
    assert done.code == 4, done.err
    assert word in done.json["error"]
    assert "Traceback" not in done.err
    assert len(done.json["error"].split()) > 4
    assert not (tmp_path / "here").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"w.tar", "cache"}
