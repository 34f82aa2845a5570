"""Networks that are not of the table: from what was asked for to the exact feature spec, and to what computes it."""

from __future__ import annotations

import functools
import json
import logging
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from ..backbones import network_sources, openvino_runtime, quantisation
from ..backbones import runtime as runtimes
from ..backbones.network import Kind, Network, assemble, output_form, require_fits
from ..backbones.network_proof import prove
from ..backbones.precisions import require_on_processor
from ..backbones.shared_trunk import on_openvino
from ..data import decoding
from ..data.framing import Framing
from ..errors import UsageError, WeightsError
from ..spec import FeatureSpec, Scaling, network_name
from ..store.store import Store
from ..system import schema
from . import torch_request
from .memos import recalled
from .planning import row_keys
from .request import LARGEST, ExtractionRequest, Named, Resolved

_log = logging.getLogger(__name__)
_MEMO = "network-1"  # raise it where what is remembered means something else


class _Facts(msgspec.Struct, forbid_unknown_fields=True):
    """What is known of a network once it has been loaded, so that it need not be loaded again to know it."""

    digest: schema.Digest
    size: Annotated[int, Meta(ge=1, le=LARGEST)]
    channels: Literal[1, 3] | None
    kind: Kind
    class_token: bool
    mean: list[schema.Finite] | None
    std: list[schema.Finite] | None
    order: Literal["rgb", "bgr"]
    framing: Framing | None
    others: dict[schema.Place, schema.Digest]
    part: schema.Digest | None = None
    silent: schema.Line = ""


def resolve_network(request: ExtractionRequest, store: Store) -> Resolved:
    """Find the spec. What is known of the network comes from the index where it was seen before; else from loading it.

    Raises
    ------
    UsageError
        Its input is not described by its source or the request, or it has no such layer.
    WeightsError
        It is not to be had, or to be used.
    """
    request.check_size()
    on_torch = torch_request.is_meant(request)
    _refuse_what_does_not_apply(request, on_torch)
    source = network_sources.find(request.backbone, request.weights, request.identity)
    known_as = _known_as(source, store)
    opened = functools.cache(lambda: source.open(request.size))
    memos = {}  # what decides the loaded network up to a layer, and what is known of it, without loading it
    for layer in request.layers:
        memo = f"{known_as}:{request.size}:{layer}"
        facts = _remembered(memo, store) if source.lasting else None
        if facts is None:
            facts = _facts(opened(), source.label, layer, store)
            if source.lasting:
                store.index.remember(memo, json.dumps(msgspec.to_builtins(facts), sort_keys=True))
                store.index.remember(known_as, facts.digest)
        memos[_spec(request, layer, source.label, facts)] = memo
    specs = tuple(memos)

    def build(count: int) -> runtimes.Runtime:
        models = [_converted(spec, opened, store, memo) for spec, memo in memos.items()]
        return torch_request.on_torch(specs, opened, models) if on_torch else on_openvino(models, specs)

    named = Named(request.backbone, request.weights) if isinstance(request.backbone, str) else None
    return Resolved(specs, build, named=named)


def resolve_network_specs(
    specs: tuple[FeatureSpec, ...], kept: Path | None, store: Store, threads: int | None = None
) -> Resolved:
    """The way to compute rows of specs that are known, of one network.

    Parameters
    ----------
    specs : of a bundle, or of feature sets.
    kept : the converted network, as :func:`featcache.backbones.openvino_runtime.keep` wrote it; None is the cache's.
    store : keeps it otherwise.
    threads : to compute with; None takes all.

    Raises :class:`WeightsError` where it is not there, or is not of this spec, when it comes to that.
    """

    def model(spec: FeatureSpec) -> Any:
        path = kept if kept is not None else store.converted(spec)
        if spec.of_function:
            raise WeightsError(
                f"the network {spec.network} is a function, which only the program that has it can run; features of "
                "new images come from featcache.extract with it, in the same cache"
            )
        if not path.exists():
            raise WeightsError(f"the network {spec.network} is not here (digest {spec.weights_digest[:8]}…)")
        read = openvino_runtime.read(path)
        require_fits(read, spec, str(path))
        if spec.calibration and quantisation.digest(read) != spec.calibration:
            raise WeightsError(f"{path}: not the quantised network of this spec ({spec.calibration[:8]}…)")
        return read

    return Resolved(specs, lambda count: on_openvino([model(spec) for spec in specs], specs, threads))


def known_network(asked: str, store: Store) -> str | None:
    """What stands for the backbone in specs of a network that was extracted before, found by its path or name."""
    try:
        source = network_sources.find(asked)
        digest = store.index.memo(_known_as(source, store))
    except (UsageError, WeightsError):
        return None
    return network_name(digest) if digest and len(digest) == 64 else None


def _refuse_what_does_not_apply(request: ExtractionRequest, on_torch: bool) -> None:
    if request.preprocess != "model":
        raise UsageError(f"--preprocess {request.preprocess} is for networks of the table; here it is --mean and --std")
    if on_torch:
        return
    if request.runtime not in ("auto", "openvino"):
        raise UsageError(f"--runtime {request.runtime}: networks that are not of the table run on openvino or torch")
    require_on_processor(request.precision)


def _known_as(source: network_sources.Source, store: Store) -> str:
    files = [str(path) for path in source.files]
    keys, bad = row_keys(store, files)
    if bad:
        raise WeightsError(f"{bad[0].path}: {bad[0].reason}")
    return ":".join([_MEMO, source.kind, *(key.hex() for key in keys if key is not None)])


