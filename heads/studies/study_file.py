"""``study.toml``: what a study is asked for, and what it was made of.

``[study]`` holds the settings, and is all that a file written by hand needs; ``[made]`` what a study has written down
when it was done: digests of the images and of the networks, so that the next one can say what is no longer the same.
Places in it count from the file's own folder. Every name and type is checked where the file is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w

from featcache.data import filesystems
from featcache.errors import DataError, UsageError
from featcache.system import atomic_files
from featcache.system.user_paths import expanded

FILE = "study.toml"  # its name in a study's folder
_HEAD = """\
# A study of featcache: featcache study study.toml does the same again, and says what is no longer the same.
# [study] is what was asked for, [made] what it was made of.

"""
_Name = Annotated[str, msgspec.Meta(min_length=1)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a study is asked for; see :func:`heads.study`.

    ``data`` None is the built-in sample, ``baselines`` None all of them, ``classes`` None the task's own, ``pooling``
    None each step's own. ``images_below``, ``metadata`` and ``headers`` say how the data is read, as of
    :class:`featcache.DataSource`.
    """

    data: _Name | None = None
    backbones: Annotated[tuple[_Name, ...], msgspec.Meta(min_length=1)] = ("vgg16",)
    weights: _Name = "imagenet"
    size: Annotated[int, msgspec.Meta(ge=1)] | None = None
    preprocess: Literal["model", "rescale"] = "model"
    task: _Name = "multiclass"
    classes: tuple[_Name, ...] | None = None
    group_regex: str | None = None
    against: _Name | None = None
    pooling: Literal["flatten", "avg", "max", "cls"] | None = None
    baselines: tuple[_Name, ...] | None = None
    grid: bool = False
    skip_bad: bool = False
    images: bool = True
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    memory: _Name | None = None
    images_below: _Name | None = None
    metadata: tuple[_Name, ...] = ()
    headers: bool = True


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some labelled images: how many, and a digest of their bytes, labels, splits and groups, whatever their names."""

    images: int
    digest: str


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A backbone as it was used."""

    backbone: str
    feature_set: str
    weights: str
    weights_digest: str


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a study was made of, and where it wrote."""

    featcache: str
    finished: str
    folder: str
    html: str
    verdict: str
    data: Images
    against: Images | None = None
    networks: tuple[Network, ...] = ()
    steps: dict[str, str] = {}  # folder of each, below the study's


class StudyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    study: Settings
    made: Made | None = None


def read_study(path: str | os.PathLike[str]) -> StudyFile:
    """Read a study file; relative places in it become absolute.

    Raises
    ------
    DataError
        There is no such file, it is no TOML, or a name or a type in it is not what it has to be.
    """
    place = expanded(path).absolute()
    try:
        file = msgspec.convert(tomllib.loads(place.read_text("utf-8")), StudyFile)
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror or error}); expected a study.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: not TOML ({error}); expected what study writes as study.toml") from error
    except msgspec.ValidationError as error:
        known = ", ".join(Settings.__struct_fields__)
        raise DataError(f"{place}: {error}. Expected [study] with some of: {known}") from error
    return StudyFile(absolute(file.study, place.parent), file.made)


def write_study(path: Path, file: StudyFile) -> None:
    """Write a study file, whole or not at all; read back it says the same."""
    text = tomli_w.dumps(_present(msgspec.to_builtins(file)), multiline_strings=False)
    atomic_files.write_bytes(path, (_HEAD + text).encode())


def absolute(settings: Settings, beside: Path) -> Settings:
    """The settings with every relative place counted from this folder."""

    def whole(place: str | None) -> str | None:
        if place is None or filesystems.is_url(place):
            return place
        return os.path.abspath(beside / expanded(place))

    file = settings.weights not in ("imagenet", "random") and not settings.weights.startswith("random:")
    weights = whole(settings.weights) if file else settings.weights
    return msgspec.structs.replace(
        settings,
        data=whole(settings.data),
        images_below=whole(settings.images_below),
        against=whole(settings.against),
        weights=weights,
    )


def checked(values: dict[str, Any]) -> Settings:
    """Settings from plain values.

    Raises :class:`UsageError` for an unknown name or a value of the wrong kind.
    """
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise UsageError(f"study: {error}; the settings are {', '.join(Settings.__struct_fields__)}") from error


def digest_of(values: Any) -> str:
    """SHA-256 of plain values, hex."""
    text = json.dumps(msgspec.to_builtins(values), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(then: Made, now: Made) -> list[str]:
    """What is no longer as it was, one sentence each."""
    changes = []
    if then.featcache != now.featcache:
        changes.append(f"featcache is {now.featcache}, it was {then.featcache}")
    changes += _other("images", then.data, now.data)
    if then.against and now.against:
        changes += _other("images to judge by", then.against, now.against)
    before = {network.backbone: network for network in then.networks}
    for network in now.networks:
        old = before.get(network.backbone)
        if old is not None and old.weights_digest != network.weights_digest:
            changes.append(
                f"{network.backbone} has {network.weights} weights of digest {network.weights_digest[:8]}, they were "
                f"{old.weights} of {old.weights_digest[:8]}"
            )
        elif old is not None and old.feature_set != network.feature_set:
            changes.append(f"the features of {network.backbone} are {network.feature_set}, they were {old.feature_set}")
    return changes


def _other(what: str, then: Images, now: Images) -> list[str]:
    if then.digest == now.digest:
        return []
    if then.images != now.images:
        return [f"there are {now.images:,} {what}, there were {then.images:,}"]
    return [f"the {now.images:,} {what} are others, or have other labels, splits or groups"]


def _present(values: Any) -> Any:
    """Without what is None, which TOML has no word for."""
    if isinstance(values, dict):
        return {name: _present(value) for name, value in values.items() if value is not None}
    return [_present(value) for value in values] if isinstance(values, list | tuple) else values
