"""Compiled programs: kept for the next process, proven before they are run, the user's alone."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from surroundings import ROOT

from featcache.backbones import compiled_programs
from featcache.system.private_folder import PLACE

COMPILES = """
import sys
from featcache.backbones.tensorflow_setup import load_tensorflow
tf, _ = load_tensorflow()
program = tf.function(lambda x: tf.reduce_sum(x * 2 + 1), jit_compile=True)
print(float(program(tf.ones(5))))
"""


def compile_once(folder):
    env = {**os.environ, PLACE: str(folder), "TF_XLA_FLAGS": "", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILES], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=True
    )
    assert float(done.stdout) == 15
    return {path.name: path.stat().st_ino for path in folder.glob("*/*")}


def test_a_process_leaves_its_programs_to_the_next_and_damaged_ones_to_none(tmp_path):
    first = compile_once(tmp_path / "p")
    (name,) = first
    assert compile_once(tmp_path / "p") == first  # TensorFlow writes down whatever it compiles
    (path,) = (tmp_path / "p").glob("*/*.pb")
    assert path.stat().st_mode & 0o077 == path.parent.stat().st_mode & 0o077 == 0
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    again = compile_once(tmp_path / "p")
    assert [each.partition("-")[2] for each in again] == [name.partition("-")[2]]
    (path,) = (tmp_path / "p").glob("*/*.pb")
    assert path.read_bytes() != bytes(content)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """What a process would be told, without TensorFlow; and what it does when it ends."""
    ends = []
    monkeypatch.setattr(compiled_programs.atexit, "register", lambda *call: ends.append(call))
    monkeypatch.setenv(PLACE, str(tmp_path / "p"))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)

    def begin():
        compiled_programs.keep_programs()
        flags = os.environ.get("TF_XLA_FLAGS", "")
        folder = [flag.partition("=")[2] for flag in flags.split() if "cache_directory" in flag]
        return Path(folder[0]) if folder else None

    def end():
        call, *arguments = ends.pop()
        call(*arguments)

    return begin, end


def add(run, number, size=100):
    (run / f"xla_compile_cache__{number}__{number}__XLA_CPU_JIT.pb").write_bytes(bytes([number]) * size)


def test_programs_come_back_and_the_oldest_go(kept, monkeypatch):
    begin, end = kept
    for number in range(4):
        run = begin()
        assert len(list(run.iterdir())) == number
        add(run, number)
        end()
        assert not run.exists()
        (newest,) = run.parent.glob(f"*__{number}__XLA*")
        os.utime(newest, (number, number))
    monkeypatch.setattr(compiled_programs, "_LIMIT", 250)
    run = begin()
    assert sorted(path.name.split("__")[1] for path in run.iterdir()) == ["2", "3"]
    assert len(list(run.parent.glob("*.pb"))) == 2


def test_two_processes_at_once_keep_one_of_what_both_compiled(kept):
    begin, end = kept
    one = begin()
    two = begin()
    assert one != two
    for run in (one, two):
        add(run, 7)
    end()
    end()
    assert len(list(one.parent.glob("*.pb"))) == 1
    assert not one.exists()
    assert not two.exists()


def test_what_a_killed_process_leaves_is_removed(kept):
    begin, _ = kept
    run = begin()
    dead = run.parent / f"run-{2**22 + 1}-abc"
    dead.mkdir()
    add(dead, 1)
    os.utime(dead, (1, 1))
    assert begin() != dead
    assert run.exists()  # this process is alive
    assert not dead.exists()


def test_a_folder_open_to_others_is_not_used(kept, tmp_path, caplog):
    begin, _ = kept
    (tmp_path / "p").mkdir()
    (tmp_path / "p").chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert begin() is None
    assert "not a folder of yours alone" in caplog.text
    (tmp_path / "p").rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "p").symlink_to(tmp_path / "elsewhere")
    assert begin() is None


def test_what_the_user_has_set_stands(kept, monkeypatch):
    begin, _ = kept
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=/mine --tf_xla_auto_jit=1")
    assert begin() == Path("/mine")
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=1")
    run = begin()
    assert os.environ["TF_XLA_FLAGS"].startswith("--tf_xla_auto_jit=1 ")
    assert begin() != run  # as a process that was started by this one
    assert os.environ["TF_XLA_FLAGS"].count("cache_directory") == 1
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    monkeypatch.setenv(PLACE, "off")
    assert begin() is None


def test_a_folder_that_cannot_be_is_no_hindrance(kept, monkeypatch):
    begin, _ = kept
    monkeypatch.setenv(PLACE, "/proc/none/of/this")
    assert begin() is None
