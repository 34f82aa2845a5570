"""What the two faces offer: each name of ``featcache.__all__`` and ``heads.__all__``, and its public members."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import featcache
import heads

FACES: tuple[ModuleType, ...] = (featcache, heads)
#: Dotted names, known without loading what they stand for.
NAMES = [f"{face.__name__}.{name}" for face in FACES for name in face.__all__]


def offered(name: str) -> Any:
    """Load what a dotted name of :data:`NAMES` stands for."""
    face, _, attribute = name.partition(".")
    return getattr({"featcache": featcache, "heads": heads}[face], attribute)


def public_members(name: str) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class on a face that this project wrote, inherited ones included."""
    cls = offered(name)
    if not inspect.isclass(cls):
        return
    for attribute in dir(cls):
        if attribute.startswith("_"):
            continue
        home = next(base for base in cls.__mro__ if attribute in vars(base))
        member = vars(home)[attribute]
        kinds = (property, functools.cached_property, staticmethod, classmethod)
        ours = home.__module__.split(".")[0] in ("featcache", "heads")
        if ours and (inspect.isfunction(member) or isinstance(member, kinds)):
            yield f"{name}.{attribute}", member
