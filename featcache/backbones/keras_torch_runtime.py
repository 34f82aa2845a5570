"""Networks of Keras on PyTorch, in a process of their own: Keras keeps to the backend that it was loaded with."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WeightsError
from ..spec import FeatureSpec
from ..system.plain_text import printable
from . import array_pipe
from .runtime import OutOfMemoryError

_CPU_BATCHES, _GPU_BATCHES = (16, 32, 8), (64, 32, 128)
_WORKER = "featcache.backbones.keras_torch_worker"
_PATIENCE = 10  # seconds for the process to end once nobody asks


class KerasTorchRuntime:
    """A network of the table on Keras' own PyTorch backend; see :class:`featcache.backbones.runtime.Runtime`.

    Parameters
    ----------
    specs : of a network of the table; several differ in the layer alone.
    kept : its weights, as :func:`featcache.system.tensor_files.keep` wrote them.
    threads : of the processor; None for all.

    Raises
    ------
    WeightsError
        The process cannot be started, or does not have this network with these weights.
    """

    def __init__(self, specs: tuple[FeatureSpec, ...], kept: Path, threads: int | None = None) -> None:
        self._network = specs[0].network
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        package = str(Path(__file__).parents[2])
        environment = {
            **os.environ,
            "KERAS_BACKEND": "torch",
            "PYTHONPATH": os.pathsep.join([package, *filter(None, sys.path)]),
            "PYTHONSAFEPATH": "1",  # nothing of the folder that the program happens to stand in
        }
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    _WORKER,
                    str(kept.absolute()),
                    str(threads or 0),
                    *(one.to_json() for one in specs),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env=environment,
            )
        except OSError as error:
            raise WeightsError(f"{self._network}: no process could be started for it ({error.strerror})") from error
        self._end = weakref.finalize(self, _end, self._process)
        said, _ = self._answer()
        self.info = {"name": "torch", "version": said["version"], "device": said["device"], "keras": True}
        self.batches = _CPU_BATCHES if said["device"] == "cpu" else _GPU_BATCHES

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        with contextlib.suppress(BrokenPipeError):  # the answer says why
            assert self._process.stdin is not None
            array_pipe.send(self._process.stdin, {}, {"images": images})
        return self._answer()[1]

    def _answer(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        assert self._process.stdout is not None
        try:
            said, arrays = array_pipe.receive(self._process.stdout)
        except EOFError as error:
            self._process.wait(_PATIENCE)
            self._said.seek(0)
            words = self._said.read().decode(errors="replace").strip().splitlines()[-1:]
            reason = printable("".join(words), lines=False)[:200] or f"exit code {self._process.returncode}"
            raise WeightsError(
                f"{self._network}: the process that computes it with Keras on PyTorch has ended ({reason}); what was "
                "done is kept. Out of memory? Take a smaller --batch-size, or leave --runtime away"
            ) from error
        if "no room" in said:
            raise OutOfMemoryError(said["no room"])
        if "failed" in said:
            raise WeightsError(f"{self._network}: not to be computed by Keras on PyTorch ({said['failed']})")
        return said, arrays


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have the process end by closing its pipes."""
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
