"""PyTorch as a runtime: whether it is to be had, without loading it, and float32 that is float32."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from ..errors import UsageError
from .tensorflow_setup import gpu_likely

PRECISIONS = ("float32", "bfloat16", "float16")


def installed() -> bool:
    """Whether PyTorch is installed, asked without loading it."""
    return importlib.util.find_spec("torch") is not None


def has_gpu() -> bool:
    """Whether PyTorch has a GPU here. It is loaded for that only where there may be one."""
    if not (installed() and gpu_likely()):
        return False
    import torch

    return bool(torch.cuda.is_available())


def check(precision: str) -> None:
    """Raise :class:`UsageError` where PyTorch is not to be had, or not at this precision."""
    if not installed():
        raise UsageError("runtime 'torch' is not installed here; run: pip install torch, or take openvino")
    if precision not in PRECISIONS:
        raise UsageError(
            f"runtime 'torch' computes in {', '.join(PRECISIONS)}; for --precision {precision} take openvino"
        )


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Float32 products within are of float32, whatever the program around chose; its choice stands again after.

    TF32, which PyTorch uses for convolutions by default, moves features by about 1e-3.
    """
    import torch

    of = torch.backends
    settings: list[tuple[Any, str, Any]]
    if hasattr(of.cuda.matmul, "fp32_precision"):
        kinds = (of.cuda.matmul, of.cudnn.conv, of.cudnn.rnn, of.mkldnn.matmul, of.mkldnn.conv, of.mkldnn.rnn)
        settings = [(kind, "fp32_precision", "ieee") for kind in kinds]
    else:  # before PyTorch 2.9
        settings = [(of.cuda.matmul, "allow_tf32", False), (of.cudnn, "allow_tf32", False)]
    before = [getattr(kind, name) for kind, name, _ in settings]
    try:
        for kind, name, exact in settings:
            setattr(kind, name, exact)
        yield
    finally:
        for (kind, name, _), value in zip(settings, before, strict=True):
            setattr(kind, name, value)
