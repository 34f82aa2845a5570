"""Post-training quantisation (NNCF) of a network that OpenVINO runs: int8, by the ranges that some images show."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np

from ..errors import UsageError, WeightsError
from ..system.foreign_errors import last_line
from .part_digests import digest_of, operation


def require_installed() -> None:
    """Raise :class:`UsageError` where NNCF is not here; asked without loading it."""
    if importlib.util.find_spec("nncf") is None:
        raise UsageError(
            "precision int8: a network is quantised by NNCF, which is not installed here; run: pip install "
            "'featcache[int8]', or take bfloat16"
        )


def quantise(model: Any, images: Sequence[np.ndarray]) -> Any:
    """The network with its convolutions and matrix products in int8.

    Parameters
    ----------
    model : ``openvino.Model`` of one uint8 image of shape (1, size, size, 3).
    images : what its ranges are taken from, each of that shape.

    Returns
    -------
    ``openvino.Model`` with the same input and outputs; the same one for the same images.

    Raises
    ------
    WeightsError
        It has no such form.
    """
    with _unreported() as nncf, contextlib.redirect_stdout(io.StringIO()):
        try:
            return nncf.quantize(model, nncf.Dataset(list(images)), subset_size=len(images))
        except Exception as error:  # of its own kinds, by network
            raise WeightsError(f"precision int8: NNCF cannot quantise this network ({last_line(error)})") from error


def digest(model: Any) -> str:
    """SHA-256 over a network's operations and constants, ranges among them, hex; names count for nothing."""
    known: dict[str, bytes] = {}
    for op in model.get_ordered_ops():
        inputs: list[bytes | int] = []
        for port in (op.input_value(i) for i in range(op.get_input_size())):
            inputs += [known[port.get_node().get_name()], port.get_index()]
        known[op.get_name()] = digest_of([*operation(op), *inputs])
    return digest_of(known[result.get_name()] for result in model.get_results()).hex()


@contextlib.contextmanager
def _unreported() -> Iterator[Any]:
    """NNCF, silent: on the terminal, and to its makers, where the program around had loaded it before this package."""
    import nncf
    from nncf.telemetry import decorator

    chatter = logging.getLogger("nncf")
    before = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        with mock.patch.object(decorator, "telemetry", mock.MagicMock()):
            yield nncf
    finally:
        chatter.setLevel(before)
