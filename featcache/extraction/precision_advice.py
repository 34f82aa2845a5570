"""What an extraction in float32 says of a precision that would be faster here."""

from __future__ import annotations

import logging

from ..backbones import runtime as runtimes
from ..backbones.precisions import on_processor
from ..spec import FeatureSpec

_log = logging.getLogger(__name__)
_ENOUGH = 300  # images: from minutes of work on


def advise(spec: FeatureSpec, asked: str, images: int) -> None:
    """Say that bfloat16 is faster, where this processor has it and would compute these images in float32.

    Measured on nine networks: 1.65 to 2.5 times as fast, rows moved by 0.4 to 2% of their length.

    Parameters
    ----------
    spec : what is to be computed.
    asked : the runtime that was asked for.
    images : how many there are to compute.
    """
    if spec.precision != "float32" or spec.backbone == "pixels" or spec.of_function or images < _ENOUGH:
        return
    if runtimes.choose(asked, spec, images, converted=False) != "openvino" or "bfloat16" not in on_processor():
        return
    _log.info(
        "%s: --precision bfloat16 would take 0.5 to 0.6 of the time on this processor; features differ by some 1%% of "
        "their length, which is measured and said",
        spec.network,
    )
