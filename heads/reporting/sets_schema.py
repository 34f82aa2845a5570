"""What ``run.json`` says of sets that hold the truth, where it is read back; runs of earlier versions say nothing."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from featcache.system.schema import ClassName, Count, Line, Share

_Size = Annotated[float, Meta(ge=0, le=1e300)]
_Truth = Literal["yes", "no"]


class _Few(msgspec.Struct, rename={"class_": "class"}):
    patients: Count
    class_: ClassName | None = None
    label: ClassName | None = None
    truth: _Truth | None = None


class _Row(msgspec.Struct, rename={"class_": "class"}):
    images: Count
    patients: Count
    coverage: Share | None = None
    coverage_ci: tuple[Share, Share] | None = None
    size: _Size | None = None
    one: Share | None = None
    below: bool = False
    class_: ClassName | None = None
    label: ClassName | None = None
    truth: _Truth | None = None
    column: Line | None = None
    subgroup: Line | None = None


class Conformal(msgspec.Struct):
    """As :func:`heads.evaluation.conformal_coverage.conformal_coverage` gives it."""

    coverage: Share
    needed: Count
    patients: Count
    kept: bool
    each: bool = False
    between: tuple[Share, Share] | None = None
    few: list[_Few] = []
    rows: list[_Row] = []
