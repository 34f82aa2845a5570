"""Text that may come from a file or a file's name, made harmless for a terminal.

An escape sequence in a name could clear the screen or rewrite what stands there, and a bidirectional control can make
``fdp.exe`` read as ``exe.pdf``; a name on disk that is not UTF-8 cannot be printed at all.
"""

from __future__ import annotations

import re

# As the inside of a regular expression's brackets: C0 and C1 controls, DEL, marks that turn the direction of writing,
# separators of lines and paragraphs, and lone surrogates, which stand for bytes that are not UTF-8.
UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_ALL = re.compile(f"[{UNPRINTABLE}]")
_BUT_LINES = re.compile(f"(?![\n\t])[{UNPRINTABLE}]")


def printable(text: str, lines: bool = True) -> str:
    r"""The text with what a terminal would obey written as ``\x1b`` and the like.

    Parameters
    ----------
    text : anything.
    lines : whether it may go over several lines: newlines and tabs then stay.
    """
    return (_BUT_LINES if lines else _ALL).sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
