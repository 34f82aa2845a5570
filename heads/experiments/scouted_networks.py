"""The networks that a scouting is asked to rank: what each entry stands for, and the spec and way to compute it."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from featcache.backbones import network_sources, registry
from featcache.errors import UsageError, WeightsError
from featcache.extraction.request import FRAMED_BY, SCALED_BY, ExtractionRequest, Resolved
from featcache.extraction.resolution import resolve, resolve_spec
from featcache.store.store import Store

_SAYS = (*SCALED_BY, *FRAMED_BY)


@dataclass(frozen=True)
class Entry:
    """A network to rank.

    Attributes
    ----------
    asked : as it was written.
    name : what rows call it; of the entries of one scouting, each has its own.
    requests : what to ask for, the first that can be answered.
    """

    asked: str
    name: str
    requests: tuple[ExtractionRequest, ...]

    def resolved(self, store: Store, synthetic: bool) -> Resolved:
        """The spec, and the way to compute rows of it.

        Raises
        ------
        UsageError, WeightsError
        """
        if not self.requests:
            spec = store.spec(self.asked)
            kept = store.kept(spec)
            return resolve_spec(spec, kept if kept.exists() else None, store)
        for request in self.requests[:-1]:
            with contextlib.suppress(UsageError):
                return resolve(request, store, synthetic)
        try:
            return resolve(self.requests[-1], store, synthetic)
        except (UsageError, WeightsError) as error:
            raise type(error)(f"{self.asked}: {error}") from error

    def command(self, data: str) -> str | None:
        """What computes the rest; None where a set's id stands for more than options can say."""
        if not self.requests:
            return None
        words = ["featcache", "extract", "--data", data]
        plain = ExtractionRequest(backbone=None)
        for field in fields(ExtractionRequest):
            value = getattr(self.requests[-1], field.name)
            if value != getattr(plain, field.name):
                text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
                words += [f"--{field.name.replace('_', '-')}", text]
        return shlex.join(words)


def entries(backbone: str | Sequence[str | os.PathLike[str]], shared: ExtractionRequest, store: Store) -> list[Entry]:
    """The entries of ``A,B,C``, or of a list.

    An entry is a name of the table, with ``@WEIGHTS`` behind it where they are its own; a file or a house's name of any
    other network; or the id of a feature set, which says everything, and whose network the cache has kept.

    Parameters
    ----------
    backbone : the entries.
    shared : what holds for all that do not say it themselves. What is said of a network's input is for those that are
        not of the table, and whose source does not say it.
    store : knows the feature sets.

    Raises :class:`UsageError` for fewer than two, one that stands twice, and names that nobody knows.
    """
    written = backbone.split(",") if isinstance(backbone, str) else [os.fspath(entry) for entry in backbone]
    asked = [text.strip() for text in written if text.strip()]
    twice = sorted({text for text in asked if asked.count(text) > 1})
    if twice:
        raise UsageError(f"--backbone names {', '.join(twice)} more than once; each network takes part once")
    if len(asked) < 2:
        raise UsageError(
            f"--backbone names {asked[0] if asked else 'no network'}; to find which network is worth the run takes "
            "two or more: --backbone vgg16,mobilenetv2"
        )
    known = store.feature_sets()
    given = [f"--{name}" for name in _SAYS if getattr(shared, name) is not None]
    if given and all(text in known or network_sources.is_of_table(_divided(text)[0]) for text in asked):
        raise UsageError(
            f"{', '.join(given)}: for networks that are not of the table, and there is none among {', '.join(asked)}"
        )
    plain = [text if text in known else _plain_name(text) for text in asked]
    return [
        Entry(
            text,
            name if plain.count(name) == 1 else text,
            () if text in known else _requests(text, shared),
        )
        for text, name in zip(asked, plain, strict=True)
    ]


def _requests(text: str, shared: ExtractionRequest) -> tuple[ExtractionRequest, ...]:
    name, weights = _divided(text)
    nothing: dict[str, Any] = dict.fromkeys(_SAYS)
    silent = replace(shared, **nothing)
    if network_sources.is_of_table(name):
        return (replace(silent, backbone=registry.get(name).name, weights=weights or shared.weights),)
    own = shared.weights if network_sources.in_house(name) else network_sources.OWN_WEIGHTS
    about: dict[str, Any] = {"backbone": name, "weights": own, "preprocess": "model"}
    spoken = replace(shared, **about)
    silent = replace(silent, **about)
    return (silent,) if silent == spoken else (silent, spoken)


def _divided(text: str) -> tuple[str, str | None]:
    """``vgg16@FILE`` as name and weights; a path may hold an ``@`` of its own."""
    name, at, weights = text.partition("@")
    if not at or name not in registry.TABLE:
        return text, None
    if not weights:
        raise UsageError(f"--backbone {text}: expected weights behind the @: imagenet, random, or a file")
    return name, weights


def _plain_name(text: str) -> str:
    name, _ = _divided(text)
    return name if network_sources.is_of_table(name) else network_sources.asked_label(name)
