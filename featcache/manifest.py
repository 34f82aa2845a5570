"""Manifests: tables of images, as CSV or Parquet, on disk or behind a URL."""

from __future__ import annotations

import csv
import io
from typing import IO

from . import locations
from .errors import DataError
from .spreadsheet import plain

MANIFESTS = (".csv", ".parquet")


def read_table(path: str) -> dict[str, list[str]]:
    """Columns of a manifest as strings, empty for missing values.

    Raises :class:`DataError` where it is no manifest, or cannot be read.
    """
    suffix = locations.suffix_of(path)
    if suffix not in MANIFESTS:
        raise DataError(f"{path}: expected a folder, an archive, or a manifest that ends in .csv or .parquet")
    try:
        content = io.BytesIO(locations.read(path)) if locations.is_url(path) else open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    with content:
        table = _parquet(path, content) if suffix == ".parquet" else _csv(path, content)
    for name, cells in table.items():
        row = next((row for row, cell in enumerate(cells) if "\0" in cell), None)
        if row is not None:  # which no path can hold
            raise DataError(f"{path}: row {row + 1} has a NUL character in {name!r}; was the file damaged?")
    return table


def _parquet(path: str, content: IO[bytes]) -> dict[str, list[str]]:
    import pandas as pd

    try:
        frame = pd.read_parquet(content)
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pip install 'featcache[parquet]'") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error
    return {str(name): ["" if v is None or v != v else str(v) for v in frame[name]] for name in frame.columns}


def _csv(path: str, content: IO[bytes]) -> dict[str, list[str]]:
    try:
        with io.TextIOWrapper(content, newline="", encoding="utf-8-sig") as text:
            rows = list(csv.reader(text))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a UTF-8 CSV file: {error}") from error
    if not rows:
        raise DataError(f"{path}: the manifest is empty")
    header = [plain(cell.strip()) for cell in rows[0]]
    body = [row for row in rows[1:] if row]
    ragged = next((i for i, row in enumerate(body) if len(row) != len(header)), None)
    if ragged is not None:
        raise DataError(f"{path}: row {ragged + 1} has {len(body[ragged])} cells, the header has {len(header)}")
    return {name: [_cell(row[i].strip()) for row in body] for i, name in enumerate(header)}


def _cell(text: str) -> str:
    return plain(text) if text[:1] == "'" else text  # a million calls less
