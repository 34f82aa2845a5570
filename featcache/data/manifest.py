"""Manifests: tables of images, as CSV or Parquet, on disk or behind a URL.

Outer spaces of a CSV's cells count as the writer's, not as the value's, but for paths: they keep those that the file's
own name has. Parquet needs no separators, so its values stay as they are.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO

from ..errors import DataError
from ..system.foreign_errors import first_line
from ..system.spreadsheet_cells import plain
from . import filesystems

MANIFESTS = (".csv", ".parquet")
_SQUEEZED = ".csv.gz"  # as some collections are shipped
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_manifest(path: str) -> bool:
    """Whether a place is called like a manifest: ``.csv``, ``.csv.gz`` or ``.parquet``."""
    return filesystems.suffix_of(path) in MANIFESTS or filesystems.name_of(path).lower().endswith(_SQUEEZED)


def read_table(path: str) -> dict[str, list[str]]:
    """Columns of a manifest as strings, empty for missing values.

    Raises :class:`DataError` where it is no manifest, cannot be read, or has two columns of one name.
    """
    if not is_manifest(path):
        raise DataError(f"{path}: expected a folder, an archive, or a manifest that ends in .csv or .parquet")
    header, columns = _parquet(path) if filesystems.suffix_of(path) == ".parquet" else _csv(path)
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise DataError(f"{path}: {len(twice)} column(s) stand more than once: {', '.join(twice)}; keep one of each")
    table = dict(zip(header, columns, strict=True))
    for name, cells in table.items():
        if "\0" in "".join(cells):
            odd = next(row for row, cell in enumerate(cells) if "\0" in cell)
            raise DataError(f"{path}: row {odd + 1} holds a NUL in column {name!r}; is it a damaged file?")
    return table


def table_beside(path: str, endings: Sequence[str], ending: str) -> dict[str, list[str]] | None:
    """The table in the same folder whose name has ``ending`` where this one's has one of ``endings``; None without one.

    Raises as :func:`read_table` does.
    """
    name = filesystems.name_of(path)
    mine = next((one for one in endings if one in name), None)
    if mine is None:
        return None
    stem = name.partition(mine)[0] + ending
    for suffix in (".csv", _SQUEEZED):
        other = filesystems.beside(path, stem + suffix)
        if filesystems.is_url(other) or os.path.exists(other):
            try:
                return read_table(other)
            except DataError:
                if not filesystems.is_url(other):
                    raise
    return None


def lines_beside(path: str, name: str) -> list[str]:
    """The lines of a text in the same folder that say something; none where there is no such file.

    Raises :class:`DataError` for what is there and cannot be read.
    """
    other = filesystems.beside(path, name)
    try:
        lines = filesystems.read(other).decode("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise DataError(f"{other}: not UTF-8; expected the name of a file a line") from None
    except OSError as error:
        if filesystems.is_url(other):
            return []
        raise DataError(f"{other}: cannot be read: {error.strerror or error}") from error
    return [line.strip() for line in lines if line.strip()]


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    try:
        content = io.BytesIO(filesystems.read(path)) if filesystems.is_url(path) else filesystems.open_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    with content:
        yield io.BytesIO(_unsqueezed(path, content)) if path.lower().endswith(".gz") else content


def _unsqueezed(path: str, content: IO[bytes]) -> bytes:
    try:
        with gzip.GzipFile(fileobj=content) as file:
            data = file.read(filesystems.MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a readable gzip file: {first_line(error)}") from error
    if len(data) > filesystems.MOST_BYTES:
        raise DataError(f"{path}: inflates to more than {filesystems.MOST_BYTES / 1e9:g} GB; expected a table")
    return data


def _parquet(path: str) -> tuple[list[str], list[list[str]]]:
    import pandas as pd

    with _opened(path) as content:
        try:
            frame = pd.read_parquet(content)
            # Here, too, since text is decoded where it is asked for, and may be none.
            columns = [["" if v is None or v != v else str(v) for v in frame.iloc[:, i]] for i in range(frame.shape[1])]
        except ImportError as error:
            raise DataError(f"{path}: reading Parquet needs pip install 'featcache[parquet]'") from error
        except MemoryError:
            raise
        except Exception as error:  # whatever pandas and pyarrow stumble over in a damaged file
            raise DataError(f"{path}: not a readable Parquet file: {first_line(error)}") from error
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
    columns = [_cells([row[i] for row in body]) for i in range(len(header))]
    for i in (i for i, name in enumerate(header) if name == "path"):
        columns[i] = [_own_name(path, row[i], cell) for row, cell in zip(body, columns[i], strict=True)]
    return header, columns


def _cells(column: list[str]) -> list[str]:
    """A column's cells; equal ones are one object, since a million cells of a label are a few texts."""
    values = {text: _cell(text) for text in set(column)}
    return [values[text] for text in column]


def _cell(text: str) -> str:
    text = text.strip()
    return plain(text) if text[:1] == "'" else text


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
