"""The exceptions this library raises on purpose, each with the exit code its command ends with.

A message says what was found, what was expected, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class FeatcacheError(Exception):
    """Root of the family."""

    exit_code = 1


class UsageError(FeatcacheError, ValueError):
    """The call itself is wrong: an unknown name, options that exclude each other."""

    exit_code = 2


@dataclass(frozen=True)
class BadImage:
    """One image that could not be used, and why."""

    path: str
    reason: str


class DataError(FeatcacheError, ValueError):
    """The data cannot be used as asked. ``bad`` lists single images, where they are the cause."""

    exit_code = 3

    def __init__(self, message: str, bad: Sequence[BadImage] = ()) -> None:
        super().__init__(message)
        self.bad = list(bad)


class WeightsError(FeatcacheError):
    """A backbone or its weights cannot be had."""

    exit_code = 4


class StoreError(FeatcacheError, OSError):
    """The store is damaged, locked, or cannot be written."""

    exit_code = 5


class BundleError(FeatcacheError):
    """A bundle is damaged, or is not for what it is asked to do."""

    exit_code = 5
