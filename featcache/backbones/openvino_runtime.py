"""Features on OpenVINO: the fast way on CPUs.

Each image is a request of its own, and requests run side by side, a thread or few each: no batch has to be filled up,
and a row does not depend on what was computed beside it, to the last bit.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import logging
import math
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WeightsError
from ..spec import FeatureSpec
from ..system import tensor_files
from ..system.foreign_errors import last_line
from .frozen_graph import freeze, to_openvino, with_constants
from .inference_graph import cut, pixels_to_features
from .precisions import OPENVINO_HINTS, require_on_processor
from .runtime import OutOfMemoryError

_log = logging.getLogger(__name__)
_PER_STREAM, _AT_MOST = 16, 128  # images a call: enough that no stream waits long for the others


def convert(model: Any, spec: FeatureSpec) -> Any:
    """The network as an ``openvino.Model``, from uint8 images of shape (1, size, size, 3) to the spec's arrays."""
    function = pixels_to_features(with_constants(cut(model, spec)), spec)
    graph = freeze(function, (1, spec.size, spec.size, 3), "uint8")
    return to_openvino(graph, spec.arrays, spec.backbone)


def keep(converted: Any, path: Path) -> None:
    """Write what :func:`convert` gave, durably, with its digest."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "network.xml"
        try:
            openvino.save_model(converted, xml, compress_to_fp16=False)
        except RuntimeError as error:  # which says nothing of disks
            raise OSError(errno.ENOSPC, "no room left for the converted network?", folder) from error
        parts = [np.fromfile(xml.with_suffix(suffix), np.uint8) for suffix in (".xml", ".bin")]
    tensor_files.write_tensors(path, [*parts, _digest(parts)])


def load(path: Path) -> Any | None:
    """What :func:`keep` wrote; None where there is nothing, or where it is damaged: convert again."""
    if not path.exists():
        return None
    try:
        return read(path)
    except WeightsError as error:
        _log.warning("%s; converting the network again", error)
        with contextlib.suppress(OSError):
            path.unlink()
        return None


def read(path: Path) -> Any:
    """What :func:`keep` wrote, as an ``openvino.Model``; :class:`WeightsError` where it is anything else."""
    import openvino

    try:
        *parts, digest = tensor_files.read_tensors(path)
        if len(parts) != 2 or not np.array_equal(_digest(parts), digest):
            raise WeightsError("its digest is not that of its bytes")
        return openvino.Core().read_model(parts[0].tobytes(), openvino.Tensor(parts[1]))
    except (WeightsError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: not usable ({str(error).strip()})") from error


def parameters(path: Path) -> int:
    """Numbers that a kept network computes with, single ones aside; 0 where it is not kept."""
    if not path.exists():
        return 0
    constants = [op for op in read(path).get_ops() if op.get_type_name() == "Constant"]
    sizes = [math.prod(op.get_output_shape(0)) for op in constants if op.get_output_element_type(0).is_real()]
    return sum(size for size in sizes if size > 1)


def _digest(parts: list[np.ndarray]) -> np.ndarray:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part.data)
    return np.frombuffer(total.digest(), np.uint8)


def _not_run(network: str, error: RuntimeError) -> WeightsError:
    return WeightsError(f"{network}: this machine's OpenVINO cannot run it ({last_line(error)})")


class OpenVINORuntime:
    """A converted network on the CPU.

    Parameters
    ----------
    converted : what :func:`convert` or :func:`load` gave.
    spec : says what is kept.
    threads : of the processor; None for all.
    arrays : names of its outputs, where they are not the spec's.
    at_once : each image on all cores, so that one alone is soon done; otherwise several side by side.
    """

    def __init__(
        self,
        converted: Any,
        spec: FeatureSpec,
        threads: int | None = None,
        arrays: Sequence[str] | None = None,
        at_once: bool = False,
    ) -> None:
        import openvino

        require_on_processor(spec.precision)
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY" if at_once else "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": OPENVINO_HINTS[spec.precision],  # without one, some CPUs would take bfloat16
        }
        if threads:
            # Beside other processes: pinned threads would all be pinned to the same cores.
            settings |= {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
        try:
            self._compiled = openvino.Core().compile_model(converted, "CPU", settings)
        except RuntimeError as error:
            raise _not_run(spec.network, error) from error
        streams = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self.batches = (min(_PER_STREAM * streams, _AT_MOST),)
        self.info = {"name": "openvino", "version": importlib.metadata.version("openvino"), "device": "cpu"}
        self._arrays, self._network = tuple(arrays or spec.arrays), spec.network
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(streams, thread_name_prefix="network")

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = [self._compiled.output(f"{name}:0") for name in self._arrays]
        rows = {
            name: np.empty((len(images), *tuple(port.shape)[1:]), port.get_element_type().to_dtype())
            for name, port in zip(self._arrays, outputs, strict=True)
        }

        def one(position: int) -> None:
            request = self._request()
            request.infer({0: images[position : position + 1]}, share_inputs=True, share_outputs=True)
            for name, port in zip(self._arrays, outputs, strict=True):
                rows[name][position] = request.get_tensor(port).data[0]

        try:
            for _ in self._pool.map(one, range(len(images))):
                pass
        except RuntimeError as error:
            if "alloc" in str(error):
                raise OutOfMemoryError(last_line(error)) from None
            raise _not_run(self._network, error) from error
        return rows

    def _request(self) -> Any:
        """The calling thread's own request, with its own memory."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        return self._own.request
