"""Which data is meant and how it is read, as one value that goes wherever a place of data goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..system.user_paths import expanded
from . import filesystems


@dataclass(frozen=True)
class DataSource:
    """A folder or table of images, with what says how it is read.

    It is a path to whatever takes one (``os.fspath`` gives the place), so every ``data=`` takes it.

    Parameters
    ----------
    data : str or path
        Folder, archive, table, or a URL of one.
    group_regex : str or None, optional
        Where in the file name the patient stands; a verb's own ``group_regex`` goes before it.
    images : str, path or None, optional
        Folder, archive or URL that a table's paths are relative to; None is the table's own folder. Bare file names are
        looked for at any depth below it.
    metadata : sequence of str, optional
        Columns of the table to keep beside the features whatever they hold: such as one of names or dates, which is
        left out otherwise.
    headers : bool, optional
        Read the headers of DICOM files: sex, age, view and the like become metadata, the patient's ID a group by a
        pseudonym.

    Examples
    --------
    >>> import featcache
    >>> source = featcache.DataSource("Data_Entry_2017.csv", images="nih/", metadata=["Follow-up #"])
    >>> source.metadata, source.headers
    (('Follow-up #',), True)
    """

    data: str | os.PathLike[str]
    group_regex: str | None = None
    images: str | os.PathLike[str] | None = None
    metadata: Sequence[str] = ()
    headers: bool = True

    def __post_init__(self) -> None:
        names = [self.metadata] if isinstance(self.metadata, str) else self.metadata
        object.__setattr__(self, "metadata", tuple(names))

    def __fspath__(self) -> str:
        return self.data if isinstance(self.data, str) else os.fspath(self.data)

    @property
    def is_plain(self) -> bool:
        """Whether nothing says how it is read, besides patterns of groups."""
        return self.images is None and not self.metadata and self.headers

    @property
    def root(self) -> str:
        """The place as a dataset of it calls its root."""
        return _whole(self.data)

    def about(self) -> dict[str, Any]:
        """Say how it is read, as plain values; whoever reads them back may stand in another folder.

        Returns
        -------
        dict
            ``images`` (absolute, or None), ``metadata`` and ``headers``.
        """
        images = None if self.images is None else _whole(self.images)
        return {"images": images, "metadata": list(self.metadata), "headers": self.headers}


def as_source(data: str | os.PathLike[str], group_regex: str | None = None) -> DataSource:
    """What is named as data, with a pattern of groups where one is given."""
    source = data if isinstance(data, DataSource) else DataSource(data)
    return source if group_regex is None else replace(source, group_regex=group_regex)


def _whole(place: str | os.PathLike[str]) -> str:
    """A place that means the same from every folder: a URL, or an absolute path."""
    url = filesystems.as_url(place)
    return str(expanded(filesystems.locate(place)).absolute()) if url is None else str(url)
