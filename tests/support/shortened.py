"""What is left out of a test that is about something else, for its time alone: trees of an audit, and drawing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

# A PNG of one white pixel.
BLANK = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f"
    "0005fe02fe0def46b80000000049454e44ae426082"
)


@contextlib.contextmanager
def few_trees() -> Iterator[None]:
    """Audits whose forests have 10 trees in place of 100: half of the time of a study of small images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heads.auditing.shortcut_probes._TREES", 10)
        yield


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Figures that are composed, and written as a white pixel: to draw those of one head takes 0.9 s."""

    def savefig(_figure: Any, file: Any, **_options: Any) -> None:
        file.write(BLANK)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", savefig)
        yield
