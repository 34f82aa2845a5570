"""What ``run.json`` of an audit holds at least, where it is read back."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from featcache.system.schema import Count, Finite, Line, Place, Share

from .run_schema import Run


class _Copies(msgspec.Struct):
    paths: list[Place]
    labels: list[str]
    splits: list[str]


class _NearCopies(msgspec.Struct):
    a: Place
    b: Place
    similarity: Finite
    labels: tuple[str, str]
    splits: tuple[str, str]
    kind: str
    how: str = ""


class _TornGroup(msgspec.Struct):
    group: str
    splits: list[str]
    images: Count


_Correlation = Annotated[float, Meta(ge=-1, le=1)]


class _Probe(msgspec.Struct):
    probe: str
    score: _Correlation
    score_ci: tuple[_Correlation, _Correlation]
    chance: Share
    flag: bool
    label: str = ""
    of: Literal["image", "metadata"] = "image"
    measure: str = ""
    names_label: bool = False
    p_value: Share | None = None
    verdict: str | None = None


class _Inflation(msgspec.Struct):
    image_wise: Finite
    group_wise: Finite
    difference: Finite
    interval: tuple[Finite, Finite] | None = None


class _Matched(msgspec.Struct):
    effective_patients: Finite
    fewest_patients: Finite
    score: Share | None = None
    ci: tuple[Share, Share] | None = None


class _Without(msgspec.Struct):
    plain: Share
    plain_ci: tuple[Share, Share]
    matched: _Matched
    probes: list[str]
    said: str
    net: Share | None = None
    net_ci: tuple[Share, Share] | None = None
    difference: Finite | None = None
    difference_ci: tuple[Finite, Finite] | None = None


class _BadFile(msgspec.Struct):
    path: Place
    reason: str


class _Unfit(msgspec.Struct):
    path: Place
    fault: Line
    value: Finite
    limit: Finite
    said: str


class _Together(msgspec.Struct):
    column: str
    label: str
    strength: Share
    p: Share
    groups: Count


class _Absent(msgspec.Struct):
    label: str
    column: str
    value: str
    expected: Finite
    class_: str = msgspec.field(name="class")


class _Unbalanced(msgspec.Struct):
    column: str
    value: str
    part: str
    share: Share
    overall: Share


class _Differing(msgspec.Struct):
    column: str
    own: Finite
    other: Finite
    p: Share
    value: str | None


class _SetsApart(msgspec.Struct):
    columns: list[_Differing] = []
    alone: dict[Literal["own", "other"], list[str]] = {}


class _Against(msgspec.Struct):
    data: Place
    near_duplicates: list[_NearCopies] = []
    metadata: _SetsApart | None = None


class Audit(Run, kw_only=True):
    """``audit``."""

    duplicates: list[_Copies] = []
    near_duplicates: list[_NearCopies] = []
    split_leaks: dict[str, Count] = {}
    group_leaks: list[_TornGroup] = []
    shortcuts: list[_Probe] = []
    without_shortcuts: _Without | None = None
    confounding: list[_Together] = []
    absent: list[_Absent] = []
    unbalanced: list[_Unbalanced] = []
    unreadable: list[_BadFile] = []
    quality: dict[str, list[Place]] = {}
    unfit: list[_Unfit] = []
    leak_inflation: _Inflation | None = None
    against: _Against | None = None