def _remembered(memo: str, store: Store) -> _Facts | None:
    """What was noted of the network, where all of it still holds."""
    facts: _Facts | None = recalled(store, memo, _Facts)
    if facts is None:
        return None
    keys, bad = row_keys(store, list(facts.others))
    same = not bad and [key and key.hex() for key in keys] == list(facts.others.values())
    return facts if same else None


def _facts(network: Network, label: str, layer: str, store: Store) -> _Facts:
    stated = network.stated
    if stated.size is None:
        raise UsageError(f"{label} takes images of any size, and nothing says which; give --size")
    graph = network.graph(layer)
    form = output_form(graph, label)
    others = [str(path) for path in network.others]
    keys, _ = row_keys(store, others)
    scaling = stated.scaling
    return _Facts(
        digest=network.digest,
        size=stated.size,
        channels=None if stated.channels is None else (1 if stated.channels == 1 else 3),
        kind=form.kind,
        class_token=form.class_token,
        mean=None if scaling is None else list(scaling.mean),
        std=None if scaling is None else list(scaling.std),
        order="rgb" if scaling is None else scaling.order,
        framing=stated.framing,
        others={path: key.hex() for path, key in zip(others, keys, strict=True) if key is not None},
        part=graph.digest,
        silent=stated.silent,
    )


def _spec(request: ExtractionRequest, layer: str, label: str, facts: _Facts) -> FeatureSpec:
    framing = request.framing(facts.framing)
    mean, std = (_numbers(getattr(request, name), name) for name in ("mean", "std"))
    mean = mean if mean is not None or facts.mean is None else tuple(facts.mean)
    std = std if std is not None or facts.std is None else tuple(facts.std)
    missing = [f"--{name}" for name, value in (("mean", mean), ("std", std), ("resize", framing)) if value is None]
    if missing:
        raise UsageError(_what_is_missing(label, facts, missing))
    assert framing is not None
    assert mean is not None
    assert std is not None
    channels = request.channels or facts.channels or 3
    if facts.channels is not None and channels != facts.channels:
        raise UsageError(f"--channels {channels}: {label} takes {facts.channels}")
    if facts.kind == "vector" and request.keep == "map":
        raise UsageError(f"this layer of {label} gives vectors, not maps: ask for --keep avg, or another --layer")
    return FeatureSpec(
        backbone=network_name(facts.digest),
        layer=layer,
        weights=label,
        weights_digest=facts.part or facts.digest,
        size=facts.size,
        recipe=decoding.RECIPE,
        preprocess="scaled",
        keep="vector" if facts.kind == "vector" else request.keep or "map",
        dtype=request.dtype,
        precision=request.precision,
        framing=framing,
        scaling=Scaling(mean, std, channels, request.order or facts.order),  # type: ignore[arg-type]
        class_token=facts.class_token,
    )


def _numbers(given: Any, name: str) -> tuple[float, ...] | None:
    if given is None:
        return None
    try:
        values = tuple(float(value) for value in np.atleast_1d(np.asarray(given, dtype=np.float64)))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} {given!r}: expected a number, or one for each channel") from error
    low = 0.0 if name == "std" else -1e6
    if len(values) not in (1, 3) or not all(low <= value <= 1e6 for value in values) or (low == 0.0 in values):
        raise UsageError(f"{name} {given!r}: expected one number or three, in the scale 0 to 1")
    return values


def _what_is_missing(label: str, facts: _Facts, missing: list[str]) -> str:
    channels = "" if facts.channels is None else f"{facts.channels} x "
    reason = f" ({facts.silent})" if facts.silent else ""
    return (
        f"{label}: nothing says how a picture becomes its input of {channels}{facts.size} x {facts.size}{reason}, and "
        f"that is never guessed. Give {' and '.join(missing)}:\n"
        "  --mean R,G,B --std R,G,B        (pixel / 255 - mean) / std, in the scale 0 to 1; one number serves all\n"
        "  --resize squash|crop|pad        how a picture becomes a square; with crop, --crop 0.875 and the like\n"
        "and, where they differ from these: --interpolation bilinear, --order rgb\n"
        "ImageNet's are --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225; pixels of 0 to 1: --mean 0 --std 1; of 0 to\n"
        "255: --mean 0 --std 1/255; of -1 to 1: --mean 0.5 --std 0.5. Whoever trained the network knows."
    )


def _converted(spec: FeatureSpec, opened: Any, store: Store, memo: str) -> Any:
    """The converted network; it is kept under its spec, proven, and needs nothing of its source."""
    path = store.converted(spec)
    model = openvino_runtime.load(path)
    if model is not None:
        try:
            require_fits(model, spec, str(path))
            return model
        except WeightsError as error:
            _log.warning("%s; converting the network again", error)
    network: Network = opened()
    graph = network.graph(spec.layer)
    digest = graph.digest or network.digest
    if digest != spec.weights_digest:
        store.index.remember(memo, "")
        raise WeightsError(
            f"{spec.network} is not the network seen before (digest {digest[:8]}, expected "
            f"{spec.weights_digest[:8]}). This is noted now: run the command again for a new feature set."
        )
    model = assemble(graph, spec)
    prove(openvino_runtime.OpenVINORuntime(model, spec.in_float32), spec, _pair(model, spec))
    openvino_runtime.keep(model, path)
    return model


def _pair(model: Any, spec: FeatureSpec) -> Any:
    """The same network for two images at once: what is computed beside an image must not move it."""

    def compute(images: np.ndarray) -> dict[str, np.ndarray]:
        import openvino

        both = model.clone()
        both.reshape([len(images), spec.size, spec.size, 3])
        compiled = openvino.Core().compile_model(both, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        given = compiled(images)
        return {name: given[f"{name}:0"] for name in spec.arrays}

    return compute
