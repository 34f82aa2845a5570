"""Weights of frozen networks, kept under their digest: what a bundle needs to make features of a new image.

One safetensors file a network, its tensors named by their position in Keras' order. The names in Keras' own files
change between its versions; the order of a network's tensors does not, and the digest tells if it should.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from . import durable
from .errors import WeightsError


def keep(model: Any, path: Path) -> None:
    """Write the weights of a Keras model to ``path``, unless they are there."""
    if not path.exists():
        write_tensors(path, [np.asarray(variable) for variable in model.weights])


def load(model: Any, path: Path) -> None:
    """Load into a Keras model what :func:`keep` wrote.

    Raises :class:`WeightsError` where the file is anything else.
    """
    tensors = read_tensors(path)
    wanted = [tuple(variable.shape) for variable in model.weights]
    found = [tensor.shape for tensor in tensors]
    if wanted != found:
        raise WeightsError(f"{path}: holds {len(found)} tensors that do not fit {model.name}, which has {len(wanted)}")
    for variable, tensor in zip(model.weights, tensors, strict=True):
        variable.assign(tensor)


def write_tensors(path: Path, tensors: list[np.ndarray]) -> None:
    """Write a list of arrays as safetensors, durably."""
    from safetensors.numpy import save

    named = {f"{position:05d}": np.ascontiguousarray(tensor) for position, tensor in enumerate(tensors)}
    durable.write_bytes(path, save(named))


def read_tensors(path: Path) -> list[np.ndarray]:
    """Read what :func:`write_tensors` wrote.

    Raises :class:`WeightsError` where the file is anything else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        named = load_file(path)
        return [named[f"{position:05d}"] for position in range(len(named))]
    except (SafetensorError, OSError, KeyError) as error:
        raise WeightsError(f"{path}: not a readable list of tensors ({error})") from error


def place(source: Path, target: Path) -> None:
    """The same file at a second place: a hard link where the file system can, else a copy."""
    target.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
