"""The exceptions this library raises on purpose, each with the exit code its command ends with.

A message says what was found, what was expected, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class FeatcacheError(Exception):
    """Root of the exceptions that are raised on purpose.

    Attributes
    ----------
    exit_code : int
        What a command that ends with it exits with.

    Examples
    --------
    >>> import featcache
    >>> try:
    ...     featcache.extract("nowhere", "pixels", size=8)
    ... except featcache.FeatcacheError as error:
    ...     error.exit_code
    3
    """

    exit_code = 1


class UsageError(FeatcacheError, ValueError):
    """The call itself is wrong: an unknown name, options that exclude each other.

    Also a :class:`ValueError`; exit code 2.

    Examples
    --------
    >>> import featcache
    >>> featcache.load("vgg16", pooling="mean")
    Traceback (most recent call last):
    featcache.errors.UsageError: pooling 'mean' is unknown; expected one of flatten, avg, max, map, cls
    """

    exit_code = 2


@dataclass(frozen=True)
class BadImage:
    """One image that could not be used, and why.

    Attributes
    ----------
    path : str
        The file.
    reason : str
        In words.
    """

    path: str
    reason: str


class DataError(FeatcacheError, ValueError):
    """The data cannot be used as asked.

    Also a :class:`ValueError`; exit code 3.

    Parameters
    ----------
    message : str
        What was found, what was expected, and what to do.
    bad : sequence of BadImage, optional
        Single images, where they are the cause.

    Attributes
    ----------
    bad : list of BadImage
        The same.

    Examples
    --------
    >>> import featcache
    >>> featcache.extract("nowhere", "pixels", size=8)
    Traceback (most recent call last):
    featcache.errors.DataError: nowhere: no such file or folder; expected a folder of images or a CSV/Parquet manifest
    """

    exit_code = 3

    def __init__(self, message: str, bad: Sequence[BadImage] = ()) -> None:
        super().__init__(message)
        self.bad = list(bad)


class WeightsError(FeatcacheError):
    """A backbone or its weights cannot be had.

    Exit code 4.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> Path("images/covid").mkdir(parents=True)
    >>> Image.new("L", (16, 16)).save("images/covid/0.png")
    >>> featcache.extract("images", "vgg16", weights="my.weights.h5")
    Traceback (most recent call last):
    featcache.errors.WeightsError: weights 'my.weights.h5': no such file; expected imagenet, random[:SEED], or a ...
    """

    exit_code = 4


class StoreError(FeatcacheError, OSError):
    """The store is damaged, locked, or cannot be written.

    Also an :class:`OSError`; exit code 5.

    Examples
    --------
    >>> import featcache
    >>> with featcache.Store() as store:
    ...     store.spec("vgg16-imagenet-224-1a2b3c4d")
    Traceback (most recent call last):
    featcache.errors.StoreError: no feature set 'vgg16-imagenet-224-1a2b3c4d' in ...; there are: none
    """

    exit_code = 5


class BundleError(FeatcacheError):
    """A bundle is damaged, or is not for what it is asked to do."""

    exit_code = 5
