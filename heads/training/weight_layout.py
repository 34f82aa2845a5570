"""How the compiled program holds a head's weights: one flat list of tensors, each with a name and a place."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from .architectures import HeadShape

# Numbers in one block of the first kernel. Products, gradients and updates of one block overlap those of others,
# which took 0.88 of the time of one block of 25,088 x 256 (7 to 28 blocks alike).
_BLOCK = 450_000


@dataclass(frozen=True)
class NormPlaces:
    """Where the tensors of a batch normalisation stand."""

    gamma: int
    beta: int
    mean: int
    variance: int


@dataclass(frozen=True)
class LayerPlaces:
    """Where the tensors of a dense layer stand; the first layer's kernel is in blocks, the others' in one piece."""

    kernel: tuple[int, ...]
    bias: int
    norm: NormPlaces | None = None


@dataclass(frozen=True)
class WeightLayout:
    """The places of a head's tensors.

    The first kernel is held transposed, of shape (units, n_features), which over a short batch and many features takes
    0.8 of the time, and cut into blocks of features. All else is as Keras has it, and in Keras' order.

    Attributes
    ----------
    n_features : int
        Columns of the input.
    width : int
        Units of the first layer.
    blocks : tuple of (int, int)
        First and last feature (exclusive) of each block of the first kernel.
    hidden : tuple of LayerPlaces
        The hidden layers.
    output : LayerPlaces
        The output layer.
    """

    n_features: int
    width: int
    blocks: tuple[tuple[int, int], ...]
    hidden: tuple[LayerPlaces, ...]
    output: LayerPlaces

    @classmethod
    @functools.lru_cache(maxsize=64)
    def of(cls, shape: HeadShape) -> WeightLayout:
        """The layout of heads of a shape."""
        count = max(1, shape.n_features * shape.units[0] // _BLOCK)
        bounds = [shape.n_features * i // count for i in range(count + 1)]
        places = itertools.count()
        hidden = []
        for layer in range(len(shape.units)):
            kernel = tuple(next(places) for _ in range(1 if layer else count))
            bias = next(places)
            norm = NormPlaces(*itertools.islice(places, 4)) if shape.batch_norm else None
            hidden.append(LayerPlaces(kernel, bias, norm))
        output = LayerPlaces((next(places),), next(places))
        return cls(shape.n_features, shape.units[0], tuple(itertools.pairwise(bounds)), tuple(hidden), output)

    @property
    def trainable(self) -> list[int]:
        """Places of the tensors that the optimiser changes, in order."""
        places: list[int] = []
        for layer in (*self.hidden, self.output):
            norm = () if layer.norm is None else (layer.norm.gamma, layer.norm.beta)
            places += [*layer.kernel, layer.bias, *norm]
        return places

    @property
    def penalised(self) -> list[int]:
        """Places of the kernels that an L2 penalty is on: those of the hidden layers."""
        return [place for layer in self.hidden for place in layer.kernel]

    def arrange(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        """Weights in Keras' order, as the program holds them."""
        first, *others = weights
        return [*(np.ascontiguousarray(first[low:high].T) for low, high in self.blocks), *others]

    def restore(self, arranged: list[np.ndarray]) -> list[np.ndarray]:
        """The inverse of :meth:`arrange`."""
        first = np.empty((self.n_features, self.width), np.float32)
        for (low, high), block in zip(self.blocks, arranged, strict=False):
            first[low:high] = block.T
        return [first, *arranged[len(self.blocks) :]]
