"""The command line as tests call it: within this process, which spares its start, or as a process of its own."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from surroundings import OFFLINE, ROOT

from heads.commands import main as command_line


@dataclass
class Finished:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)


def run_within(folder: Path, *arguments: object) -> Finished:
    """``cli.py …`` in a folder, without a new process; signals, logging, streams and surroundings are as before."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    loggers = [logging.getLogger(name) for name in ("featcache", "heads")]
    before = [(list(logger.handlers), logger.level) for logger in loggers]
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["cli.py", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr("featcache.system.interrupts.end_on_sigterm", lambda *_: None)
        patch.setattr("featcache.system.interrupts.leave", lambda *_: None)
        try:
            command_line.main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            for logger, (handlers, level) in zip(loggers, before, strict=True):
                logger.handlers[:] = handlers
                logger.setLevel(level)
    return Finished(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def run_process(folder: Path, *arguments: object, timeout: float = 600) -> Finished:
    """``python cli.py …`` in a folder, as a user would."""
    command = [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=timeout,
        check=False,
        env={**os.environ, **OFFLINE},
    )
    return Finished(done.returncode, done.stdout, done.stderr)
