"""The file in which Keras has a network's ImageNet weights: which one it is, and how it is had."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from ..errors import UsageError, WeightsError
from ..system.write_access import require_writable
from .registry import Backbone
from .tensorflow_setup import load_tensorflow
from .weight_recipes import how_to_get
from .weights import NETWORK_TIMEOUT, seeded

FOLDER = "models"  # in Keras' cache


@dataclass(frozen=True)
class ImagenetFile:
    """A file as Keras asks for it: its name, its URL, and the MD5 or SHA-256 that it wants, where it wants one."""

    name: str
    url: str
    check: str | None


class _Asked(Exception):  # noqa: N818
    """Carries what was asked for out of the building of a network."""


def imagenet_file(backbone: Backbone, size: int | None = None) -> ImagenetFile:
    """The file that Keras loads for ``weights="imagenet"``, without its top, for a side of the input in pixels.

    Keras is asked, and not a list of ours: names and hashes are its releases' own. Nothing is read or downloaded.

    Raises :class:`UsageError` for a backbone without weights, or a size below its minimum.
    """
    if not backbone.keras_name:
        raise UsageError(f"{backbone.name} has no weights to pack")
    size = backbone.size if size is None else size
    if size < backbone.min_size:
        raise UsageError(f"--size {size} is too small for {backbone.name}; it takes at least {backbone.min_size}")
    _, keras = load_tensorflow()
    from keras.src.utils import file_utils

    def asked(name: str, url: str, file_hash: str | None = None, **_: Any) -> None:
        raise _Asked(ImagenetFile(name, url, file_hash))

    construct = getattr(keras.applications, backbone.keras_name)
    with seeded(0), mock.patch.object(file_utils, "get_file", asked):
        try:
            construct(weights="imagenet", include_top=False, input_shape=(size, size, 3))
        except _Asked as found:
            file: ImagenetFile = found.args[0]
            return file
    raise WeightsError(f"{backbone.name}: this release of Keras ({keras.__version__}) names no file of its weights")


def get(file: ImagenetFile, backbone: Backbone, home: Path) -> Path:
    """The file in Keras' cache, downloaded by Keras where it is not there yet.

    Raises :class:`WeightsError` where it cannot be had, or is another than Keras wants; it is left as it is then.
    """
    _, keras = load_tensorflow()
    path = home / FOLDER / file.name
    if path.is_file():
        if file.check and _hash(path, len(file.check)) != file.check:
            # Keras would delete it, and then fail to download it.
            raise WeightsError(
                f"{path}: is not the file that Keras wants there (its hash is not {file.check[:12]}…); remove it, "
                "and run the same command again with internet"
            )
        return path
    require_writable(home, "KERAS_HOME")
    home.mkdir(parents=True, exist_ok=True)  # where it is missing, Keras takes a folder that all users share
    try:
        with _patient():
            got = keras.utils.get_file(
                file.name, file.url, cache_subdir=FOLDER, cache_dir=str(home), file_hash=file.check
            )
            return Path(got)
    except Exception as error:  # Keras raises a bare Exception when it cannot download
        raise WeightsError(
            f"{backbone.name}: its ImageNet weights are not on this machine ({path}) and cannot be downloaded from "
            f"{file.url}.\n{how_to_get(backbone.name)}"
        ) from error


def _hash(path: Path, digits: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5" if digits == 32 else "sha256").hexdigest()


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
