"""What of an image's pixels tells whether it is fit to learn from: contrast, blur, clipping, colour, burnt-in text."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter1d

from .burnt_in_text import letters

#: What :func:`measure` gives, in this order.
MEASURES = ("spread", "deviation", "blur", "white", "black", "coloured", "letters")
_REBLUR = 11  # pixels of a picture of 256
_COLOUR = 16  # grey levels between the channels of a pixel, from which it is coloured
_SAMPLED = 128  # pixels a side, at least, that are asked for their colour


def measure(pixels: np.ndarray, grey: Image.Image, counts: np.ndarray, squashed: np.ndarray) -> np.ndarray:
    """What :data:`MEASURES` names, float64 array of shape (7,).

    ``spread`` is the grey levels between the 2nd and the 98th percentile, ``deviation`` their standard deviation,
    ``blur`` 0 to 1 (:func:`blur`), ``white`` and ``black`` the shares of pixels at either end, ``coloured`` the share
    of pixels that have a colour, ``letters`` how many stand in a line
    (:func:`heads.auditing.burnt_in_text.letters`).

    Parameters
    ----------
    pixels : uint8 array of shape (height, width, 3).
    grey : the same in grey.
    counts : int array of shape (256,), pixels of each grey.
    squashed : float32 array of shape (256, 256), the grey picture.
    """
    total = counts.sum()
    levels = np.arange(256)
    mean = float(counts @ levels) / total
    step = max(1, min(pixels.shape[:2]) // _SAMPLED)
    some = pixels[::step, ::step]
    red, green, blue = some[..., 0], some[..., 1], some[..., 2]
    apart = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return np.array(
        [
            _percentile(counts, 0.98) - _percentile(counts, 0.02),
            (float(counts @ (levels - mean) ** 2) / total) ** 0.5,
            blur(squashed),
            float(counts[254:].sum()) / total,
            float(counts[:2].sum()) / total,
            float((apart > _COLOUR).mean()),
            letters(grey),
        ]
    )


def blur(picture: np.ndarray) -> float:
    """How blurred a picture is, from 0 (sharp) to 1: how little it changes when blurred again (Crete et al. 2007).

    Of the two directions the more blurred one counts.
    """
    worst = 0.0
    for axis in (0, 1):
        steps = np.abs(np.diff(picture, axis=axis))
        again = np.abs(np.diff(uniform_filter1d(picture, _REBLUR, axis=axis), axis=axis))
        total = float(steps.sum())
        if total > 0:
            worst = max(worst, 1 - float(np.maximum(steps - again, 0).sum()) / total)
    return worst


def _percentile(counts: np.ndarray, share: float) -> float:
    """As :func:`numpy.percentile` of the pixels themselves."""
    reached = np.cumsum(counts)
    place = share * (reached[-1] - 1)
    low, high = (int(np.searchsorted(reached, number, side="right")) for number in (int(place), int(np.ceil(place))))
    return low + (high - low) * (place - int(place))
