"""What an ONNX file is: proven to keep to its folder, and named by its operations and constants."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from ..system.plain_text import printable
from .part_digests import digest_of

_DEEPEST = 16  # graphs in graphs (of If, Loop and Scan)


@dataclass(frozen=True)
class Contents:
    """What a network's file holds.

    Attributes
    ----------
    digest : SHA-256 over operations, their order and attributes, and constants, hex; names count for nothing.
    others : the other files that hold constants.
    layers : of each tensor and node by its name, the digest of how it comes about: the same network may be there under
        other names, and one name then means another layer. Empty where names are part of ``digest``.
    """

    digest: str
    others: tuple[Path, ...] = ()
    layers: Mapping[str, str] = field(default_factory=dict)


def read(path: Path) -> Contents:
    """What an ONNX file holds.

    Raises :class:`WeightsError` where the file is damaged, or names files outside its own folder; nothing is opened
    then.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    except (DecodeError, ValueError) as error:
        raise WeightsError(f"{path}: not an ONNX file, or damaged ({printable(str(error), lines=False)})") from error
    if not model.graph.node:
        raise WeightsError(f"{path}: holds no operations; expected an ONNX network")
    reader = _Reader(path)
    total = hashlib.sha256(b"onnx")
    try:
        for opset in sorted((entry.domain, entry.version) for entry in model.opset_import):
            total.update(repr(opset).encode())
        for function in model.functions:
            total.update(reader.function(function))
        total.update(reader.graph(model.graph, {}))
    except (TypeError, ValueError, RecursionError) as error:  # text that is none, types that do not go together
        raise WeightsError(f"{path}: a damaged ONNX file ({printable(str(error), lines=False)})") from error
    return Contents(total.hexdigest(), tuple(sorted(reader.others)), reader.layers)


class _Reader:
    """Digests the graphs of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.others: set[Path] = set()
        self.layers: dict[str, str] = {}

    def function(self, function: Any) -> bytes:
        """Digest of a function of the file's own, whose nodes may hold constants too."""
        held = [self._attribute(one, {}, 0) for node in function.node for one in node.attribute]
        return digest_of([_plain(function), *held])

    def graph(self, graph: Any, outer: dict[str, bytes], level: int = 0) -> bytes:
        """Digest of a graph; every value is named by how it comes about, and not by its name."""
        if level > _DEEPEST:
            raise WeightsError(f"{self._path}: graphs in graphs deeper than {_DEEPEST} levels")
        values = dict(outer)
        for position, value in enumerate(graph.input):
            values[value.name] = digest_of([b"input", level, position, _plain(value.type)])
        for tensor in graph.initializer:
            values[tensor.name] = self._tensor(tensor)
        for sparse in graph.sparse_initializer:
            parts = [self._tensor(part) for part in _parts(sparse)]
            values[sparse.values.name] = digest_of([b"sparse", *parts, *sparse.dims])
        effects = []
        for node in graph.node:
            # An input that is nowhere defined leaves the network to whoever reads it, and it is refused there.
            inputs = [values.get(name, b"absent") for name in node.input]
            attributes = sorted((one.name, self._attribute(one, values, level)) for one in node.attribute)
            made = digest_of(
                [node.domain, node.op_type, *inputs, b"with", *[part for pair in attributes for part in pair]]
            )
            effects.append(made)
            for position, name in enumerate(node.output):
                values[name] = digest_of([made, position])
            if not level:
                self.layers |= {name: values[name].hex() for name in node.output}
                self.layers.setdefault(node.name, made.hex())
        outputs = [values.get(value.name, b"absent") for value in graph.output]
        return digest_of([b"graph", *outputs, b"of", *effects])

    def _attribute(self, attribute: Any, values: dict[str, bytes], level: int) -> bytes:
        parts: list[bytes | int] = [attribute.type]
        sparse = [one for whole in (attribute.sparse_tensor, *attribute.sparse_tensors) for one in _parts(whole)]
        parts += [self._tensor(one) for one in (attribute.t, *attribute.tensors, *sparse) if one.ByteSize()]
        graphs = [attribute.g] if attribute.HasField("g") else []
        parts += [self.graph(graph, values, level + 1) for graph in (*graphs, *attribute.graphs)]
        rest = type(attribute)()
        rest.CopyFrom(attribute)
        for name in ("t", "tensors", "g", "graphs", "doc_string", "name"):
            rest.ClearField(name)
        return digest_of([*parts, _plain(rest)])

    def _tensor(self, tensor: Any) -> bytes:
        import onnx

        about = [b"tensor", tensor.data_type, len(tensor.dims), *tensor.dims]
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return digest_of([*about, self._outside(tensor)])
        if tensor.HasField("raw_data"):
            return digest_of([*about, hashlib.sha256(tensor.raw_data).digest()])
        try:
            return digest_of([*about, hashlib.sha256(onnx.numpy_helper.to_array(tensor).tobytes()).digest()])
        except (ValueError, TypeError):  # strings, and types that NumPy does not have
            plain = type(tensor)()
            plain.CopyFrom(tensor)
            plain.ClearField("name")
            plain.ClearField("doc_string")
            return digest_of([*about, _plain(plain)])

    def _outside(self, tensor: Any) -> bytes:
        """Digest of a tensor's bytes in another file of the same folder."""
        given = {entry.key: entry.value for entry in tensor.external_data}
        name = given.get("location", "")
        file = inside(self._path.parent, name, self._path)
        self.others.add(file)
        try:
            offset, length = int(given.get("offset", 0)), int(given.get("length", -1))
        except ValueError:
            offset, length = -1, -1
        size = file.stat().st_size
        length = size - offset if length < 0 and "length" not in given else length
        if offset < 0 or length < 0 or offset + length > size:
            raise WeightsError(
                f"{self._path}: wants bytes {printable(str(given.get('offset', 0)), lines=False)[:40]} and on of "
                f"{printable(name, lines=False)}, which has {size:,}; get both files again"
            )
        total = hashlib.sha256()
        with file.open("rb") as opened:
            opened.seek(offset)
            while length > 0 and (block := opened.read(min(length, 1 << 20))):
                total.update(block)
                length -= len(block)
        return total.digest()


def inside(folder: Path, name: str, owner: Path) -> Path:
    """The ordinary file that another one names, in its folder or below; links do not lead out of it.

    Raises :class:`WeightsError` for anything else.
    """
    shown = printable(name, lines=False)
    try:
        found = (folder / name).resolve(strict=True)
        root = folder.resolve(strict=True)
        ordinary = stat.S_ISREG(os.stat(found).st_mode)
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{owner}: its weights are in {shown!r}, which cannot be read; get both files") from error
    if not name or os.path.isabs(name) or not found.is_relative_to(root) or not ordinary:
        raise WeightsError(
            f"{owner}: wants its weights from {shown!r}, which is not a file in its own folder; nothing was opened"
        )
    return found


def _parts(sparse: Any) -> tuple[Any, Any]:
    return sparse.values, sparse.indices


def _plain(message: Any) -> bytes:
    return message.SerializeToString(deterministic=True)
