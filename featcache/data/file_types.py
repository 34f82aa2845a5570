"""Which files are images: by a suffix that says so, else by how the file begins.

A known suffix is believed without a look, since a folder may hold a million files; whether what stands behind it
decodes is found out later, and said. Of a file with a suffix that is not known, or none, the first bytes decide.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable

HEAD = 256  # bytes that tell

_IMAGES = (
    ".jpg .jpeg .jpe .jfif .jif .jfi .pjpeg .pjp .png .apng .tif .tiff .btf .bmp .dib .webp .gif "
    ".jp2 .j2k .j2c .jpc .jpf .jpx .jph .jhc .pgm .ppm .pbm .pnm .pfm .dcm .dicom .dic"
)
# Never opened: what stands beside images in their thousands, and raw files of cameras, whose TIFF holds but a preview.
_NO_IMAGES = (
    ".txt .csv .tsv .json .jsonl .xml .html .htm .md .rst .yaml .yml .toml .ini .cfg .log .py .ipynb .m .r .sh "
    ".pdf .doc .docx .xls .xlsx .ppt .pptx .parquet .feather .npy .npz .mat .h5 .hdf5 .pkl .pt .pth .onnx .keras "
    ".safetensors .db .sqlite .zip .tar .gz .tgz .bz2 .xz .zst .7z .rar .mp4 .avi .mov .mkv .mp3 .wav .svg .lnk "
    ".exe .dll .so .tmp .part .nef .cr2 .cr3 .crw .arw .dng .orf .rw2 .raf .pef .srw"
)
SUFFIXES, _OTHERS = frozenset(_IMAGES.split()), frozenset(_NO_IMAGES.split())

_MAGIC = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
)
_PNM = re.compile(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*\d+\s|P[Ff]\s+\d+\s+\d+\s")


def by_suffix(name: str) -> bool | None:
    """Whether a file is an image, as far as its suffix tells; None where the file has to be looked at."""
    if name[-4:] in SUFFIXES and len(name) > 4 and name[-5] != "/":  # most names, at a glance
        return True
    suffix = suffix_of(name)
    return True if suffix in SUFFIXES else False if suffix in _OTHERS else None


def suffix_of(name: str) -> str:
    """The suffix in small letters; nothing where it is a number, as in names of DICOM exports (``1.2.840.113…``)."""
    dot = name.rfind(".")
    if dot <= name.rfind("/") + 1:
        return ""
    suffix = name[dot:].lower()
    return "" if suffix[1:].isdigit() or suffix == "." else suffix


def begins_like_image(head: bytes) -> bool:
    """Whether a file's first :data:`HEAD` bytes are those of a format that :mod:`featcache.data.decoding` reads."""
    if head.startswith(_MAGIC) or head[128:132] == b"DICM":
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[:2] == b"BM":  # two letters may begin a text: the reserved bytes and the size of the second header tell
        return head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)
    return bool(_PNM.match(head))


def kinds(names: Iterable[str]) -> dict[str, int]:
    """How many files of each kind, the most frequent first: by suffix, ``no suffix``, or ``hidden``."""
    counts = Counter(_kind(name) for name in names)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def in_words(counts: dict[str, int], most: int = 6) -> str:
    """``3 .txt, 1 hidden``, and how many of other kinds."""
    words = [f"{count} {kind}" for kind, count in list(counts.items())[:most]]
    rest = sum(list(counts.values())[most:])
    return ", ".join([*words, f"{rest} of other kinds"] if rest else words)


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder above it, is hidden: its name begins with a dot."""
    return name.startswith(".") or "/." in name


def _kind(name: str) -> str:
    if is_hidden(name):
        return "hidden"
    suffix = suffix_of(os.path.basename(name))
    if not suffix:
        return "no suffix"
    return suffix if suffix[1:].isalnum() and len(suffix) <= 12 else "odd suffix"  # names are foreign text
