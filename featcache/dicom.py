"""DICOM files to pixels, by pydicom (extra ``dicom``).

The rules: modality rescale, then the file's first VOI window or table, then MONOCHROME1 turned so that bright is
bright; of several frames the first; colour converted to RGB.
"""

from __future__ import annotations

import io

import numpy as np

HINT = "this is a DICOM file: pip install 'featcache[dicom]'"


def is_dicom(data: bytes) -> bool:
    """Whether the bytes carry the mark of DICOM part 10 (``DICM`` after a preamble of 128 bytes)."""
    return data[128:132] == b"DICM"


def pixels(data: bytes, max_pixels: int) -> np.ndarray:
    """Decode the first frame.

    Returns
    -------
    float array of shape (height, width) with the values as displayed, whatever their range, or
    uint8 array of shape (height, width, 3) for colour.

    Raises
    ------
    ValueError
        pydicom is missing, the file has no image, or promises more than ``max_pixels`` pixels.
    """
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array
    except ImportError:
        raise ValueError(HINT) from None

    header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    rows, columns = int(header.get("Rows", 0)), int(header.get("Columns", 0))
    if not rows or not columns:
        raise ValueError("the DICOM file holds no image")
    if rows * columns > max_pixels:
        raise ValueError(f"{columns} x {rows} is more than {max_pixels:,} pixels")
    dataset = pydicom.dcmread(io.BytesIO(data))
    frame = pixel_array(dataset, index=0)
    if frame.ndim == 3:
        if frame.dtype != np.uint8:
            raise ValueError(f"colour DICOM of {frame.dtype} is not supported, expected uint8")
        return np.ascontiguousarray(frame)
    shown = apply_voi_lut(apply_modality_lut(frame, dataset), dataset, index=0).astype(np.float64)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = shown.max() - shown
    return shown
