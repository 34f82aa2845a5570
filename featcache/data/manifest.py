"""Manifests: tables of images, as CSV or Parquet, on disk or behind a URL.

Outer spaces of a CSV's cells count as the writer's, not as the value's, but for paths: they keep those that the file's
own name has. Parquet needs no separators, so its values stay as they are.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import os
from collections import Counter
from collections.abc import Iterator
from typing import IO

from ..errors import DataError
from ..system.foreign_errors import first_line
from ..system.spreadsheet_cells import plain
from . import filesystems

MANIFESTS = (".csv", ".parquet")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_table(path: str) -> dict[str, list[str]]:
    """Columns of a manifest as strings, empty for missing values.

    Raises :class:`DataError` where it is no manifest, cannot be read, or has two columns of one name.
    """
    suffix = filesystems.suffix_of(path)
    if suffix not in MANIFESTS:
        raise DataError(f"{path}: expected a folder, an archive, or a manifest that ends in .csv or .parquet")
    header, columns = _parquet(path) if suffix == ".parquet" else _csv(path)
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise DataError(f"{path}: {len(twice)} column(s) stand more than once: {', '.join(twice)}; keep one of each")
    table = dict(zip(header, columns, strict=True))
    for name, cells in table.items():
        odd = next((row for row, cell in enumerate(cells) if "\0" in cell), None)
        if odd is not None:
            raise DataError(f"{path}: row {odd + 1} holds a NUL in column {name!r}; is it a damaged file?")
    return table


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    try:
        content = io.BytesIO(filesystems.read(path)) if filesystems.is_url(path) else filesystems.open_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    with content:
        yield content


def _parquet(path: str) -> tuple[list[str], list[list[str]]]:
    import pandas as pd

    with _opened(path) as content:
        try:
            frame = pd.read_parquet(content)
        except ImportError as error:
            raise DataError(f"{path}: reading Parquet needs pip install 'featcache[parquet]'") from error
        except MemoryError:
            raise
        except Exception as error:  # whatever pandas and pyarrow stumble over in a damaged file
            raise DataError(f"{path}: not a readable Parquet file: {first_line(error)}") from error
    columns = [["" if v is None or v != v else str(v) for v in frame.iloc[:, i]] for i in range(frame.shape[1])]
    return [str(name) for name in frame.columns], columns


def _csv(path: str) -> tuple[list[str], list[list[str]]]:
    try:
        with _opened(path) as content, io.TextIOWrapper(content, newline="", encoding="utf-8-sig") as text:
            rows = list(csv.reader(text))
    except UnicodeDecodeError:
        raise DataError(f"{path}: {_encoding(path)}; save it as UTF-8 (in Excel: 'CSV UTF-8')") from None
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file: {error}") from error
    if not rows:
        raise DataError(f"{path}: the manifest is empty")
    header = [plain(cell.strip()) for cell in rows[0]]
    if len(header) == 1:
        separator_used = next((name for separator, name in _SEPARATORS.items() if separator in header[0]), None)
        if separator_used:
            raise DataError(f"{path}: the columns are separated by {separator_used}; expected commas")
    body = [row for row in rows[1:] if row]
    ragged = next((i for i, row in enumerate(body) if len(row) != len(header)), None)
    if ragged is not None:
        raise DataError(f"{path}: row {ragged + 1} has {len(body[ragged])} cells, the header has {len(header)}")
    columns = [[_cell(row[i]) for row in body] for i in range(len(header))]
    for i in (i for i, name in enumerate(header) if name == "path"):
        columns[i] = [_own_name(path, row[i], cell) for row, cell in zip(body, columns[i], strict=True)]
    return header, columns


def _cell(text: str) -> str:
    text = text.strip()
    return plain(text) if text[:1] == "'" else text  # of a million cells, hardly one


def _own_name(manifest: str, written: str, cell: str) -> str:
    """A path as written, where a file's name begins or ends with a space; most spaces came with the commas."""
    if written == cell or filesystems.is_url(written):
        return cell
    return written if os.path.lexists(os.path.join(os.path.dirname(manifest), written)) else cell


def _encoding(path: str) -> str:
    """What a file that is not UTF-8 is, and where it shows."""
    with _opened(path) as content:
        for number, line in enumerate(content):
            if number == 0 and line.startswith(_UTF16):
                return "it is UTF-16"
            try:
                line.decode()
            except UnicodeDecodeError as error:
                where = f"line {number + 1} holds the byte {line[error.start]:#04x}"
                return f"{where}, which is not UTF-8 (Windows-1252 or Latin-1, perhaps)"
    return "it is not UTF-8"
