"""The file that carries weights to a machine without internet: its format, and the proof that it is whole.

It is a tar that any program for tars shows: ``manifest.json``, then each file that the manifest lists, in its order,
and nothing else. The manifest decides every other byte but the files' own, so nothing of a tar is ever interpreted: a
header is either the one that the manifest calls for, or the file is refused. Links, devices, long names and whatever
else a tar may hold are not understood here. Nothing is compressed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import msgspec
from msgspec import Meta

from ..errors import WeightsError
from ..system import atomic_files, schema
from ..system.plain_text import printable

FORMAT, VERSION = "featcache-weights", 1  # raise the version where an older reader would misread a file
HOUSES = ("keras", "hub")
ENDINGS = {"keras": (".h5",), "hub": (".safetensors", ".json", ".txt")}  # no pickles, and no code
REPOSITORY = r"\A[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?\Z"
COMMIT = r"\A[0-9a-f]{40}\Z"
LARGEST = (8 << 30) - 1  # bytes of a file; a tar's plain header has room for no more
BRANCH = "main"
_MANIFEST = "manifest.json"
_LONGEST = 4 << 20  # bytes of a manifest
_UNIT = 512  # bytes: headers and files of a tar begin at multiples of it
_END = bytes(2 * _UNIT)
_BLOCK = 1 << 22
_ADVICE = "Pack the weights again with 'featcache weights pack'; nothing was unpacked"


class PackedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a network: its name in its house's cache, its length in bytes, its SHA-256."""

    file: schema.FileName
    bytes: Annotated[int, Meta(ge=0, le=LARGEST)]
    sha256: schema.Digest


