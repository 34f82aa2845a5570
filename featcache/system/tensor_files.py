"""Weights of frozen networks, kept under their digest: what a bundle needs to make features of a new image.

One safetensors file a network, its tensors named by their position in Keras' order. The names in Keras' own files
change between its versions; the order of a network's tensors does not, and the digest tells if it should.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from ..errors import WeightsError
from . import atomic_files, schema

_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
_LONGEST = 16 << 20  # bytes of a header; a tensor takes some 80
_ADVICE = "Get the file again; what the cache keeps is made anew where it is deleted"


class _Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """What a header says of a tensor."""

    dtype: Literal[tuple(_BYTES)]  # type: ignore[valid-type]
    shape: Annotated[list[schema.Count], Meta(max_length=16)]
    data_offsets: tuple[schema.Count, schema.Count]


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
    # A single number, such as EfficientNet's count of rows, was written as an array of one before.
    held = [
        () if shape == () and tensor.shape == (1,) else tensor.shape
        for shape, tensor in zip(wanted, tensors, strict=False)
    ]
    held += [tensor.shape for tensor in tensors[len(wanted) :]]
    if wanted != held:
        raise WeightsError(f"{path}: holds {len(held)} tensors that do not fit {model.name}, which has {len(wanted)}")
    for variable, tensor in zip(model.weights, tensors, strict=True):
        variable.assign(tensor.reshape(variable.shape))


def write_tensors(path: Path, tensors: list[np.ndarray]) -> None:
    """Write a list of arrays as safetensors, durably."""
    from safetensors.numpy import save

    named = {f"{position:05d}": np.asarray(tensor, order="C") for position, tensor in enumerate(tensors)}
    atomic_files.write_bytes(path, save(named))


def read_tensors(path: Path) -> list[np.ndarray]:
    """Read what :func:`write_tensors` wrote.

    Raises :class:`WeightsError` where the file is anything else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        _check_header(path)
        named = load_file(path)
        return [named[f"{position:05d}"] for position in range(len(named))]
    except (SafetensorError, OSError, KeyError) as error:
        raise WeightsError(f"{path}: not a readable list of tensors ({error})") from error


def _check_header(path: Path) -> None:
    """Refuse a header that is longer than the file, and tensors of another size than the bytes they are given."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST):
            raise WeightsError(
                f"{path}: not a readable list of tensors: a header of {length:,} bytes in a file of {size:,}. {_ADVICE}"
            )
        text = file.read(length)
    tensors = schema.read(text, dict[str, _Tensor], f"{path}: not a readable list of tensors", _ADVICE, WeightsError)
    held = size - 8 - length
    for name, tensor in tensors.items():
        start, stop = tensor["data_offsets"]
        if stop > held or stop - start != math.prod(tensor["shape"]) * _BYTES[tensor["dtype"]]:
            raise WeightsError(
                f"{path}: not a readable list of tensors: {name[:40]!r} of shape {tensor['shape']} in bytes "
                f"{start:,} to {stop:,} of {held:,}. {_ADVICE}"
            )


def place(source: Path, target: Path) -> None:
    """The same file at a second place: a hard link where the file system can, else a copy."""
    target.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
