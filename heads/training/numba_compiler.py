"""Have numba compile, and keep what it compiled where this user's compiled programs are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba

from featcache.system.private_folder import private_folder

_folder = functools.cache(private_folder)


def compiled(signature: str | None = None) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: the function compiled, at once where its signature is given, and taken from what was kept.

    It lets other threads run, and adds up in any order; NaN and infinity stay what they are.
    """
    folder = _folder()
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract", "reassoc"}, "error_model": "numpy"}
    options["cache"] = folder is not None

    def compile(function: Callable[..., Any]) -> Any:
        before = numba.config.CACHE_DIR
        try:
            numba.config.CACHE_DIR = (
                "" if folder is None else str(folder)
            )  # read when a function is made known to numba
            return numba.njit(signature, **options)(function)
        finally:
            numba.config.CACHE_DIR = before

    return compile
