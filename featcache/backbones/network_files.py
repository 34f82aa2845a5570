"""Networks in files that OpenVINO reads by itself: ONNX, its own IR, TensorFlow Lite, and SavedModels."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, WeightsError
from ..system.atomic_files import sha256_file
from ..system.plain_text import printable
from . import onnx_files
from .network import Graph, Stated

LARGEST = 4096  # pixels, as of --size
_PATIENCE = 600  # seconds for a process to read a file
# Without a report to OpenVINO's makers, as in this process (see featcache/__init__.py).
_READ = """import sys
sys.modules["openvino_telemetry"] = None
import openvino
openvino.Core().read_model(sys.argv[1])"""
_SHOWN = 6  # names of layers in a message


@dataclass(frozen=True)
class FileFormat:
    """A format that is read.

    Attributes
    ----------
    name : what people call it.
    files : those that a network's path stands for, itself among them.
    read : says what a file holds.
    channels_last : whether its images have their channels last, where the shape does not tell.
    """

    name: str
    files: Callable[[Path], list[Path]]
    read: Callable[[Path], onnx_files.Contents]
    channels_last: bool


class FileNetwork:
    """A network that stands in a file; see :class:`featcache.backbones.network.Network`.

    Parameters
    ----------
    path : the file, or a SavedModel's folder.
    form : its format.
    size : side of the square input that is asked for, pixels; None for the file's own.

    Raises
    ------
    WeightsError
        It is damaged, has operations that OpenVINO does not have, or takes something other than images.
    UsageError
        It does not take images of this size.
    """

    def __init__(self, path: Path, form: FileFormat, size: int | None) -> None:
        self._path, self._form = path, form
        contents = form.read(path)  # which proves that it keeps to its folder, before anything else reads it
        self.digest, self.others, self._layers = contents.digest, contents.others, contents.layers
        _require_survived(path, form)
        self._model = self._read()
        shape = self._input(self._model).get_partial_shape()
        self._channels_last = self._layout(shape)
        side, channels = self._side(shape), self._channels(shape)
        if side is not None and size is not None and side != size:
            # Other sides may be accepted, and computed with constants that were made for this one.
            raise UsageError(f"{path}: takes images of {side} pixels, not {size}; export it again for another size")
        self._size = size or side
        self.stated = Stated(size=self._size, channels=channels)

    def graph(self, layer: str) -> Graph:
        """The network up to a layer or, where that is empty, its own output: a map before tokens before a vector."""
        model = self._model.clone()
        channels, size = self.stated.channels or 3, self._size
        assert size is not None  # without one, no features are asked for
        self._reshaped(model, size, channels)
        output = _named(model, layer, self._path) if layer else _widest(model)
        return Graph(model, self._channels_last, output, digest=self._layer_digest(layer))

    def _layer_digest(self, layer: str) -> str | None:
        """Of a layer, where the file's digest says nothing of names."""
        if not layer or not self._layers:
            return None
        part = self._layers.get(layer) or f"OpenVINO's name {layer}"
        return hashlib.sha256(f"{self.digest} {part}".encode()).hexdigest()

    def _read(self) -> Any:
        import openvino

        try:
            model = openvino.Core().read_model(self._path)
        except Exception as error:  # of its own kinds, by format and fault
            raise WeightsError(f"{self._path}: {why(error)}; expected a whole {self._form.name} network") from error
        if len(model.inputs) != 1:
            names = ", ".join(sorted(printable(_name(port), lines=False) for port in model.inputs)) or "none"
            raise WeightsError(f"{self._path}: has the inputs {names}; expected one that takes images")
        return model

    def _input(self, model: Any) -> Any:
        port = model.inputs[0]
        if port.get_partial_shape().rank.is_dynamic or port.get_partial_shape().rank.get_length() != 4:
            raise WeightsError(f"{self._path}: takes {port.get_partial_shape()}; expected images, of four axes")
        return port

    def _layout(self, shape: Any) -> bool:
        first, last = (not shape[axis].is_dynamic and shape[axis].get_length() in (1, 3) for axis in (1, 3))
        return last if first != last else self._form.channels_last

    def _side(self, shape: Any) -> int | None:
        sides = [shape[axis] for axis in ((1, 2) if self._channels_last else (2, 3))]
        if any(side.is_dynamic for side in sides):
            return None
        height, width = (side.get_length() for side in sides)
        if height != width or not 1 <= height <= LARGEST:
            raise WeightsError(f"{self._path}: takes images of {width} x {height}; expected squares of 1 to {LARGEST}")
        return int(height)

    def _channels(self, shape: Any) -> int | None:
        axis = shape[3 if self._channels_last else 1]
        if axis.is_dynamic:
            return None
        if axis.get_length() not in (1, 3):
            raise WeightsError(f"{self._path}: takes {axis.get_length()} channels; expected 1 or 3")
        return int(axis.get_length())

    def _reshaped(self, model: Any, size: int, channels: int) -> None:
        wanted = [1, size, size, channels] if self._channels_last else [1, channels, size, size]
        try:
            model.reshape({model.inputs[0]: wanted})
        except Exception as error:
            raise UsageError(f"{self._path}: does not take one image of {size} pixels ({why(error)})") from error
        for op in model.get_ops():
            if op.get_type_name() == "Reshape" and _loses_numbers(op):
                raise UsageError(
                    f"{self._path}: does not take one image of {size} pixels: its operation "
                    f"{printable(op.get_friendly_name(), lines=False)} was made for another shape"
                )


