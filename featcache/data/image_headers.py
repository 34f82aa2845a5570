"""What compressed pictures promise, read from their first bytes before anything is decoded."""

from __future__ import annotations

import struct

_NO_SIZE = (0xC4, 0xC8, 0xCC)  # among the markers C0 to CF: tables, and one that is reserved
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers that no segment follows
_J2K = b"\xff\x4f\xff\x51"
_RLE_SLACK = 1024  # bytes by which a segment may exceed its plane: padding


def promised(frame: bytes) -> tuple[int, int, int]:
    """Width, height and components of a JPEG (lossless and JPEG-LS, too) or a JPEG 2000 picture.

    Raises :class:`ValueError` where none can be read.
    """
    if frame[:2] == b"\xff\xd8":
        return _jpeg(frame)
    start = frame.find(_J2K)
    if start >= 0 and len(frame) >= start + 42:  # ISO 15444-1, A.5.1
        right, lower, left, upper = struct.unpack(">4I", frame[start + 8 : start + 24])
        (components,) = struct.unpack(">H", frame[start + 40 : start + 42])
        return max(0, right - left), max(0, lower - upper), components
    raise ValueError("its frame is neither JPEG nor JPEG 2000")


def _jpeg(frame: bytes) -> tuple[int, int, int]:
    """From the first frame header (ISO 10918-1, B.2.2)."""
    place = 2
    while place + 4 <= len(frame):
        if frame[place] != 0xFF:
            break
        marker = frame[place + 1]
        if marker == 0xFF:  # filling
            place += 1
        elif marker in _ALONE:
            place += 2
        elif (0xC0 <= marker <= 0xCF and marker not in _NO_SIZE) or marker == 0xF7:
            if place + 10 > len(frame):
                break
            height, width, components = struct.unpack(">HHB", frame[place + 5 : place + 10])
            return width, height, components
        else:
            place += 2 + struct.unpack(">H", frame[place + 2 : place + 4])[0]
    raise ValueError("no size can be read in its JPEG frame")


def check_rle(frame: bytes, pixels: int) -> None:
    """Refuse a DICOM RLE frame (part 5, annex G) of which a segment holds more than a plane of bytes: ValueError."""
    if len(frame) < 64:
        raise ValueError("its RLE frame is cut short")
    count, *offsets = struct.unpack("<16I", frame[:64])
    if not 0 < count <= 15:
        raise ValueError(f"its RLE frame has {count} segments, expected 1 to 15")
    ends = [*offsets[1:count], len(frame)]
    for start, end in zip(offsets[:count], ends, strict=True):
        place, length = start, 0
        while place < min(end, len(frame)):
            control = frame[place]
            run = control < 128
            length += control + 1 if run else 257 - control if control > 128 else 0
            place += control + 2 if run else 2 if control > 128 else 1
            if length > pixels + _RLE_SLACK:
                raise ValueError(f"its RLE frame promises more than the header's {pixels:,} pixels")
