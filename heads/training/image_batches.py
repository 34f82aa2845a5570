"""Batches of images for a training by Keras, from an array or from the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from featcache.backbones.tensorflow_setup import load_tensorflow

from .epoch_estimator import Prepared


def image_batches(size: int, ready: Prepared, rows: np.ndarray, rng: np.random.Generator | None) -> Any:
    """Batches ``(X, y, weight)`` of ``size`` rows as a ``tf.data.Dataset``.

    In a new order each epoch where ``rng`` is given; else in the order of ``rows``, all of weight 1.
    """
    tf, _ = load_tensorflow()
    count = -(-len(rows) // size)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        order = rows if rng is None else rng.permutation(rows)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            weight = np.ones(len(part), np.float32) if rng is None else ready.weight[part]
            yield ready.X[part], ready.targets[part], weight

    signature = (
        tf.TensorSpec((None, *ready.X.shape[1:]), ready.X.dtype),
        tf.TensorSpec((None,), tf.int64),
        tf.TensorSpec((None,), tf.float32),
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(count)).prefetch(tf.data.AUTOTUNE)
