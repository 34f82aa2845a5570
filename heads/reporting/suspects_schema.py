"""What ``run.json`` of a search for wrong labels holds at least, where it is read back."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from featcache.system.schema import Count, Line, Place, Share

from .run_schema import Run


class _Suspect(msgspec.Struct):
    path: Place
    label: Line
    suggested: Line
    score: Share
    reason: str
    about: Line | None = None
    part: str = ""
    group: str = ""
    copy: Place | None = None


class _Confused(msgspec.Struct):
    label: Line
    likely: Line
    images: Count
    wrong: Annotated[float, Meta(ge=0)]
    about: Line | None = None


class _Asked(msgspec.Struct):
    name: Line
    test: dict[str, Any]  # which TESTS reads


class LabelErrors(Run, kw_only=True):
    """``label-errors``."""

    feature_set: str
    suspects: list[_Suspect]
    estimated_wrong: Count
    labels: Count
    pairs: list[_Confused] = []
    left_out: list[str] = []
    models: list[_Asked] = []
