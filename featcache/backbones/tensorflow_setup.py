"""Load TensorFlow, once, set up for feature extraction. It takes seconds, so nothing else imports it."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from ..errors import UsageError
from .compiled_programs import keep_programs

_log = logging.getLogger(__name__)
# absl: severity and date, or the line that announces them.
_CHATTER = re.compile(rb"(WARNING: All log messages before absl|[IWE]\d{4} |\d{4}-\d\d-\d\d .*: [IWE] )")


@functools.cache
def load_tensorflow() -> tuple[Any, Any]:
    """Import and configure; returns the modules ``(tensorflow, keras)``.

    GPU memory grows as needed, so that several processes can share a device, and float32 means float32:
    TF32, which Ampere and later use by default, moves features by about 1e-3.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    keep_programs()
    with _without_startup_chatter():
        import tensorflow as tf

        import keras  # isort: skip

        gpus = tf.config.list_physical_devices("GPU")
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"KERAS_BACKEND is {keras.backend.backend()!r}; features are computed on TensorFlow: "
            "unset it, or set KERAS_BACKEND=tensorflow"
        )
    for device in gpus:
        try:
            tf.config.experimental.set_memory_growth(device, True)
        except RuntimeError as error:  # the host program has already used the device
            _log.debug("memory growth not set on %s: %s", device.name, error)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    return tf, keras


def gpu_likely() -> bool:
    """Whether TensorFlow may find a GPU here, asked without loading it."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return False
    drivers = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
    if any(os.path.exists(path) for path in drivers) or shutil.which("nvidia-smi"):
        return True
    return importlib.util.find_spec("tensorflow-plugins") is not None  # Metal and the like


@contextlib.contextmanager
def _without_startup_chatter() -> Iterator[None]:
    """Hold back what TensorFlow's C++ side prints while it starts, before any log level applies.

    Lines that are not of its logging are printed after all, and everything is where an error occurs.
    """
    try:
        saved = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            for line in held:
                if failed or not _CHATTER.match(line):
                    os.write(2, line)
