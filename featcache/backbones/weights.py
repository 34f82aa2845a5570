"""Weights of a backbone: where they come from, how they are loaded, and the digest that names them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import random
import re
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import UsageError, WeightsError
from ..spec import FeatureSpec
from ..system import atomic_files, tensor_files
from ..system.user_paths import expanded
from . import random_weights
from .precisions import KERAS_POLICIES
from .registry import TABLE, Backbone, get
from .tensorflow_setup import load_tensorflow
from .weight_recipes import how_to_get

_HOST = "https://storage.googleapis.com/tensorflow/keras-applications/"
NETWORK_TIMEOUT = 15  # seconds a silent network may take


@dataclass(frozen=True)
class WeightsSource:
    """Where weights come from: ``kind`` is ``imagenet``, ``random`` (with ``seed``), ``file`` (of Keras, with
    ``path``), ``kept`` (of :mod:`featcache.system.tensor_files`, with ``path``) or ``none``."""

    kind: str
    seed: int = 0
    path: str = ""

    @property
    def label(self) -> str:
        """Short name, for the feature set's id."""
        return f"random{self.seed}" if self.kind == "random" else self.kind

    def memo(self, backbone: Backbone) -> str:
        """What decides the loaded tensors, known without loading them."""
        if self.kind == "file":
            return f"weights:{backbone.name}:file:{atomic_files.sha256_file(self.path)}"
        keras = importlib.metadata.version("keras")
        drawing = f":recipe-{random_weights.DRAWING}" if self.kind == "random" else ""
        return f"weights:{backbone.name}:{self.label}{drawing}:keras-{keras}"


def parse(text: str) -> WeightsSource:
    """Read ``imagenet``, ``random``, ``random:SEED`` or a path.

    Raises :class:`WeightsError` where the path is no file.
    """
    if text == "imagenet":
        return WeightsSource("imagenet")
    match = re.fullmatch(r"random(?::(\d+))?", text)
    if match:
        return WeightsSource("random", seed=int(match.group(1) or 0))
    path = expanded(text)
    if not path.is_file():
        raise WeightsError(
            f"weights {text!r}: no such file; expected imagenet, random[:SEED], or a .weights.h5 or .h5 file of the "
            "backbone without its top"
        )
    return WeightsSource("file", path=str(path.absolute()))


def imagenet_at_hand(backbone: Backbone) -> bool:
    """Whether ImageNet weights lie in Keras' own cache or can be downloaded; asked without TensorFlow."""
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    files = [re.sub(r"[-_]", "", path.name.lower()) for path in home.glob("models/*no*top*.h5")]
    # The longest name of the table that a file's name holds: mobilenet's stands in that of mobilenetv2.
    of = [max((name for name in TABLE if name in file), key=len, default="") for file in files]
    return backbone.name in of or _online()


@functools.cache
def _online() -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(_HOST, method="HEAD"), timeout=5).close()
    except urllib.error.HTTPError:
        return True  # it answered
    except (OSError, ValueError):
        return False
    return True


def build(backbone: Backbone, size: int, source: WeightsSource, precision: str = "float32") -> Any:
    """Build the network and load its weights.

    Returns
    -------
    keras.Model from float images of shape (n, size, size, 3) to the last layer's output.

    Raises
    ------
    WeightsError
        Offline, or a file that does not fit the backbone.
    UsageError
        The size is below the backbone's minimum.
    """
    if size < backbone.min_size:
        raise UsageError(f"--size {size} is too small for {backbone.name}; it takes at least {backbone.min_size}")
    _, keras = load_tensorflow()
    construct = getattr(keras.applications, backbone.keras_name)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(KERAS_POLICIES.get(precision, precision))
    try:
        with seeded(0):  # what Keras draws is overwritten below
            if source.kind == "imagenet":
                model = _download(construct, backbone, size)
            else:
                model = construct(weights=None, include_top=False, input_shape=(size, size, 3))
            if source.kind == "random":
                random_weights.set_random(model, source.seed, backbone.preprocess)
    finally:
        keras.config.set_dtype_policy(before)
    if source.kind == "file":
        _load_file(model, backbone, Path(source.path))
    elif source.kind == "kept":
        tensor_files.load(model, Path(source.path))
    model.trainable = False
    return model


