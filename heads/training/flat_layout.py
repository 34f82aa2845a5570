"""How the compiled step holds a head's weights: the first kernel, and all else in one row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .architectures import HeadShape

# Columns of the table: what enters and leaves a layer, and where its tensors begin; -1 where there is none.
INPUTS, OUTPUTS, KERNEL, BIAS, GAMMA, BETA, MEAN, VARIANCE = range(8)
_EVEN = 16  # units are filled up to a multiple of it, with zeros that stay zeros


@dataclass(frozen=True)
class FlatLayout:
    """The places of a head's tensors.

    Attributes
    ----------
    shape : HeadShape
        The head.
    table : int64 array of shape (layers, 8)
        A layer's sizes, and the places of its tensors in the row; the output layer is the last.
    """

    shape: HeadShape
    table: np.ndarray

    @classmethod
    def of(cls, shape: HeadShape) -> FlatLayout:
        """The layout of heads of a shape."""
        rows, place = [], 0
        for number, (inputs, outputs) in enumerate(shape.widths):
            row = [inputs, outputs, -1, -1, -1, -1, -1, -1]
            if number:
                row[KERNEL], place = place, place + inputs * outputs
            row[BIAS], place = place, place + outputs
            if shape.batch_norm and number < len(shape.units):
                for column in (GAMMA, BETA, MEAN, VARIANCE):
                    row[column], place = place, place + outputs
            rows.append(row)
        return cls(shape, np.array(rows, np.int64))

    def arrange(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        """Weights in Keras' order, as the compiled step holds them: copies."""
        first, *others = weights
        kernel = np.zeros((len(first), -(-first.shape[1] // _EVEN) * _EVEN), np.float32)
        kernel[:, : first.shape[1]] = first
        return [kernel, np.concatenate([np.ravel(w) for w in others]).astype(np.float32)]

    def restore(self, arranged: list[np.ndarray]) -> list[np.ndarray]:
        """The inverse of :meth:`arrange`."""
        kernel, row = arranged
        weights, place = [kernel[:, : self.shape.units[0]].copy()], 0
        for shape in self.shape.weight_shapes[1:]:
            size = int(np.prod(shape))
            weights.append(row[place : place + size].reshape(shape).copy())
            place += size
        return weights