def _require_survived(path: Path, form: FileFormat) -> None:
    """Have another process read it first: of some damaged files OpenVINO ends the process, without an error."""
    command = [sys.executable, "-c", _READ, str(path)]
    try:
        child = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(
            f"{path}: reading it was given up after {_PATIENCE} s; expected a {form.name} network"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path}: no process could be started to read it ({error.strerror})") from error
    if child.returncode < 0:
        ended = signal.Signals(-child.returncode).name
        raise WeightsError(f"{path}: OpenVINO crashes on it ({ended}); expected a whole {form.name} network")


def _loses_numbers(reshape: Any) -> bool:
    """Whether it gives more or fewer numbers than it takes, which OpenVINO lets pass, and computes something with."""
    before, after = reshape.get_input_partial_shape(0), reshape.get_output_partial_shape(0)
    if before.is_dynamic or after.is_dynamic:
        return False
    return math.prod(before.get_shape()) != math.prod(after.get_shape())


def _named(model: Any, layer: str, path: Path) -> Any:
    """The output of an operation by its name, or a tensor by its own."""
    known: dict[str, Any] = {}
    for op in model.get_ops():
        if op.get_type_name() in ("Constant", "Parameter", "Result"):
            continue
        for port in op.outputs():
            for name in port.get_names():
                known[name] = port
        known.setdefault(op.get_friendly_name(), op.output(0))
    if layer not in known:
        close = difflib.get_close_matches(layer, known, n=3, cutoff=0.4)
        shown = close or [name for name in known if known[name].get_partial_shape().rank.get_length() > 1][-_SHOWN:]
        names = ", ".join(printable(name, lines=False) for name in shown)
        raise UsageError(
            f"{path.name} has no layer {layer!r}; {'did you mean' if close else 'its last ones are'} {names}"
        )
    return known[layer]


def _widest(model: Any) -> Any:
    """The output that says most of where in the image something is: of as many axes, the first."""
    outputs = [port.get_node().input_value(0) for port in model.outputs]
    return max(outputs, key=lambda port: min(port.get_partial_shape().rank.get_length(), 4))


def _name(port: Any) -> str:
    return next(iter(port.get_names()), port.get_node().get_friendly_name())


def why(error: Exception) -> str:
    """What OpenVINO says, in one line; its own places in the code are of no use to anyone."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not re.match(r"(Check |Exception from |While validating)", line)]
    text = printable("; ".join(lines), lines=False)
    return text[:300] or type(error).__name__


def _by_bytes(files: Callable[[Path], list[Path]]) -> Callable[[Path], onnx_files.Contents]:
    """A digest over the bytes of files, whose form says all that there is to say of a network."""

    def read(path: Path) -> onnx_files.Contents:
        total = hashlib.sha256()
        for file in files(path):
            try:
                total.update(bytes.fromhex(sha256_file(file)))
            except OSError as error:
                raise WeightsError(f"{file}: cannot be read ({error.strerror})") from error
        return onnx_files.Contents(total.hexdigest())

    return read


def _alone(path: Path) -> list[Path]:
    return [path]


def _with_weights(path: Path) -> list[Path]:
    return [path, path.with_suffix(".bin")]


def _saved_model(path: Path) -> list[Path]:
    return [path / "saved_model.pb", *sorted((path / "variables").glob("variables.*"))]


ONNX = FileFormat("ONNX", _alone, onnx_files.read, False)
IR = FileFormat("OpenVINO", _with_weights, _by_bytes(_with_weights), False)
TFLITE = FileFormat("TensorFlow Lite", _alone, _by_bytes(_alone), True)
SAVED_MODEL = FileFormat("SavedModel", _saved_model, _by_bytes(_saved_model), True)
FORMATS = {".onnx": ONNX, ".xml": IR, ".tflite": TFLITE}
