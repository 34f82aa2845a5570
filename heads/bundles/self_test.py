"""A bundle's self-test: drawn pictures, and what each step made of them on the machine that the bundle was made on.

::

    self-test-0.picture …    the pictures, of nobody (heads.bundles.drawn_pictures)
    self-test.safetensors    what each step gave of them: decoded pixels of each picture; the squares; of a network what
                             its first layer is given (heads.bundles.input_tables) and the rows; the answers

``bundle.json`` has under ``self_test`` the ``pictures`` by name, the ``steps`` that were gone through, what they were
``made_by`` (names and versions), and where there are fewer steps than a bundle has, why (``missing``). A bundle without
``self_test`` has none of the files: those before it, and those of programs that leave it out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featcache.errors import BundleError, FeatcacheError, WeightsError
from featcache.spec import FeatureSpec
from featcache.store.store import Store
from featcache.system import atomic_files, tensor_files

from .drawn_pictures import NAMES, drawn_pictures
from .input_tables import packed, unpacked
from .integrity import SELF_TEST
from .made_by import made_by
from .steps import NetworkInTwo, decoded, pooled, resized

_log = logging.getLogger(__name__)
STEPS = ("decoding", "resizing", "scaling", "network", "head")
_OF_PIXELS, _ALONE = ("decoding", "resizing", "head"), ("decoding", "resizing")
_ROOM = 4 << 20  # bytes of squares: three up to 682 pixels, fewer of larger ones, one at least
_LARGEST_FILE, _LARGEST_PICTURE = 1 << 20, 1 << 20  # bytes; pixels


@dataclass(frozen=True)
class SelfTest:
    """Pictures, and what each step made of them.

    Attributes
    ----------
    files : the pictures' bytes, by name.
    pixels : of each, (height, width) or (height, width, 3), uint8, or float32 of 0 to 255.
    squares : uint8 of shape (n, size, size, 3).
    scaled : what the first layer was given, n rows; None where no network was gone through.
    rows : what the head saw, n rows; None likewise, unless the squares are the rows.
    outputs : the answers, calibrated, n rows; None where there were no rows.
    made_by : versions by name.
    missing : why steps are missing; None where none is.
    """

    files: Mapping[str, bytes]
    pixels: list[np.ndarray]
    squares: np.ndarray
    scaled: np.ndarray | None
    rows: np.ndarray | None
    outputs: np.ndarray | None
    made_by: Mapping[str, str]
    missing: str | None

    @property
    def steps(self) -> tuple[str, ...]:
        """Those that were gone through, in order."""
        if self.outputs is None:
            return _ALONE
        return _OF_PIXELS if self.scaled is None else STEPS

    def write(self, folder: Path) -> dict[str, Any]:
        """Write its files; returns what ``bundle.json`` says of it."""
        for name, data in self.files.items():
            atomic_files.write_bytes(folder / name, data)
        tensors = [*self.pixels, self.squares]
        if self.scaled is not None and self.rows is not None:
            tensors += [self.rows, *packed(self.scaled, self.squares)]
        if self.outputs is not None:
            tensors.append(self.outputs)
        tensor_files.write_tensors(folder / SELF_TEST, tensors)
        return {
            "pictures": list(self.files),
            "steps": list(self.steps),
            "made_by": dict(self.made_by),
            "missing": self.missing,
        }


def recorded(
    spec: FeatureSpec,
    pooling: str,
    network: Path | None,
    digest: str,
    model: str,
    answers: Callable[[np.ndarray], np.ndarray],
    store: Store,
) -> SelfTest:
    """Go through the steps here.

    Parameters
    ----------
    spec, pooling : of the bundle.
    network : its file; None where it has none.
    digest : SHA-256 of that file, hex.
    model : the kind of the model, as ``bundle.json`` has it.
    answers : from rows to the model's answers, calibrated.
    store : keeps what the network gave, since it is the same for every bundle of a feature set.
    """
    count = max(1, min(len(NAMES), _ROOM // (3 * spec.size**2)))
    files = dict(zip(NAMES[:count], drawn_pictures(), strict=False))
    pixels = [decoded(data) for data in files.values()]
    squares = np.stack([resized(each, spec) for each in pixels])
    scaled = rows = outputs = None
    runtime: str | None = None
    missing = None
    if spec.backbone == "pixels":
        rows = pooled({"map": squares}, spec, pooling)
    elif network is None:
        missing = "the bundle holds no network"
    else:
        try:
            scaled, arrays, runtime = _through_network(spec, network, digest, squares, store)
            rows = pooled(arrays, spec, pooling)
        except (FeatcacheError, RuntimeError, MemoryError) as error:  # none of which keeps a model from being kept
            missing = f"the network could not be run where it was made: {' '.join(str(error).split())[:300]}"
            scaled = None
    if rows is not None:
        outputs = answers(rows)
        if not (np.isfinite(rows).all() and np.isfinite(outputs).all()):
            scaled = rows = outputs = None
            missing = "the network or the model gave what are no numbers"
    if missing is not None:
        _log.info("self-test of the bundle: %s", missing)
    return SelfTest(
        files=files,
        pixels=pixels,
        squares=squares,
        scaled=scaled,
        rows=None if scaled is None else rows,
        outputs=outputs,
        made_by=made_by(runtime, model),
        missing=None if missing is None else "".join(c if c.isprintable() else "?" for c in missing),
    )


def _through_network(
    spec: FeatureSpec, network: Path, digest: str, squares: np.ndarray, store: Store
) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """What the first layer is given, the arrays, and what computed them; found in the cache where it stands there."""
    name = network.name.partition(".")[2]
    runtime = {"openvino": "openvino", "safetensors": "tensorflow"}[name]
    place = store.converted(spec).with_suffix(f".{spec.hex}.self-test")
    # The very network, pictures and surroundings: anything else is computed anew.
    about = json.dumps([digest, spec.hex, hashlib.sha256(squares.data).hexdigest(), made_by(runtime, "dense")])
    wanted = np.frombuffer(hashlib.sha256(about.encode()).digest(), np.uint8)
    if place.exists():
        try:
            held, *tensors = tensor_files.read_tensors(place)
            if np.array_equal(held, wanted) and len(tensors) == 1 + len(spec.arrays):
                return tensors[0], dict(zip(spec.arrays, tensors[1:], strict=True)), runtime
        except (WeightsError, ValueError) as error:
            _log.debug("%s; computed anew", error)
    parts = NetworkInTwo(spec, network)
    scaled = parts.scale(squares)
    arrays = parts.features(scaled)
    with contextlib.suppress(FeatcacheError, OSError):  # a cache may be one that is only read
        tensor_files.write_tensors(place, [wanted, scaled, *(arrays[name] for name in spec.arrays)])
    return scaled, arrays, parts.runtime


def read_self_test(folder: Path, about: Mapping[str, Any] | None, spec: FeatureSpec) -> SelfTest:
    """Read what :meth:`SelfTest.write` wrote into a bundle that was proven; ``about`` is what ``bundle.json`` says.

    Raises :class:`BundleError` where there is none, or what is there cannot be of such pictures.
    """
    if about is None:
        raise BundleError(
            f"{folder}: this bundle carries no pictures to test itself by, as those of earlier versions; save it anew "
            "with fit-head, baselines or grid"
        )
    names, steps = list(about["pictures"]), tuple(about["steps"])
    for name in names:
        if (folder / name).stat().st_size > _LARGEST_FILE:
            raise BundleError(f"{folder / name}: larger than {_LARGEST_FILE:,} bytes, which no picture of a bundle is")
    files = {name: (folder / name).read_bytes() for name in names}
    try:
        tensors = tensor_files.read_tensors(folder / SELF_TEST)
        return _checked(files, tensors, steps, about, spec)
    except (BundleError, WeightsError) as error:
        raise BundleError(f"{folder / SELF_TEST}: {error}") from error


def _checked(
    files: Mapping[str, bytes],
    tensors: list[np.ndarray],
    steps: tuple[str, ...],
    about: Mapping[str, Any],
    spec: FeatureSpec,
) -> SelfTest:
    count, through = len(files), "scaling" in steps
    if steps not in (_ALONE, _OF_PIXELS if spec.backbone == "pixels" else STEPS):
        raise BundleError(f"the steps {', '.join(steps)}, which no self-test of {spec.network} has")
    least = count + 1 + (2 if through else 0) + ("head" in steps)
    if len(tensors) < least:
        raise BundleError(f"{len(tensors)} tensors; expected {least} at least")
    pixels, squares, rest = tensors[:count], tensors[count], tensors[count + 1 :]
    for each in pixels:
        plain = each.dtype == np.uint8 and (each.ndim == 2 or (each.ndim == 3 and each.shape[2] == 3))
        grey = each.dtype == np.float32 and each.ndim == 2 and bool(((each >= 0) & (each <= 255)).all())
        if not (plain or grey) or not 0 < each.shape[0] * each.shape[1] <= _LARGEST_PICTURE:
            raise BundleError(f"a picture of {each.dtype}, shape {each.shape}, or with levels that are none")
    if squares.dtype != np.uint8 or squares.shape != (count, spec.size, spec.size, 3):
        raise BundleError(f"squares of {squares.dtype}, shape {squares.shape}; expected {count} of {spec.size} pixels")
    outputs = rest.pop() if "head" in steps else None
    rows = scaled = None
    if through:
        rows, scaled = rest[0], unpacked(rest[1:], squares)
    elif rest:
        raise BundleError(f"{len(rest)} tensors more than its steps have")
    for name, values in (("rows", rows), ("answers", outputs)):
        if values is not None and (
            values.ndim < 1 or len(values) != count or values.dtype.kind not in "fu" or not np.isfinite(values).all()
        ):
            raise BundleError(f"{name} of {values.dtype}, shape {values.shape}, or that are no numbers")
    return SelfTest(files, pixels, squares, scaled, rows, outputs, about["made_by"], about.get("missing"))
