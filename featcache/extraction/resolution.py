"""From what was asked for, or from a spec, to what computes it: networks of the table, functions, and all others."""

from __future__ import annotations

from pathlib import Path

from ..backbones import network_sources
from ..data import decoding
from ..errors import UsageError
from ..spec import FeatureSpec
from ..store.store import Store
from .callable_request import resolve_callable
from .network_request import resolve_network, resolve_network_specs
from .request import ExtractionRequest, Resolved
from .table_request import resolve_table, resolve_table_specs

CONVERTED = ".openvino"  # how the name of a converted network ends


def resolve(request: ExtractionRequest, store: Store, synthetic: bool = False) -> Resolved:
    """Find the spec that is asked for, and the way to compute rows of it.

    Parameters
    ----------
    request : what was asked for.
    store : remembers digests, and keeps networks.
    synthetic : on the built-in sample, ImageNet weights that cannot be had are replaced by random ones.

    Raises
    ------
    UsageError, WeightsError
    """
    request.check_precision()
    if network_sources.is_of_table(request.backbone):
        return resolve_table(request, store, synthetic)
    if network_sources.is_function(request.backbone):
        return resolve_callable(request, store)
    return resolve_network(request, store)


def resolve_spec(
    spec: FeatureSpec, kept: Path | None, store: Store, runtime: str = "auto", threads: int | None = None
) -> Resolved:
    """The way to compute rows of a spec that is known: :func:`resolve_specs` of one."""
    return resolve_specs((spec,), kept, store, runtime, threads)


def resolve_specs(
    specs: tuple[FeatureSpec, ...], kept: Path | None, store: Store, runtime: str = "auto", threads: int | None = None
) -> Resolved:
    """The way to compute rows of specs that are known, in one pass.

    Parameters
    ----------
    specs : of a bundle, or of feature sets; several differ in the layer alone.
    kept : the network: itself as :func:`featcache.backbones.openvino_runtime.keep` wrote it (its name then ends in
        ``.openvino``), or of a network of the table, its weights as :func:`featcache.system.tensor_files.keep` did;
        None, and of several specs outside the table always, is the cache's own.
    store : remembers digests, and keeps networks.
    runtime, threads : what to compute with; None takes all threads.

    Raises
    ------
    WeightsError
        There is no network to compute with, when it comes to that.
    UsageError
        The spec was made with decoding rules that this version does not have.
    """
    for spec in specs:
        if spec.recipe != decoding.RECIPE:
            raise UsageError(f"made with the decoding rules {spec.recipe!r}; this version has {decoding.RECIPE!r}")
    weights_alone = not (kept is not None and kept.suffix == CONVERTED)
    if specs[0].of_table and specs[0].precision != "int8" and weights_alone:
        return resolve_table_specs(specs, kept, store, runtime, threads)
    return resolve_network_specs(specs, kept if len(specs) == 1 else None, store, threads)
