"""Prove a bundle before anything in it is opened.

``bundle.json`` must be as it was written and say what it may, and the folder must hold just the files it names, byte
for byte. See :mod:`heads.bundles.bundle` for the format.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featcache.errors import BundleError
from featcache.system import atomic_files, schema

from . import serialization
from .bundle_schema import FORMATS
from .drawn_pictures import NAMES

VERSION = 4
FORMAT = "featcache-bundle"
ABOUT, TRAINING, NOVELTY = "bundle.json", "training.safetensors", "novelty.safetensors"
SELF_TEST = "self-test.safetensors"  # beside its pictures
HELD_OUT = "held_out.safetensors"  # scores of patients that it did not learn from
WEIGHTS, CONVERTED = "network.safetensors", "network.openvino"  # of the network, one of them
KEY_BYTES = 8  # of each row key that stands in a bundle
AGAIN = "Get the bundle again, or fit anew."
_NAMES = {WEIGHTS, CONVERTED, TRAINING, NOVELTY, HELD_OUT, SELF_TEST, *NAMES, *serialization.FILES}
_LONGEST = 64 << 20  # bytes of bundle.json; isotonic calibration of many rows takes some
_ADDED: dict[str, Any] = {"calibration": None, "threshold": None, "novelty": None, "warnings": []}  # by format 2
# What stands there where there is any: of features of a precision other than float32, of a self-test, and which look at
# the test images the scores were, where it was noted.
_ADDED |= {"precision": None, "self_test": None, "look": None}


def proven(folder: Path) -> dict[str, Any]:
    """What ``bundle.json`` says, once every byte of the bundle is known to be as it was written."""
    if not (folder / ABOUT).is_file():
        raise BundleError(f"{folder}: no bundle here ({ABOUT} is missing); expected a folder that fit-head has made")
    where = str(folder / ABOUT)
    if (folder / ABOUT).stat().st_size > _LONGEST:
        raise BundleError(f"{where}: longer than {_LONGEST >> 20} MB, which no bundle's description is. {AGAIN}")
    text = (folder / ABOUT).read_bytes()
    about = schema.parse(text, where, AGAIN, BundleError)
    if not isinstance(about, dict) or about.get("format") != FORMAT or type(about.get("version")) is not int:
        raise BundleError(f"{where}: not the description of a bundle. {AGAIN}")
    if about["version"] < 1:
        raise BundleError(f"{where}: there is no format {about['version']}. {AGAIN}")
    if about["version"] > VERSION:
        raise BundleError(f"{folder}: written in format {about['version']}, this version reads {VERSION}: upgrade")
    plain = {key: value for key, value in about.items() if key != "digest"}
    try:
        aswritten = written(about) == text and about.get("digest") == digest(plain)
    except UnicodeEncodeError:  # half a character, which no writer of ours lets through
        aswritten = False
    if not aswritten:
        raise BundleError(f"{where}: changed since it was written; get the bundle again, or fit anew")
    schema.check(about, FORMATS[about["version"]], where, AGAIN, BundleError)
    files = about["files"]
    strange = sorted(name for name in files if name not in _NAMES and not serialization.OF_LABEL.fullmatch(name))
    if strange:
        raise BundleError(f"{folder}: names {', '.join(strange)}, which no bundle holds; it is not opened")
    for entry in os.scandir(folder):
        if entry.name != ABOUT and (entry.name not in files or not entry.is_file(follow_symlinks=False)):
            raise BundleError(
                f"{folder}: holds {entry.name}, which its description does not name; it is not opened. Remove it if "
                "you know where it came from, else get the bundle again"
            )
    for name, wanted in files.items():
        if not (folder / name).is_file():
            raise BundleError(f"{folder}: {name} is missing")
        if atomic_files.sha256_file(folder / name) != wanted:
            raise BundleError(
                f"{folder / name}: damaged or exchanged (its SHA-256 is not the one recorded); get it again, or fit "
                "anew"
            )
    # Before format 4 all tasks were of classes.
    learns = {"kind": "classes", "task": "binary" if len(about["classes"]) == 2 else "multiclass", "classes": None}
    return {**_ADDED, "learns": learns, **about}


def written(values: Mapping[str, Any]) -> bytes:
    """The one way in which ``bundle.json`` is written."""
    return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of what ``bundle.json`` says, itself left out."""
    return hashlib.sha256(written(values)).hexdigest()