class PackedNetwork(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network as it was packed.

    Attributes
    ----------
    name : as it was asked for.
    house : whose cache the files are from: ``keras``, or ``hub`` for Hugging Face's.
    source : where the house has them: a URL, or a repository of the hub.
    commit : of the repository; empty for Keras.
    branch : the one that the commit stood for, empty where it was asked for by itself.
    files : at least one.
    """

    name: schema.Line
    house: Literal[HOUSES]  # type: ignore[valid-type]
    source: schema.Line
    commit: Annotated[str, Meta(pattern=r"\A(?:[0-9a-f]{40})?\Z")]
    branch: Literal["", BRANCH]  # type: ignore[valid-type]
    files: Annotated[list[PackedFile], Meta(min_length=1, max_length=1000)]

    def folder(self) -> str:
        """Where its files lie, from the root of the house's cache."""
        return f"{self._repository()}/snapshots/{self.commit}" if self.house == "hub" else "models"

    def branch_file(self) -> str:
        """What says which commit its branch stands for, from the root of the hub's cache."""
        return f"{self._repository()}/refs/{self.branch}"

    def _repository(self) -> str:
        return f"models--{self.source.replace('/', '--')}"

    def member(self, packed: PackedFile) -> str:
        """The name of a file in the tar: the house, and the place in its cache."""
        return f"{self.house}/{self.folder()}/{packed.file}"


class _Manifest(msgspec.Struct, forbid_unknown_fields=True):
    format: Literal[FORMAT]  # type: ignore[valid-type]
    version: Annotated[int, Meta(ge=1, le=1 << 31)]
    networks: Annotated[list[PackedNetwork], Meta(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Pack:
    """A pack that has been proven whole.

    Attributes
    ----------
    path : the file.
    digest : its SHA-256, hex.
    networks : what its manifest lists.
    members : each file by its name in the tar, with where it begins.
    """

    path: Path
    digest: str
    networks: tuple[PackedNetwork, ...]
    members: dict[str, tuple[PackedFile, int]]

    def blocks(self, member: str) -> Iterator[bytes]:
        """The content of a file, some of it at a time."""
        packed, start = self.members[member]
        with self.path.open("rb") as file:
            file.seek(start)
            yield from _blocks(file, packed.bytes)


def write(path: Path, networks: list[PackedNetwork], sources: dict[str, Path]) -> str:
    """Write a pack durably; the same files make the same bytes. Returns its SHA-256, hex.

    Parameters
    ----------
    path : the file to write, replacing what stood there.
    networks : what it is to hold.
    sources : where each file is, by its name in the tar.

    Raises
    ------
    StoreError
        The disk is full or refuses.
    WeightsError
        A file has changed since it was listed, or has a name that is too long.
    """
    manifest = _Manifest(FORMAT, VERSION, networks)
    text = json.dumps(msgspec.to_builtins(manifest), indent=1).encode()

    def content() -> Iterator[bytes]:
        yield _header(_MANIFEST, len(text))
        yield text + _padding(len(text))
        for member, packed in _members(networks, "the pack").items():
            yield _header(member, packed.bytes)
            found = hashlib.sha256()
            with sources[member].open("rb") as file:
                for block in _blocks(file, packed.bytes):
                    found.update(block)
                    yield block
            if found.hexdigest() != packed.sha256:
                raise WeightsError(f"{sources[member]}: changed while it was packed; run the same command again")
            yield _padding(packed.bytes)
        yield _END

    return atomic_files.write_blocks(path, content(), elsewhere="Give another FILE to write.")


def read(path: Path) -> Pack:
    """Prove a pack, which anybody may have made: its manifest, the name and length of every file, and every byte.

    Raises :class:`WeightsError` where it is anything but what :func:`write` writes.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise WeightsError(f"{path}: is no file; expected a pack that 'featcache weights pack' wrote")
        with path.open("rb") as file:
            return _Reader(path, file).pack()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); expected a pack of weights") from error


class _Reader:
    """Reads a pack from its beginning to its end, once."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._size = os.fstat(file.fileno()).st_size
        self._total = hashlib.sha256()

    def pack(self) -> Pack:
        networks = self._manifest()
        files = _members(networks, str(self._path))
        wanted = self._file.tell() + sum(_UNIT + one.bytes + len(_padding(one.bytes)) for one in files.values())
        wanted += len(_END)
        if wanted != self._size:
            what = "is cut short" if self._size < wanted else "holds more than its manifest lists"
            raise self._refusal(f"{what}: {self._size:,} bytes, expected {wanted:,}")
        members = {}
        for name, packed in files.items():
            self._expect(_header(name, packed.bytes), name)
            members[name] = (packed, self._file.tell())
            found = hashlib.sha256()
            for block in _blocks(self._file, packed.bytes):
                found.update(block)
                self._total.update(block)
            if found.hexdigest() != packed.sha256:
                raise self._refusal(
                    f"{name} has the SHA-256 {found.hexdigest()[:12]}…, its manifest says {packed.sha256[:12]}…"
                )
            self._expect(_padding(packed.bytes), f"nothing behind {name}")
        self._expect(_END, "the end")
        return Pack(self._path, self._total.hexdigest(), tuple(networks), members)

    def _manifest(self) -> list[PackedNetwork]:
        head = self._file.read(_UNIT)
        try:
            size = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape").size
            sound = 0 < size <= _LONGEST and head == _header(_MANIFEST, size)
        except tarfile.HeaderError:
            sound = False
        if not sound:
            raise self._refusal(f"does not begin with {_MANIFEST} as packs do")
        self._total.update(head)
        text = self._file.read(size)
        self._total.update(text)
        self._expect(_padding(size), f"nothing behind {_MANIFEST}")
        where = f"{self._path}: {_MANIFEST}"
        value = schema.parse(text, where, _ADVICE, WeightsError)
        version = value.get("version") if isinstance(value, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise WeightsError(f"{where}: of version {version}, this featcache reads {VERSION}; install a newer one")
        schema.check(value, _Manifest, where, _ADVICE, WeightsError)
        networks = msgspec.convert(value, _Manifest).networks
        for network in networks:
            fault = _fault(network)
            if fault:
                raise self._refusal(f"{_MANIFEST}: {network.name}: {fault}")
        branches = {(network.branch_file(), network.commit) for network in networks if network.branch}
        if len(dict(branches)) < len(branches):
            raise self._refusal(f"{_MANIFEST}: a branch stands for two commits")
        return networks

    def _expect(self, wanted: bytes, what: str) -> None:
        found = self._file.read(len(wanted))
        if found != wanted:
            raise self._refusal(f"expected {what}, found {_described(found)}")
        self._total.update(found)

    def _refusal(self, fault: str) -> WeightsError:
        return WeightsError(f"{self._path}: not a sound pack of weights: {printable(fault, lines=False)}. {_ADVICE}")


def _fault(network: PackedNetwork) -> str:
    """What is wrong with a network that the types of its fields let pass; empty where nothing is."""
    hub = network.house == "hub"
    if hub != bool(network.commit) or (network.branch and not hub):
        return "a commit goes with the hub, and with nothing else"
    if hub and not is_repository(network.source):
        return f"{network.source[:100]!r} is no repository of the hub"
    endings = ENDINGS[network.house]
    odd = [packed.file for packed in network.files if not packed.file.endswith(endings)]
    if odd:
        return f"{odd[0]!r} is none of the files that are carried ({', '.join(endings)}); pickles and code never are"
    return ""


def is_repository(name: str) -> bool:
    """Whether a repository of the hub can have this name."""
    # "--" stands for "/" in the cache, and two dots lead out of it.
    return re.search(REPOSITORY, name) is not None and "--" not in name and ".." not in name


def _members(networks: list[PackedNetwork], where: str) -> dict[str, PackedFile]:
    """Each file once, by its name in the tar: two networks may share some."""
    members: dict[str, PackedFile] = {}
    for network in networks:
        for packed in network.files:
            if members.setdefault(network.member(packed), packed) != packed:
                raise WeightsError(f"{where}: lists {network.member(packed)} twice, and not the same. {_ADVICE}")
    return members


def _header(name: str, size: int) -> bytes:
    """The only header that a file of this name and length may have."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    try:
        return entry.tobuf(tarfile.USTAR_FORMAT)
    except ValueError as error:  # a name of more than 255 bytes
        raise WeightsError(f"{printable(name, lines=False)}: too long a name for a pack ({error})") from error


def _padding(size: int) -> bytes:
    return bytes(-size % _UNIT)


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (block := file.read(min(size, _BLOCK))):
        size -= len(block)
        yield block


def _described(block: bytes) -> str:
    """What a tar's header, or what stands in its place, says of itself."""
    try:
        found = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return "other bytes"
    kind = "a link" if found.issym() or found.islnk() else "a file" if found.isreg() else "no plain file"
    return f"{kind} called {found.name[:100]!r} of {found.size:,} bytes"
