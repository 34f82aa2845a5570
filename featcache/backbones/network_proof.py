"""What a network must show before anything that it computes is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from ..errors import WeightsError
from ..spec import FeatureSpec

_log = logging.getLogger(__name__)
_TOLERANCE = 1e-3  # of the largest value: how far a row may move with what is computed beside it

Compute = Callable[[np.ndarray], dict[str, np.ndarray]]


def pictures(size: int) -> np.ndarray:
    """Two pictures that no network takes for the same: uint8 array of shape (2, size, size, 3)."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, size)
    first = (ramp[:, None, None] + rng.normal(0, 20, (size, size, 1))).clip(0, 255)
    second = 255 * (
        (np.hypot(*np.meshgrid(ramp - 90, ramp - 150)) < 80)[:, :, None] ^ (rng.random((size, size, 1)) < 0.1)
    )
    return np.broadcast_to(np.stack([first, second]), (2, size, size, 3)).astype(np.uint8)


def prove(alone: Compute, spec: FeatureSpec, together: Compute | None = None) -> bool:
    """Refuse a network whose features are of no use; say whether it may be given several images at once.

    Parameters
    ----------
    alone : computes one image, an array of shape (1, size, size, 3).
    spec : says what it must give.
    together : computes two; None where the runtime never does.

    Returns
    -------
    Whether two images together give what each gives alone, and so may be computed together.

    Raises
    ------
    WeightsError
        Its features are not finite, the same for any image, or change from one call to the next.
    """
    images = pictures(spec.size)
    rows = [alone(image[None]) for image in images]
    again = alone(images[:1])
    for name in spec.arrays:
        first, second, repeated = (given.get(name) for given in (*rows, again))
        if (
            first is None
            or second is None
            or repeated is None
            or first.shape[:1] != (1,)
            or first.shape != second.shape
        ):
            raise WeightsError(f"{spec.network}: gives no {name!r} of one image; nothing was kept")
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            raise WeightsError(
                f"{spec.network}: gives NaN or infinite values in {name!r} on a plain picture; nothing was kept. Check "
                "the weights, and the preprocessing"
            )
        largest = max(np.abs(first).max(), np.abs(second).max())
        if np.array_equal(first, second):
            raise WeightsError(
                f"{spec.network}: gives the same {name!r} for two different pictures (its largest value is "
                f"{largest:.3g}); nothing was kept. Check --layer, the weights, and the preprocessing"
            )
        if _apart(first, repeated) > _TOLERANCE * largest:
            raise WeightsError(
                f"{spec.network}: gives {name!r} that differ by {_apart(first, repeated):.3g} from one call to the "
                f"next (its largest value is {largest:.3g}); is it in training mode? Nothing was kept"
            )
    if together is None:
        return False
    both = _computed(together, images)
    same = both is not None and all(
        both[name].shape[1:] == rows[0][name].shape[1:]
        and _apart(both[name], np.concatenate([row[name] for row in rows])) <= _TOLERANCE * np.abs(both[name]).max()
        for name in spec.arrays
    )
    if not same:
        _log.info("%s: one image is computed at a time: two at once are not taken, or move each other", spec.network)
    return same


def _computed(together: Compute, images: np.ndarray) -> dict[str, np.ndarray] | None:
    try:
        return together(images)
    except Exception as error:  # noqa: BLE001 - whatever a network that takes one image raises of two
        _log.debug("two images together: %s", error)
        return None


def _apart(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.float64) - second).max())
