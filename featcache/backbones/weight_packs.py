"""Weights for machines without internet: packed into one file where there is some, unpacked into the houses' caches."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError, WeightsError
from ..system import atomic_files
from ..system.write_access import require_writable
from . import weight_caches, weight_pack_file
from .weight_pack_file import LARGEST, PackedFile, PackedNetwork

_ONE_FILE = "give the name of one file to write, such as weights.tar"


@dataclass(frozen=True)
class Packed:
    """What a pack holds: its own SHA-256, hex, and its networks."""

    file: Path
    digest: str
    networks: tuple[PackedNetwork, ...]


@dataclass(frozen=True)
class Unpacked(Packed):
    """What became of a pack: files that were written, and files that were there already, with the same bytes."""

    placed: tuple[Path, ...]
    kept: tuple[Path, ...]


def pack(names: Sequence[str], file: Path, size: int | None = None) -> Packed:
    """Write the weights of networks to one file, whole or not at all.

    What is in the cache of its house is taken from there; the rest is downloaded into it by the house's own means.

    Parameters
    ----------
    names : of the table, ``hf:NAME[@COMMIT]`` or ``timm:NAME``.
    file : to write, replacing what stood there.
    size : side of the square input in pixels; some of Keras' networks have a file of weights for each.

    Raises
    ------
    UsageError
        There is no such network, or no such place to write.
    WeightsError
        Weights are neither on this machine nor to be downloaded.
    StoreError
        The disk is full or refuses.
    """
    if not names or not all(name.strip() for name in names):
        raise UsageError("names of networks are missing; expected such as vgg16,hf:facebook/dinov2-small")
    names = list(dict.fromkeys(name.strip() for name in names))
    for name in names:
        weight_caches.require_name(name)
    if file.is_dir():
        raise UsageError(f"{file} is a folder; {_ONE_FILE}")
    require_writable(file.parent, "FILE")
    networks: list[PackedNetwork] = []
    sources: dict[str, Path] = {}
    for name in names:
        found = weight_caches.find(name, size)
        network = PackedNetwork(
            name, found.house, found.source, found.commit, found.branch, [_listed(path) for path in found.paths]
        )
        networks.append(network)
        sources |= {network.member(listed): path for listed, path in zip(network.files, found.paths, strict=True)}
    return Packed(file, weight_pack_file.write(file, networks, sources), tuple(networks))


def _listed(path: Path) -> PackedFile:
    bytes_ = path.stat().st_size
    if bytes_ > LARGEST:
        raise WeightsError(f"{path}: {bytes_:,} bytes; a pack carries files of up to {LARGEST:,}")
    return PackedFile(path.name, bytes_, atomic_files.sha256_file(path))


def unpack(file: Path) -> Unpacked:
    """Place the weights of a pack in the caches of their houses, once every byte of it is proven.

    A file that is there already is left as it is; where it is another than the pack's, nothing is placed. Each file is
    written whole or not at all, and what names a commit of the hub comes last.

    Raises
    ------
    WeightsError
        The file is no sound pack, or other files stand in its files' places.
    StoreError
        The disk is full or refuses; what was placed before is whole.
    """
    pack = weight_pack_file.read(file)
    places = list(_places(pack))
    here = [place for place in places if place.is_here()]
    others = [place for place in places if place not in here and os.path.lexists(place.path)]
    if others:
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        raise WeightsError(
            f"{others[0].path}{more}: something else is there already, and is not overwritten; nothing was unpacked. "
            f"Expected no file, or the pack's own: move it away. {weight_caches.choice_of(others[0].house)}"
        )
    missing = [place for place in places if place not in here]
    for place in missing:
        atomic_files.write_blocks(place.path, place.blocks(), place.sha256, weight_caches.choice_of(place.house))
    placed, kept = (tuple(place.path for place in some) for some in (missing, here))
    return Unpacked(pack.path, pack.digest, pack.networks, placed, kept)


@dataclass(frozen=True)
class _Place:
    """A file of a cache as a pack wants it."""

    house: str
    path: Path
    length: int
    sha256: str
    blocks: Callable[[], Iterable[bytes]]

    def is_here(self) -> bool:
        return (
            self.path.is_file()
            and self.path.stat().st_size == self.length
            and atomic_files.sha256_file(self.path) == self.sha256
        )


def _places(pack: weight_pack_file.Pack) -> Iterator[_Place]:
    """Where each file of a pack belongs, once; then what says which commit a branch stands for."""
    for member, (packed, _) in pack.members.items():
        house, _, place = member.partition("/")
        path = weight_caches.home(house) / place
        yield _Place(house, path, packed.bytes, packed.sha256, functools.partial(pack.blocks, member))
    named = {network.branch_file(): network.commit.encode() for network in pack.networks if network.branch}
    for place, commit in named.items():
        path = weight_caches.home("hub") / place
        yield _Place("hub", path, len(commit), hashlib.sha256(commit).hexdigest(), functools.partial(iter, (commit,)))
