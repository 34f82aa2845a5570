"""Networks of the table: from what was asked for to the exact feature spec, and to the runtime that computes it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..backbones import openvino_runtime, registry, shared_trunk, tensorflow_runtime, weights
from ..backbones import runtime as runtimes
from ..backbones.precisions import on_processor
from ..data import decoding
from ..data.framing import SQUASH, Framing
from ..errors import FeatcacheError, UsageError, WeightsError
from ..spec import FeatureSpec
from ..store.store import Store
from ..system import tensor_files
from .request import ExtractionRequest, Resolved

_log = logging.getLogger(__name__)


def resolve_table(request: ExtractionRequest, store: Store, synthetic: bool = False) -> Resolved:
    """Find the spec. The weights' digest comes from the index where it was seen before; else from loading them.

    Parameters
    ----------
    request : what was asked for.
    store : remembers digests.
    synthetic : on the built-in sample, ImageNet weights that cannot be had are replaced by random ones.

    Raises
    ------
    UsageError, WeightsError
    """
    backbone = registry.get(request.backbone)
    request.check_size()
    size = backbone.size if request.size is None else request.size
    runtimes.check(request.runtime, request.precision)
    if request.of_network():
        odd = ", ".join(f"--{name}" for name in request.of_network())
        raise UsageError(f"{backbone.name} is of the table, which says how its input is scaled; it takes no {odd}")
    framing = request.framing(SQUASH)
    assert framing is not None  # the table's own, at least
    if backbone.name == "pixels":
        return _resolve_pixels(request, size, framing)
    source = weights.parse(request.weights)
    fell_back = False
    known = store.index.memo(source.memo(backbone))
    if source.kind == "imagenet" and synthetic and known is None and not weights.imagenet_at_hand(backbone):
        source, fell_back = weights.WeightsSource("random"), True
        known = store.index.memo(source.memo(backbone))
    memo = source.memo(backbone)

    @functools.cache
    def load(precision: str) -> Any:
        return weights.build(backbone, size, source, precision)

    if known is None:
        known = weights.digest(load("float32"))
        store.index.remember(memo, known)
    last = FeatureSpec(
        backbone=backbone.name,
        layer="",
        weights=source.label,
        weights_digest=known,
        size=size,
        recipe=decoding.RECIPE,
        preprocess=_preprocess(request.preprocess, backbone),
        keep=request.keep or "map",
        dtype=request.dtype,
        precision=request.precision,
        framing=framing,
    )
    specs = tuple(replace(last, layer=layer) for layer in request.layers)

    return Resolved(specs, lambda count: _runtime(specs, load, store, memo, request.runtime, count), fell_back)


def resolve_table_specs(
    specs: tuple[FeatureSpec, ...], kept: Path | None, store: Store, runtime: str = "auto", threads: int | None = None
) -> Resolved:
    """The way to compute rows of specs that are known, of one network.

    Parameters
    ----------
    specs : of a bundle, or of feature sets.
    kept : the network's weights as :func:`featcache.system.tensor_files.keep` wrote them.
    store : remembers digests.
    runtime, threads : what to compute with; None takes all threads.

    Raises
    ------
    WeightsError
        There are no weights to compute with, when it comes to that.
    """
    if specs[0].backbone == "pixels":
        return Resolved(specs, lambda count: runtimes.PixelsRuntime())

    def load(precision: str) -> Any:
        return _kept_model(specs[0], kept, precision)

    return Resolved(specs, lambda count: _runtime(specs, load, store, None, runtime, count, threads))


def _kept_model(spec: FeatureSpec, kept: Path | None, precision: str) -> Any:
    """The network of a spec, by the weights that a cache or a bundle has kept."""
    if kept is None:
        raise WeightsError(f"there are no weights of {spec.backbone} here (digest {spec.weights_digest[:8]}…)")
    source = weights.WeightsSource("kept", path=str(kept))
    return weights.build(registry.get(spec.backbone), spec.size, source, precision)


def converted_network(spec: FeatureSpec, store: Store) -> Path | None:
    """The file of a network of the table that runs without TensorFlow, converted now where it has not been.

    It takes TensorFlow, once, where the cache holds weights alone. None where there are no weights either, or where
    OpenVINO cannot compute the spec on this processor.
    """
    path = store.converted(spec)
    if spec.precision not in on_processor() or spec.backbone == "pixels":
        return None
    if openvino_runtime.load(path) is not None:
        return path
    kept = store.network(spec)
    if spec.precision == "int8" or not kept.exists():
        return None
    try:
        _converted(spec, _proven(spec, _kept_model(spec, kept, "float32"), store, None), store)
    except Exception as error:  # noqa: BLE001 - without an operation, a library or room it goes on with weights alone
        _log.warning("%s: not to be converted for OpenVINO (%s)", spec.backbone, error)
        return None
    return path


def _runtime(
    specs: tuple[FeatureSpec, ...],
    load: Callable[[str], Any],
    store: Store,
    memo: str | None,
    asked: str,
    count: int,
    threads: int | None = None,
) -> runtimes.Runtime:
    """The runtime for so many images. A converted network carries its weights' digest, and needs no TensorFlow."""
    if asked == "torch":
        return _on_torch(specs, load, store, memo, threads)
    weights_kept = store.network(specs[0]).exists()
    converted = [store.converted(spec) if weights_kept and store.converted(spec).exists() else None for spec in specs]
    precision = specs[0].precision
    network = functools.cache(lambda: _proven(specs[0], load("float32"), store, memo))  # once for all layers
    if runtimes.choose(asked, specs[0], count, None not in converted) == "tensorflow":
        return tensorflow_runtime.TensorFlowRuntime(_proven(specs[0], load(precision), store, memo), *specs)
    models = [None if path is None else openvino_runtime.load(path) for path in converted]
    for place, spec in enumerate(specs):
        if models[place] is None:
            try:
                models[place] = _converted(spec, network(), store)
            except FeatcacheError:
                raise
            except Exception as error:  # an operation that OpenVINO does not have, or no room for its files
                if asked != "auto":
                    raise
                message = "%s: not to be converted for OpenVINO (%s); going on with TensorFlow"
                _log.warning(message, spec.backbone, error)
                return tensorflow_runtime.TensorFlowRuntime(load(precision), *specs)
    return shared_trunk.on_openvino(models, specs, threads)