def network_parameters(spec: FeatureSpec) -> int:
    """Number of parameters of a spec's frozen network, up to the layer that is kept."""
    row = get(spec.backbone)
    if not spec.layer:
        return row.parameters
    _, keras = load_tensorflow()
    whole = build(row, spec.size, WeightsSource("none"))
    return int(keras.Model(whole.inputs, whole.get_layer(spec.layer).output).count_params())


def digest(model: Any) -> str:
    """SHA-256 over the tensors in the model's order, with shapes and types, in hex."""
    return digest_of(model.weights)


def digest_of(tensors: Iterable[Any]) -> str:
    """The same of tensors in that order."""
    total = hashlib.sha256()
    for tensor in tensors:
        values = np.ascontiguousarray(tensor)
        total.update(f"{values.dtype.str}{values.shape}".encode())
        total.update(values.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed what Keras draws initial weights from, and leave the caller's generators as they were.

    Keras 3 derives every initialiser's seed from Python's ``random`` when none is given.
    """
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _download(construct: Any, backbone: Backbone, size: int) -> Any:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT)
    try:
        return construct(weights="imagenet", include_top=False, input_shape=(size, size, 3))
    except Exception as error:  # Keras raises a bare Exception when it cannot download
        if not isinstance(error, OSError) and "URL fetch failure" not in str(error):
            raise WeightsError(f"{backbone.name}: the ImageNet weights cannot be loaded: {error}") from error
        named = re.search(r"https?://\S+?(?=[:\s]|$)", str(error))
        url = named.group(0) if named else _HOST
        raise WeightsError(
            f"{backbone.name}: its ImageNet weights are not on this machine and cannot be downloaded.\n"
            f"  tried: {url}\n"
            "Do one of these:\n"
            f"{how_to_get(backbone.name, size if size != backbone.size else None)};\n"
            "  - where there is no featcache on that machine, run\n"
            f'      python -c "import keras; keras.applications.{backbone.keras_name}(include_top=False)"\n'
            "    and copy the file it leaves in ~/.keras/models/ to the same folder here;\n"
            "  - give a file: --weights FILE (a .weights.h5 or .h5 of the backbone without its top);\n"
            "  - to try things out, with features that know nothing: --weights random"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _load_file(model: Any, backbone: Backbone, path: Path) -> None:
    try:
        with h5py.File(path, "r") as file:
            legacy = "layer_names" in file.attrs or "model_weights" in file
    except OSError as error:
        raise WeightsError(f"{path}: not an HDF5 file ({error}); expected Keras weights, .weights.h5 or .h5") from error
    with tempfile.TemporaryDirectory() as folder:
        # Keras tells its two layouts apart by the name alone, so give the file the name of what it holds.
        named = Path(folder) / ("backbone.h5" if legacy else "backbone.weights.h5")
        try:
            named.symlink_to(path.absolute())
        except OSError:
            shutil.copyfile(path, named)
        # Keras fills what it finds and may only warn about the rest. NaN shows what it left out.
        for variable in model.weights:
            if "float" in str(variable.dtype):
                variable.assign(np.full(variable.shape, np.nan, np.float32))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                model.load_weights(str(named))
            empty = [v.path for v in model.weights if np.isnan(np.sum(np.asarray(v, np.float32)))]
            if empty:
                raise ValueError(f"it lacks (or holds NaN in) {len(empty)} tensors, the first is {empty[0]}")
        except Exception as error:  # ValueError, KeyError, OSError … by layout and fault
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise WeightsError(
                f"{path}: does not fit {backbone.name} without its top: {reason[:300]}. Expected what "
                f"keras.applications.{backbone.keras_name}(include_top=False).save_weights() writes."
            ) from error
    if backbone.module == "efficientnet":
        _mend_efficientnet(model)


def _mend_efficientnet(model: Any) -> None:
    """Make a file of official EfficientNet weights mean what it means to Keras.

    The published files hold the ImageNet *deviation* where the normalisation layer expects a variance.
    Keras repairs that with one more division by sqrt(deviation), but only when it is asked for
    ``weights="imagenet"``. Loaded from a file, the same division goes into the variance itself.
    """
    deviation = np.array([0.229, 0.224, 0.225], np.float32)
    for layer in model.layers:
        if type(layer).__name__ == "Normalization":
            mean, variance, *rest = layer.get_weights()
            if np.allclose(np.ravel(variance), deviation, rtol=1e-4):
                layer.set_weights([mean, variance * deviation.reshape(variance.shape), *rest])
                layer.finalize_state()
