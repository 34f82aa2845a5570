"""Functions as networks: from what was asked for to the exact feature spec, and to what computes it."""

from __future__ import annotations

import json
import re
from typing import Annotated

from msgspec import Meta

from ..backbones import callable_networks, network_sources
from ..backbones import runtime as runtimes
from ..backbones.callable_networks import CallableRuntime, Given
from ..data import decoding
from ..data.framing import Framing
from ..errors import UsageError
from ..spec import FeatureSpec, network_name
from ..store.store import Store
from ..system.plain_text import UNPRINTABLE
from .memos import recalled
from .request import LARGEST, ExtractionRequest, Resolved

_MEMO = "callable-1"  # raise it where what is remembered means something else
_LONGEST = 200  # characters of an identity
_Shape = Annotated[list[Annotated[int, Meta(ge=1)]], Meta(min_length=1, max_length=3)]


def resolve_callable(request: ExtractionRequest, store: Store) -> Resolved:
    """Find the spec. What the function gives comes from the index where it was seen before; else from a call of it.

    Raises
    ------
    UsageError
        Something that decides the features is not given, or does not apply; or what it gives are no features.
    """
    identity = _identity(request)
    if request.size is None or not 1 <= request.size <= LARGEST:
        raise UsageError(f"size {request.size}: give the side of the square that the function takes, 1 to {LARGEST}")
    _refuse_what_does_not_apply(request)
    framing = request.framing(None)
    if framing is None:
        raise UsageError(
            "resize: nothing says how a picture becomes the square that the function takes, and that is never "
            "guessed; give squash, crop or pad"
        )
    function, label = request.backbone, network_sources.label(identity)
    digest = callable_networks.digest(identity)
    memo = f"{_MEMO}:{digest}:{request.size}"
    given = _remembered(memo, label, store)
    if given is None or not store.shapes(store.find(_spec(request, label, digest, framing, given))):
        given = callable_networks.first_call(function, request.size, label)
    spec = _spec(request, label, digest, framing, given)

    def build(count: int) -> runtimes.Runtime:
        runtime = CallableRuntime(function, spec, given)
        store.index.remember(memo, json.dumps(given.shape))
        return runtime

    return Resolved((spec,), build)


def _spec(request: ExtractionRequest, label: str, digest: str, framing: Framing, given: Given) -> FeatureSpec:
    if given.kind == "vector" and request.keep == "map":
        raise UsageError(f"{label} gives vectors, not maps: ask for keep='avg', or none")
    assert request.size is not None
    return FeatureSpec(
        backbone=network_name(digest),
        layer="",
        weights=label,
        weights_digest=digest,
        size=request.size,
        recipe=decoding.RECIPE,
        preprocess="none",
        keep="vector" if given.kind == "vector" else request.keep or "map",
        dtype=request.dtype,
        precision=request.precision,
        framing=framing,
        class_token=given.prefix > 0,
    )


def _identity(request: ExtractionRequest) -> str:
    identity = request.identity
    if identity is None:
        raise UsageError(
            "identity: a function says nothing of what it computes; give identity='NAME VERSION', another one whenever "
            "its code or its weights change"
        )
    if (
        not isinstance(identity, str)
        or not identity.strip()
        or len(identity) > _LONGEST
        or re.search(f"[{UNPRINTABLE}]", identity)
    ):
        raise UsageError(f"identity {identity!r:.80}: expected a line of 1 to {_LONGEST} characters")
    return identity


def _refuse_what_does_not_apply(request: ExtractionRequest) -> None:
    plain = ExtractionRequest()
    names = ("weights", "layer", "preprocess", "precision", "runtime", "mean", "std", "channels", "order")
    odd = [name for name in names if getattr(request, name) != getattr(plain, name)]
    if odd:
        raise UsageError(f"{', '.join(odd)}: a function takes uint8 RGB as it is, and does all else by itself")
    if request.dtype not in ("float32", "float16"):
        raise UsageError(f"dtype {request.dtype!r}: what a function gives is kept as float32 or float16")


def _remembered(memo: str, label: str, store: Store) -> Given | None:
    shape = recalled(store, memo, _Shape)
    return None if shape is None else callable_networks.given_by(tuple(shape), label)
