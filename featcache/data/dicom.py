"""DICOM files to pixels, by pydicom (extra ``dicom``).

The rules: modality rescale, then the file's first VOI window or table, then MONOCHROME1 turned so that bright is
bright; of several frames the first; colour and palettes converted to RGB.

A small file may promise much: a deflated data set inflates a thousandfold, and the frame within may be larger than the
header says. Both are found out before anything is decoded (:mod:`featcache.data.image_headers`).
"""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np

from . import image_headers

HINT = "this is a DICOM file: pip install 'featcache[dicom]'"
_BYTES_A_PIXEL = 4  # of a deflated file's pixel data, at most: of one frame of 32 bits, or of more of fewer
_REST = 64_000_000  # bytes of all else in a deflated file


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
        pydicom is missing, the file has no image, promises more than ``max_pixels`` pixels, inflates to more than four
        bytes for each of these, or its frame promises more than its header.
    """
    try:
        from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
    except ImportError:
        raise ValueError(HINT) from None

    dataset = _read(data, _BYTES_A_PIXEL * max_pixels + _REST)
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if not rows or not columns:
        raise ValueError("the DICOM file holds no image")
    if rows * columns > max_pixels:
        raise ValueError(f"{columns} x {rows} is more than {max_pixels:,} pixels")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        _keep_first_frame(dataset, rows, columns)
    frame = pixel_array(dataset, index=0)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        if "SegmentedRedPaletteColorLookupTableData" in dataset:
            raise ValueError("palettes in segments are not supported")  # a few bytes of them may promise gigabytes
        frame = apply_color_lut(frame, dataset)
        if frame.dtype == np.uint16:
            frame = (frame >> 8).astype(np.uint8)
    if frame.ndim == 3:
        if frame.dtype != np.uint8:
            raise ValueError(f"colour DICOM of {frame.dtype} is not supported, expected uint8")
        return np.ascontiguousarray(frame)
    shown = apply_voi_lut(apply_modality_lut(frame, dataset), dataset, index=0).astype(np.float64)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = shown.max() - shown
    return shown


def _read(data: bytes, most: int) -> Any:
    """The data set; a deflated one is inflated here, and not by pydicom, which knows no limit."""
    import pydicom
    from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

    file = io.BytesIO(data)
    read_preamble(file, force=False)
    meta = _read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return pydicom.dcmread(io.BytesIO(data))
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflate.decompress(file.read(), most + 1)
    if len(plain) > most:
        raise ValueError(f"the DICOM file inflates to more than {most / 1e6:.0f} MB")
    if not inflate.eof:
        raise ValueError("the deflated DICOM file is cut short")
    dataset = read_dataset(io.BytesIO(plain), is_implicit_VR=False, is_little_endian=True)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    return dataset


def _keep_first_frame(dataset: Any, rows: int, columns: int) -> None:
    """Leave the first of the compressed frames, once it has been found to promise what the header does.

    The decoders are given the very frame that was looked at.
    """
    from pydicom.encaps import encapsulate, get_frame
    from pydicom.uid import RLELossless

    offsets = None
    if "ExtendedOffsetTable" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
        del dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths
    frames = int(dataset.get("NumberOfFrames") or 1)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=frames, extended_offsets=offsets)
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        image_headers.check_rle(frame, rows * columns)
    else:
        width, height, components = image_headers.promised(frame)
        if width * height > rows * columns or components > 4:
            raise ValueError(
                f"its frame promises {width} x {height} pixels of {components} components, "
                f"its header {columns} x {rows}"
            )
    dataset.NumberOfFrames = 1
    dataset.PixelData = encapsulate([frame])
