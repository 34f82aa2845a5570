"""Take the sound rows out of a damaged shard: ``python -m featcache.salvage SHARD SPEC_JSON OUT``.

It runs in a process of its own, since a damaged HDF5 file can crash or stall the library that reads it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from . import shard
from .errors import StoreError
from .shard import Rows, Shard
from .spec import FeatureSpec

_TIMEOUT = 300  # seconds; a shard is read in a few


def sound_rows(path: Path, spec: FeatureSpec) -> Rows | None:
    """The rows that agree with their checksums, or None where there are none to be had."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "salvaged.h5"
        command = [sys.executable, "-m", "featcache.salvage", str(path), spec.to_json(), str(out)]
        root = str(Path(__file__).resolve().parent.parent)
        try:
            child = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, cwd=root, check=False)
        except subprocess.TimeoutExpired:
            return None
        if child.returncode or not out.exists():
            return None
        with Shard(out) as opened:
            arrays = {name: opened.read(name) for name in spec.arrays}
            return Rows(opened.keys(), arrays, opened.seconds, opened.runtime)


def _main(path: str, spec_json: str, out: str) -> int:
    spec = FeatureSpec.from_json(spec_json)
    try:
        opened = Shard(Path(path))
        if opened.spec != spec and opened.spec.hex != spec.hex:
            raise StoreError("other spec")
    except StoreError:
        opened = Shard(Path(path), spec)
    with opened:
        sound = opened.sound_rows()
        if not sound.any():
            return 1
        arrays = {name: opened.read(name)[sound] for name in spec.arrays}
        share = opened.seconds * float(sound.mean())
        rows = Rows(opened.keys()[sound], arrays, share, opened.runtime or {"name": "unknown"})
    Path(out).write_bytes(shard.encode(spec, rows))
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
