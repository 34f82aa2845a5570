"""Small pictures of images as data URIs, within a budget of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence

from PIL import Image

from ..evaluation.thumbnail import thumbnail

_QUALITY = 72


def data_uri(image: Image.Image) -> str:
    """An image as a JPEG within the text of a page."""
    buffer = io.BytesIO()
    image.convert("RGB" if image.mode not in ("L", "RGB") else image.mode).save(
        buffer, "JPEG", quality=_QUALITY, optimize=True
    )
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getbuffer()).decode()


def thumbnails(
    paths: Sequence[str],
    rows: Sequence[int],
    side: int,
    budget: int,
    over: Callable[[Sequence[tuple[int, Image.Image]]], Sequence[Image.Image | None]] | None = None,
) -> tuple[dict[int, str], dict[int, str]]:
    """Thumbnails, and what is drawn over them, of as many images as fit.

    Parameters
    ----------
    paths : image files.
    rows : positions in ``paths``, those that matter most first.
    side : of the square they fit in, pixels.
    budget : characters that all of them may take.
    over : makes pictures with something drawn over each; given some rows and their thumbnails.

    Returns
    -------
    Data URIs by row: plain, and drawn over (of no more rows than the plain ones).
    """
    plain: dict[int, str] = {}
    drawn: dict[int, str] = {}
    for start in range(0, len(rows), 32):
        block = [(row, thumbnail(paths[row], side)) for row in rows[start : start + 32]]
        small = [(row, image) for row, image in block if image is not None]
        layers = over(small) if over is not None and small else [None] * len(small)
        for (row, image), layer in zip(small, layers, strict=True):
            uri = data_uri(image)
            extra = data_uri(layer) if layer is not None else ""
            budget -= len(uri) + len(extra)
            if budget < 0:
                return plain, drawn
            plain[row] = uri
            if extra:
                drawn[row] = extra
    return plain, drawn
