"""Trouble with one cache, for as long as is asked: ``python tests/support/trouble.py --minutes 60``.

Several processes at once extract two sets, extract and remove a third, compact, repair, list, verify and read, as a
user would start them, and half of them are killed with SIGKILL at a random moment; all the while images are added.
In the end every row that ever stood in a shard of the two sets must be there, with the bytes that decoding its image
gives, and ``verify`` must be clean. Shards are watched with h5py alone, not through the store.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from featcache.data.decoding import decode  # noqa: E402

KEPT, REMOVED = (16, 24), 8  # sizes; each is a feature set of its own
FIRST, ADDED = 60, 20  # images before the trouble, and at a time
ADDED_A_MINUTE = 300
AT_ONCE = 4
PATIENCE = 600  # seconds; a process that takes longer hangs
CHANCES = {
    "extract 16": 4,
    "extract 24": 3,
    "extract 8": 2,
    "compact": 4,
    "repair": 2,
    "rm": 1,
    "ls": 1,
    "verify": 1,
    "export": 2,
}


class Trouble:
    """One cache in trouble.

    Parameters
    ----------
    place : an empty folder.
    seed : of all that is random, besides the moments at which processes happen to be.
    """

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.cache, self.images = place, place / "cache", place / "images"
        self.random = random.Random(seed)
        self.content: dict[bytes, bytes] = {}  # row key -> file
        self.ever: dict[str, set[bytes]] = {}  # feature set -> rows that stood in a shard of it
        self.known: dict[str, list[bytes]] = {}  # shard -> its rows
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.lock = threading.Lock()

    def run(self, seconds: float) -> dict[str, int]:
        """Make trouble for so long; then AssertionError where anything was lost, else what was done."""
        self.add(FIRST)
        first = sorted(self.images.rglob("*.png"))
        manifest = self.place / "first.csv"
        manifest.write_text("path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in first))
        self.sets = {size: self.extract_first(size) for size in (*KEPT, REMOVED)}
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=self.work, args=(until,)) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        started, added = time.monotonic(), 0
        while time.monotonic() < until and not self.wrong:
            if added < (time.monotonic() - started) / 60 * ADDED_A_MINUTE:
                self.add(ADDED)
                added += ADDED
            self.watch()
            time.sleep(0.2)
        for thread in threads:
            thread.join()
        assert not self.wrong, "\n\n".join(self.wrong)
        self.watch()
        self.prove()
        return dict(sorted(self.done.items()))

    def add(self, count: int) -> None:
        """New images, each there whole or not at all."""
        for _ in range(count):
            number = len(self.content)
            path = self.images / "ab"[number % 2] / f"{number:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self.place / "unfinished.png"
            noise = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(unfinished)
            data = unfinished.read_bytes()
            self.content[hashlib.sha256(data).digest()] = data
            unfinished.rename(path)

    def extract_first(self, size: int) -> str:
        """The name of the set of this size, filled once."""
        before = set(os.listdir(self.cache / "features")) if (self.cache / "features").exists() else set()
        self.finish("extract", *self.verb(f"extract {size}"))
        (name,) = set(os.listdir(self.cache / "features")) - before
        return name

    def verb(self, name: str) -> list[str]:
        """Its arguments."""
        if name.startswith("extract"):
            return ["extract", "--backbone", "pixels", "--size", name.split()[1], "--data", str(self.images), "-q"]
        if name == "rm":
            return ["cache", "rm", self.sets[REMOVED]]
        if name == "export":
            chosen = self.sets[self.random.choice(KEPT)]
            out = self.place / f"out-{threading.get_ident()}.h5"
            return [
                "cache",
                "export",
                str(out),
                "--backbone",
                chosen,
                "--data",
                str(self.place / "first.csv"),
                "--pooling",
                "map",
                "--classes",
                "a,b",
            ]
        return ["cache", name]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), *arguments, "--cache", str(self.cache)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def work(self, until: float) -> None:
        """Start processes, one after the other, and kill some."""
        while time.monotonic() < until and not self.wrong:
            with self.lock:
                name = self.random.choices(list(CHANCES), list(CHANCES.values()))[0]
                arguments = self.verb(name)
                dies = self.random.random() < 0.5
                moment = self.random.uniform(0.2, 3.0)
            if not dies:
                self.finish(name, *arguments)
                continue
            process = self.start(*arguments)
            try:
                process.communicate(timeout=moment)
                self.done[f"{name}, ended"] += 1
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self.done[f"{name}, killed"] += 1

    def finish(self, name: str, *arguments: str) -> None:
        """Run a verb to its end, and note where that is not as it should be."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            self.wrong.append(f"{name} did not end within {PATIENCE} s")
            return
        refused = process.returncode == 5 and (
            (name in ("compact", "repair", "rm") and "is at work on this cache" in err)
            or (name == "rm" and "no feature set" in err)
        )
        self.done[f"{name}, {'refused' if refused else 'ended'}"] += 1
        if (process.returncode and not refused) or "Traceback" in err:
            self.wrong.append(f"{name} ended with {process.returncode}:\n{out}{err}")

    def watch(self) -> None:
        """Note all rows that stand in shards now."""
        for size in KEPT:
            folder = self.cache / "features" / self.sets[size]
            for path in folder.glob("*.h5"):
                if path.name not in self.known:
                    with contextlib.suppress(FileNotFoundError), h5py.File(path) as file:
                        self.known[path.name] = [row.tobytes() for row in file["keys"][:]]
                        self.ever.setdefault(self.sets[size], set()).update(self.known[path.name])

    def prove(self) -> None:
        """Nothing is lost or wrong, and the last commands all succeed."""
        for name in ("repair", "compact", "verify", "ls"):
            self.finish(name, *self.verb(name))
        for size in KEPT:
            rows: dict[bytes, np.ndarray] = {}
            for path in (self.cache / "features" / self.sets[size]).glob("*.h5"):
                assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
                with h5py.File(path) as file:
                    keys = [row.tobytes() for row in file["keys"][:]]
                    assert not rows.keys() & set(keys), "rows stand twice after a compaction"
                    rows.update(zip(keys, file["map"][:], strict=True))
            lost = self.ever[self.sets[size]] - rows.keys()
            assert not lost, f"{len(lost)} of {len(self.ever[self.sets[size]])} rows of {self.sets[size]} are lost"
            for key, row in rows.items():
                np.testing.assert_array_equal(row, decode(self.content[key], size))
            self.done[f"rows of size {size} proven"] = len(rows)
            self.finish("extract", *self.verb(f"extract {size}"))
        assert not self.wrong, "\n\n".join(self.wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--keep", action="store_true", help="leave the folder")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="featcache-trouble-"))
    sys.stdout.write(f"seed {options.seed}, in {place}\n")
    sys.stdout.flush()
    done = Trouble(place, options.seed).run(options.minutes * 60)
    sys.stdout.write("".join(f"{count:7,} {what}\n" for what, count in done.items()) + "nothing lost\n")
    if not options.keep:
        import shutil

        shutil.rmtree(place)


if __name__ == "__main__":
    main()
