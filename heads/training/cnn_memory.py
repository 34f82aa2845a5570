"""What the reference's own network takes in memory, told before it is trained."""

from __future__ import annotations

from featcache.errors import UsageError
from featcache.system import memory

from .architectures import own_cnn_sizes

PREDICT_BATCH = 32  # images that are predicted at once
# What was trained in this process before. It has not given back the memory of the first, so another network of the kind
# takes no more than the process already holds.
_trained: set[tuple[int, int, int, int]] = set()
# Measured on a CPU as growth of the process's peak, in multiples of the weights' bytes and of one image's activations:
# weights, gradients, Adam's two moments and their copies in passing; activations and their gradients; Keras' own.
_OF_WEIGHTS, _OF_ACTIVATIONS, _BESIDES = 9, 2.2, 100_000_000


def bytes_of(size: int, units: int, n_classes: int, batch_size: int) -> int:
    """What training the network on images of ``size`` pixels, and predicting with it, takes at its peak."""
    parameters, values = own_cnn_sizes(n_classes, size, units)
    return int(4 * (_OF_WEIGHTS * parameters + max(_OF_ACTIVATIONS * batch_size, PREDICT_BATCH) * values)) + _BESIDES


def require_room(size: int, units: int, n_classes: int, batch_size: int) -> None:
    """Raise :class:`UsageError` where the network does not fit below the limit in force.

    Without a limit nothing is asked.
    """
    limit = memory.limit()
    shape = (size, units, n_classes, batch_size)
    if limit is None or shape in _trained:
        return
    held, more = memory.resident(), bytes_of(*shape)
    if limit - held < more:
        raise UsageError(
            f"memory: {limit / 1e6:,.0f} MB are too little; the process holds {held / 1e6:,.0f} MB, and training the "
            f"own CNN on {batch_size} images of {size} x {size} at once takes {more / 1e6:,.0f} MB more. Allow "
            f"{(held + more) / 1e6:,.0f} MB, or take a smaller batch size"
        )
    _trained.add(shape)
