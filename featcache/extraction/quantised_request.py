"""Networks in int8: which quantised network is meant, or a new one, calibrated on training images alone.

The spec says a digest of the quantised network, so other ranges are another feature set. Which images gave the ranges
is remembered in the index, by the data: the same data, with new images in it, goes on with the network that is there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from ..backbones import openvino_runtime, quantisation
from ..backbones.network import require_fits
from ..backbones.precisions import require_on_processor
from ..data.dataset import Dataset
from ..errors import DataError, UsageError
from ..spec import FeatureSpec
from ..store.store import Store
from ..system import schema
from .memos import recalled
from .network_request import resolve_network_specs
from .pipeline import read_pixels
from .planning import row_keys
from .request import ExtractionRequest, Resolved
from .resolution import resolve

_log = logging.getLogger(__name__)
_MEMO = "int8-1"  # raise it where what is remembered means something else
_MOST = 128  # images
_LEAST, _SHARE = 16, 0.1  # of data that is not split yet, so that some of them may be tested on later


class _Calibration(msgspec.Struct, forbid_unknown_fields=True):
    """What is remembered of a calibration."""

    digest: schema.Digest
    keys: Annotated[list[schema.Digest], Meta(min_length=1, max_length=_MOST)]


def resolve_on(request: ExtractionRequest, store: Store, dataset: Dataset, calibration: str | None = None) -> Resolved:
    """:func:`featcache.extraction.resolution.resolve` where the images at hand may have a say, as they have in int8.

    ``calibration`` is as of :func:`resolve_quantised`; raises what these two do.
    """
    if request.precision == "int8":
        return resolve_quantised(request, store, dataset, calibration)
    return resolve(request, store, dataset.synthetic)


def resolve_quantised(
    request: ExtractionRequest, store: Store, dataset: Dataset, calibration: str | None = None
) -> Resolved:
    """Find the spec, and the way to compute rows of it; calibrate where there is no quantised network yet.

    Parameters
    ----------
    request : of precision int8.
    store : keeps networks, and remembers what was calibrated on what.
    dataset : its training images give the ranges; of data without parts, a tenth of the images.
    calibration : id of a feature set whose quantised network is to be taken; None is the one made of this data.

    Raises
    ------
    UsageError
        NNCF is not here, the network has no such form, or the feature set is another network's.
    DataError
        There are no images to calibrate on.
    WeightsError
        The network is not to be had, or cannot be quantised.
    """
    if request.runtime not in ("auto", "openvino"):
        raise UsageError(f"--runtime {request.runtime}: int8 is computed by openvino alone")
    require_on_processor("int8")
    specs = []
    for layer in request.layers:
        full = resolve(replace(request, layer=layer, precision="float32", runtime="openvino"), store, dataset.synthetic)
        if full.spec.of_function or full.spec.backbone == "pixels":
            raise UsageError(f"precision int8: {full.spec.network} is no network that can be quantised")
        known = calibration is not None
        spec = _named(full.spec, store, str(calibration)) if known else _remembered(full.spec, store, dataset)
        if spec is None:
            quantisation.require_installed()
            spec = _calibrated(full, store, dataset)
        specs.append(spec)
    return Resolved(tuple(specs), resolve_network_specs(tuple(specs), None, store).build, full.fell_back)


def _in_int8(spec: FeatureSpec, calibration: str) -> FeatureSpec:
    return replace(spec, precision="int8", calibration=calibration)


def _named(full: FeatureSpec, store: Store, feature_set: str) -> FeatureSpec:
    if feature_set not in store.feature_sets():
        raise UsageError(f"--calibration {feature_set}: there is no such feature set in {store.cache}")
    spec = store.spec(feature_set)
    if spec.precision != "int8" or spec.in_float32.hex != full.hex:
        raise UsageError(f"--calibration {feature_set}: not a set of int8 of what is asked for, {full.id}")
    return spec


def _remembered(full: FeatureSpec, store: Store, dataset: Dataset) -> FeatureSpec | None:
    """The spec that this data was calibrated for, unless some of those images are now to be tested on."""
    known: _Calibration | None = recalled(store, _memo(full, dataset), _Calibration)
    if known is None:
        return None
    spec = _in_int8(full, known.digest)
    if not store.converted(spec).exists():
        return None
    keys, _ = row_keys(store, dataset.paths)
    learnt = set(known.keys)
    moved = sum(
        key is not None and key.hex() in learnt and split not in ("train", "")
        for key, split in zip(keys, dataset.splits, strict=True)
    )
    if moved:
        _log.warning("int8: %d images that it was calibrated on are no training images now; calibrating anew", moved)
        return None
    return spec


def _calibrated(full: Resolved, store: Store, dataset: Dataset) -> FeatureSpec:
    if not store.converted(full.spec).exists():
        full.build(0)  # which converts, proves and keeps it
    model = openvino_runtime.read(store.converted(full.spec))
    require_fits(model, full.spec, str(store.converted(full.spec)))
    taken = dict(_images(full.spec, store, dataset))
    if not taken:
        raise DataError(f"{dataset.root}: there are no training images to calibrate int8 on")
    _log.info("int8: calibrating %s on %d images", full.spec.network, len(taken))
    quantised = quantisation.quantise(model, list(taken.values()))
    spec = _in_int8(full.spec, quantisation.digest(quantised))
    openvino_runtime.keep(quantised, store.converted(spec))
    known = _Calibration(spec.calibration, [key.hex() for key in taken])
    store.index.remember(_memo(full.spec, dataset), json.dumps(msgspec.to_builtins(known)))
    return spec


def _images(spec: FeatureSpec, store: Store, dataset: Dataset) -> Iterator[tuple[bytes, np.ndarray]]:
    """Key and pixels of the images to calibrate on: in the order of their keys, which is none."""
    keys, _ = row_keys(store, dataset.paths)
    split = "train" in dataset.splits
    places = {
        key: path
        for key, path, part in zip(keys, dataset.paths, dataset.splits, strict=True)
        if key is not None and (part == "train" or not split)
    }
    left = _MOST if split else min(_MOST, max(_LEAST, int(_SHARE * len(places))))
    if not split:
        _log.warning(
            "int8: the data has no training part, so that up to %d of its images, whichever these will be, give the "
            "ranges; what is tested on them later has seen that much of them",
            left,
        )
    for key in sorted(places):
        if not left:
            return
        pixels = read_pixels(places[key], spec, key)
        if isinstance(pixels, str):  # which the extraction will list
            continue
        left -= 1
        yield key, pixels[None]


def _memo(full: FeatureSpec, dataset: Dataset) -> str:
    return f"{_MEMO}:{full.hex}:{dataset.root}"
