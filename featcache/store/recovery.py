"""Take the sound rows out of a damaged shard: ``python -m featcache.store.recovery SHARD HEX [SPEC_JSON]``.

It runs in a process of its own, since a damaged HDF5 file can crash or stall the library that reads it. What it found
comes back through a pipe, so that it needs no room on any disk: one line of JSON, then, where rows were saved, the
bytes of a shard of them. Only an answer counts as knowledge of the shard: a process that failed for whatever reason of
its own says nothing of what the file holds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import StoreError
from ..spec import FeatureSpec
from . import shard
from .compression import FilterMissingError
from .shard import Rows, Shard

_TIMEOUT = 300  # seconds; a shard is read in a few
# What the library that reads HDF5 dies of where a file leads it astray. A kill from outside is none of these.
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL} | (
    {signal.SIGBUS} if hasattr(signal, "SIGBUS") else set()
)


class RecoveryError(StoreError):
    """What a shard holds could not be found out; nothing may be concluded about it."""


@dataclass(frozen=True)
class Recovered:
    """What there was to save.

    Attributes
    ----------
    data : the bytes of a shard of the sound rows; empty where there are none.
    sound, rows : how many rows are sound, of how many; both 0 where the file does not tell.
    reason : why nothing could be saved.
    """

    data: bytes = b""
    sound: int = 0
    rows: int = 0
    reason: str = ""


def sound_rows(path: Path, hex_digits: str, spec: FeatureSpec | None) -> Recovered:
    """The rows of a damaged shard that agree with their checksums.

    Parameters
    ----------
    path : the shard.
    hex_digits : with which the name of its feature set ends.
    spec : the set's, for a shard that has lost its own; None where it is not known.

    Raises
    ------
    RecoveryError
        Reading it failed for a reason that is not the shard's.
    """
    command = [
        sys.executable,
        "-m",
        "featcache.store.recovery",
        str(path),
        hex_digits,
        *([spec.to_json()] if spec else []),
    ]
    root = str(Path(__file__).resolve().parents[2])  # where the package lies, installed or not
    try:
        child = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, cwd=root, check=False)
    except subprocess.TimeoutExpired:
        raise RecoveryError(f"reading it was given up after {_TIMEOUT} s") from None
    except OSError as error:
        raise RecoveryError(f"no process could be started to read it ({error.strerror})") from error
    if -child.returncode in _CRASHES:
        return Recovered(reason=f"HDF5 crashes on it ({signal.Signals(-child.returncode).name})")
    head, _, data = child.stdout.partition(b"\n")
    try:
        answer = json.loads(head)
        if child.returncode or "failed" in answer:
            raise ValueError
    except ValueError:
        raise RecoveryError(_complaint(child.returncode, head, child.stderr)) from None
    if answer.get("reason"):
        return Recovered(rows=answer["rows"], reason=answer["reason"])
    return Recovered(data, answer["sound"], answer["rows"])


def _complaint(code: int, head: bytes, stderr: bytes) -> str:
    try:
        return str(json.loads(head)["failed"])
    except (ValueError, KeyError, TypeError):
        last = stderr.decode(errors="replace").strip().splitlines()[-1:]
        ended = f"signal {-code}" if code < 0 else f"code {code}"
        return f"the process that reads it ended with {ended}{': ' + last[0] if last else ''}"


def _examine(path: Path, hex_digits: str, spec: FeatureSpec | None) -> tuple[dict[str, object], bytes | memoryview]:
    """The answer, and the bytes that follow it."""
    try:
        # Read here, and only then interpreted: whatever goes wrong afterwards is the content's fault.
        content = path.read_bytes()
        if shard.shard_name(content) == path.name:
            return {"failed": "its bytes are as they were committed when they are read once more"}, b""
        with _opened(content, hex_digits, spec) as opened:
            rows, sound = _rows(opened)
            compression, spec = opened.compression, opened.spec
        count = int(sound.sum())
        if not count:
            return {"reason": f"none of its {len(rows)} rows agrees with its checksum", "rows": len(rows)}, b""
        kept = Rows(
            rows.keys[sound],
            {name: array[sound] for name, array in rows.arrays.items()},
            rows.seconds * count / len(rows),
            rows.runtime or {"name": "unknown"},
        )
        return {"sound": count, "rows": len(rows)}, shard.encode(spec, kept, compression)
    except (FilterMissingError, MemoryError) as error:
        return {"failed": str(error) or "not enough memory"}, b""
    except StoreError as error:
        return {
            "reason": str(error).partition(". Run 'cache verify'")[0].replace("shard <bytes>", "it"),
            "rows": 0,
        }, b""
    except OSError as error:
        return {"failed": f"cannot be read: {error.strerror or error}"}, b""


def _opened(content: bytes, hex_digits: str, spec: FeatureSpec | None) -> Shard:
    try:
        opened = Shard(content)
    except FilterMissingError:
        raise
    except StoreError:
        if spec is None:
            raise
        return Shard(content, spec)
    if opened.spec.hex != hex_digits:  # checksums do not cover the spec: the rows may be another set's
        raise StoreError(f"it says that it belongs to {opened.spec.id}")
    return opened


def _rows(opened: Shard) -> tuple[Rows, np.ndarray]:
    """All rows and which are sound; where an array cannot be unpacked as a whole, its rows one by one."""
    try:
        return opened.rows()
    except FilterMissingError:
        raise
    except StoreError:
        keys, stored = opened.keys(), opened.stored_checksums()
        readable = np.ones(len(keys), bool)
        arrays = {}
        for name, shape in opened.shapes.items():
            arrays[name] = np.zeros((len(keys), *shape), np.dtype(opened.spec.dtype))
            for row in range(len(keys)):
                try:
                    opened.read(name, arrays[name][row : row + 1], row, row + 1)
                except StoreError:
                    readable[row] = False
        sound = readable & (stored == shard.checksums(keys, arrays)).all(axis=1)
        return Rows(keys, arrays, opened.seconds, opened.runtime), sound


def _main(path: str, hex_digits: str, spec_json: str = "") -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints does not mix with the answer
    spec = FeatureSpec.from_json(spec_json) if spec_json else None
    answer, data = _examine(Path(path), hex_digits, spec)
    with answers:
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.write(data)


if __name__ == "__main__":
    _main(*sys.argv[1:])