def _on_torch(
    specs: tuple[FeatureSpec, ...], load: Callable[[str], Any], store: Store, memo: str | None, threads: int | None
) -> runtimes.Runtime:
    """Keras on PyTorch, once it gives what the runtime that is usual here does."""
    from ..backbones.keras_torch_runtime import KerasTorchRuntime
    from ..backbones.torch_runtime import require_equal

    kept = store.network(specs[0])
    if not kept.exists():
        _proven(specs[0], load("float32"), store, memo)
    runtime = KerasTorchRuntime(specs, kept, threads)
    exact = tuple(spec.in_float32 for spec in specs)
    require_equal(runtime, _runtime(exact, load, store, memo, "auto", 0, threads), specs)
    return runtime


def _converted(spec: FeatureSpec, network: Any, store: Store) -> Any:
    """A proven network as OpenVINO runs it, kept."""
    converted = openvino_runtime.convert(network, spec)
    openvino_runtime.keep(converted, store.converted(spec))
    return converted


def _proven(spec: FeatureSpec, model: Any, store: Store, memo: str | None) -> Any:
    """The network, once its weights are proven to be the spec's; they are kept for bundles."""
    digest = weights.digest(model)
    if digest != spec.weights_digest:
        if memo:
            store.index.remember(memo, digest)
        hint = " This is noted now: run the command again for a new feature set." if memo else ""
        raise WeightsError(
            f"{spec.backbone}: the {spec.weights} weights are not the ones seen before (digest {digest[:8]}, "
            f"expected {spec.weights_digest[:8]}).{hint}"
        )
    tensor_files.keep(model, store.network(spec))
    return model


def _resolve_pixels(request: ExtractionRequest, size: int, framing: Framing) -> Resolved:
    odd = {
        name: getattr(request, name)
        for name, plain in (("layer", ""), ("preprocess", "model"), ("keep", "map"), ("precision", "float32"))
        if getattr(request, name) not in (plain, None)
    }
    if odd or request.dtype not in ("float32", "uint8"):
        raise UsageError(f"pixels are kept as decoded, uint8; they take no {', '.join(odd) or 'dtype'}")
    spec = FeatureSpec("pixels", "", "none", "", size, decoding.RECIPE, "none", "map", "uint8", "float32", framing)
    return Resolved((spec,), lambda count: runtimes.PixelsRuntime())


def _preprocess(asked: str, backbone: registry.Backbone) -> str:
    if asked == "model":
        return backbone.preprocess
    if asked != "rescale":
        raise UsageError(f"preprocess {asked!r} is unknown; expected model or rescale")
    if backbone.preprocess == "builtin":
        raise UsageError(f"{backbone.name} scales its input itself; --preprocess rescale would scale it twice")
    return "rescale"
