"""The reference's toy: 32 filters of 3 x 3 x 3 over 120 images of 224 x 224 x 3, 50 times, on CPU and GPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from featcache.backbones.tensorflow_setup import load_tensorflow

RUNS = 50


def convolutions() -> dict[str, Callable[[], None]]:
    """By device (``CPU``, and ``GPU`` where there is one): a function that convolves once and waits for the result."""
    tf, _ = load_tensorflow()
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((120, 224, 224, 3), dtype=np.float32))
    filters = tf.constant(rng.random((3, 3, 3, 32), dtype=np.float32))
    toys: dict[str, Callable[[], None]] = {}
    for device in ("CPU", "GPU"):
        if tf.config.list_physical_devices(device):
            with tf.device(f"/{device}:0"):
                placed, kernel = tf.identity(images), tf.identity(filters)

            def once(device: str = device, placed: object = placed, kernel: object = kernel) -> None:
                with tf.device(f"/{device}:0"):
                    float(tf.nn.conv2d(placed, kernel, 1, "SAME")[0, 0, 0, 0])  # waits for the result

            toys[device] = once
    return toys
