"""What a traced PyTorch network is: named by its operations, how values come about, and its constants."""

from __future__ import annotations

from typing import Any

from ..errors import WeightsError
from .part_digests import digest_of

# What gives something else at each call: no feature of an image.
_DRAWING = {"rand", "randn", "rand_like", "randn_like", "randint", "randperm", "bernoulli", "normal", "multinomial"}


def digest(traced: Any, name: str) -> str:
    """SHA-256 over a trace's inlined graph, hex; the names of values and of modules count for nothing.

    Parameters
    ----------
    traced : what ``torch.jit.trace`` gave.
    name : of the network, for the message.

    Raises :class:`WeightsError` where it draws random numbers.
    """
    graph = traced.inlined_graph
    this, *images = graph.inputs()
    reader = _Reader(name)
    reader.objects[this.debugName()] = traced
    for position, value in enumerate(images):
        reader.values[value.debugName()] = digest_of(["input", position])
    return reader.block(graph).hex()


class _Reader:
    """Digests of one graph: what each value is, by the name it has there."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.objects: dict[str, Any] = {}  # modules, of which tensors are got by attribute
        self.values: dict[str, bytes] = {}

    def block(self, block: Any) -> bytes:
        """Of a graph, or of a block in one: every operation in its order, since some change their inputs."""
        effects = []
        for node in block.nodes():
            if node.kind() == "prim::GetAttr":
                self._got(node)
                continue
            made = self._made(node)
            effects.append(made)
            for position, value in enumerate(node.outputs()):
                self.values[value.debugName()] = digest_of([made, position])
        return digest_of(["graph", *(self._value(value) for value in block.outputs()), "of", *effects])

    def _got(self, node: Any) -> None:
        found = getattr(self.objects[node.input().debugName()], node.s("name"))
        place = node.output().debugName()
        if hasattr(found, "dtype") and hasattr(found, "shape"):
            self.values[place] = _tensor(found)
        elif isinstance(found, bool | int | float | str | None):
            self.values[place] = digest_of(["constant", repr(found)])
        else:
            self.objects[place] = found

    def _made(self, node: Any) -> bytes:
        kind = node.kind()
        if kind.partition("::")[2].rstrip("_") in _DRAWING:
            raise WeightsError(
                f"{self._name}: draws random numbers ({kind}), and so gives other features at each call; expected a "
                "network that gives the same for the same image"
            )
        attributes = [part for name in sorted(node.attributeNames()) for part in (name, self._attribute(node, name))]
        inputs = [self._value(value) for value in node.inputs()]
        blocks = []
        for block in node.blocks():
            for position, value in enumerate(block.inputs()):
                self.values[value.debugName()] = digest_of(["inner", position, *inputs])
            blocks.append(self.block(block))
        return digest_of([kind, *inputs, "with", *attributes, "around", *blocks])

    def _attribute(self, node: Any, name: str) -> bytes:
        kind = node.kindOf(name)
        value = node.output().toIValue() if kind == "ival" or node.kind() == "prim::Constant" else None
        value = getattr(node, kind)(name) if value is None else value
        if hasattr(value, "dtype") and hasattr(value, "shape"):
            return _tensor(value)
        return digest_of([kind, repr(value)])

    def _value(self, value: Any) -> bytes:
        return self.values.get(value.debugName(), b"module")


def _tensor(tensor: Any) -> bytes:
    import torch

    plain = tensor.detach().cpu().contiguous()
    content = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return digest_of(["tensor", str(plain.dtype), len(plain.shape), *plain.shape, content])
