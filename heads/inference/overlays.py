"""Evidence laid over an image, and the share of it that lies in the border."""

from __future__ import annotations

import numpy as np
from PIL import Image

from . import saliency_plots

_BORDER = 7  # the border is a seventh of the map wide: the outer ring of VGG16's 7 x 7


def overlay(image: Image.Image | np.ndarray, evidence: np.ndarray, size: int) -> Image.Image:
    """An image in grey with the evidence for a class laid over it.

    Positive evidence alone is drawn, transparent at none and in full colour at the strongest cell: what speaks against
    one of several classes speaks for no other in particular, and of two classes it is the other's own map.

    Parameters
    ----------
    image : of any size; an array is uint8 of shape (height, width) or (height, width, 3).
    evidence : array of shape (h, w), a map of :func:`heads.inference.class_activation.contributions`; it covers the
        whole image, and is drawn bilinear, with no more detail than it has.
    size : longer side of the result in pixels; the image keeps its aspect.

    Returns
    -------
    RGB image.
    """
    picture = (image if isinstance(image, Image.Image) else Image.fromarray(image)).convert("L")
    scale = size / max(picture.size)
    extent = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    grey = np.asarray(picture.resize(extent, Image.Resampling.BILINEAR), np.float32)[:, :, None] / 255
    positive = np.maximum(evidence, 0).astype(np.float32)
    strongest = positive.max()
    share = positive / strongest if strongest > 0 else positive
    fine = np.asarray(Image.fromarray(share).resize(extent, Image.Resampling.BILINEAR))
    colours = saliency_plots.evidence_colours()(fine)
    blended = grey * (1 - colours[:, :, 3:]) + colours[:, :, :3] * colours[:, :, 3:]
    return Image.fromarray((blended * 255 + 0.5).astype(np.uint8))


def border_share(evidence: np.ndarray) -> np.ndarray:
    """Share of the positive evidence that lies in the border, a seventh of the map wide on each side (at least a cell).

    Much more there than the border's share of the area hints that a model looks at collimation, letters or padding
    rather than lungs. It proves nothing: a cell sees far beyond its square.

    Parameters
    ----------
    evidence : array of shape (n, h, w).

    Returns
    -------
    array of shape (n,); NaN where there is no positive evidence.
    """
    positive = np.maximum(evidence, 0).astype(np.float64)
    down, across = (max(1, round(side / _BORDER)) for side in positive.shape[1:])
    inside = positive[:, down:-down, across:-across].sum(axis=(1, 2))
    total = positive.sum(axis=(1, 2))
    return 1 - np.divide(inside, total, out=np.full(len(total), np.nan), where=total > 0)
