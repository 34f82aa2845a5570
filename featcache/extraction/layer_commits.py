"""Rows of one pass into the feature sets of its layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..backbones.runtime import apart
from ..spec import FeatureSpec
from ..store.shard import Rows
from ..store.store import Store


def committer(store: Store, specs: Sequence[FeatureSpec], compression: str) -> Callable[[Rows], object]:
    """What makes the rows of a pass durable, each set's where it has them not yet.

    Sets of several layers are committed one after the other; what a kill leaves out is missing in its set alone, and
    computed the next time.
    """
    if len(specs) == 1:
        return functools.partial(store.commit, specs[0], compression=compression)
    present = [store.rows(store.find(spec)) for spec in specs]

    def commit(rows: Rows) -> None:
        for spec, of_spec, there in zip(specs, apart(specs, rows.arrays), present, strict=True):
            missing = [place for place, key in enumerate(rows.keys) if key.tobytes() not in there]
            if missing:
                arrays = {array: values[missing] for array, values in of_spec.items()}
                share = rows.seconds / len(specs) * len(missing) / len(rows)
                part = replace(rows, keys=rows.keys[missing], arrays=arrays, seconds=share)
                store.commit(spec, part, compression=compression)

    return commit
