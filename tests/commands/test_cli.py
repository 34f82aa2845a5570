"""The command line through its real entry point."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

import click
import pytest
from surroundings import ROOT

from heads.commands import main as command_line

try:
    import resource
except ImportError:  # Windows
    resource = None


def verbs(group: click.Group = command_line.cli, prefix: tuple[str, ...] = ()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, (*prefix, name))
        else:
            yield (*prefix, name), command


VERBS = dict(verbs())


@pytest.mark.skipif(resource is None, reason="POSIX counts what children take")
def test_help_is_quick(cli_process):
    """In seconds of the processor, which others at work on the machine do not change."""

    def taken() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    cli_process("--help")
    times = []
    for _ in range(3):
        started = taken()
        assert cli_process("--help").code == 0
        times.append(taken() - started)
    assert min(times) < 0.5


@pytest.mark.parametrize("module", ["featcache", "heads", "cli"])
def test_importing_loads_no_tensorflow(module):
    script = f"import {module}, sys; sys.exit(any(m.split('.')[0] in ('tensorflow', 'keras') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_imports_run_one_way():
    allowed = {"featcache": {"featcache"}, "heads": {"featcache", "heads"}, "cli.py": {"featcache", "heads"}}
    ours = {"featcache", "heads", "cli"}
    for place, may in allowed.items():
        files = [ROOT / place] if place.endswith(".py") else (ROOT / place).glob("*.py")
        for file in files:
            for node in ast.walk(ast.parse(file.read_text())):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                assert {name.split(".")[0] for name in names} & ours <= may, file


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_help_shared_options_and_a_place_in_the_readme(verb):
    command = VERBS[verb]
    assert command.help
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--cache", "--json", "-q", "-v"} <= options
    for parameter in command.params:
        assert isinstance(parameter, click.Argument) or parameter.help, parameter.name
    assert re.search(rf"\b{' '.join(verb)}\b", (ROOT / "README.md").read_text())


@pytest.mark.parametrize("called", ["cli.py", "featcache"])
def test_the_usage_line_names_what_was_called(called, tmp_path):
    """In a clone ``python cli.py``; after an install ``featcache``, whose script does no more than this."""
    entry = "import sys; from heads.commands.main import main; sys.argv[0] = 'bin/featcache'; main()"
    command = [str(ROOT / "cli.py")] if called == "cli.py" else ["-c", entry]
    done = subprocess.run(
        [sys.executable, *command, "grid", "--no-such-option"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"Usage: {called} grid ")
    assert f"Try '{called} grid --help'" in done.stderr


def test_a_wrong_call_is_exit_2(cli_process):
    assert cli_process("extract", "--no-such-option").code == 2
    assert cli_process("explode").code == 2
    done = cli_process("extract", "--backbone", "vgg61")
    assert done.code == 2
    assert "did you mean" in done.err


def test_data_that_is_not_there_is_exit_3(cli_process):
    done = cli_process("extract", "--data", "nowhere", "--json")
    assert done.code == 3
    assert "no such file or folder" in done.json["error"]


def test_json_is_alone_on_stdout_and_complete(cli_process, images):
    done = cli_process("extract", "--data", images, "--backbone", "pixels", "--size", 8, "--json", "-v")
    assert done.out.count("\n") == 1
    keys = "feature_set backbone weights images computed reused skipped seconds images_per_second shape runtime"
    assert set(keys.split()) <= set(done.json)
    assert done.json["shape"] == [8, 8, 3]
    assert "\x1b" not in done.out + done.err  # no colours, no bar: nobody is watching
    listed = cli_process("cache", "ls", "--json").json["rows"]
    assert [(row["feature_set"], row["rows"], row["shards"]) for row in listed] == [(done.json["feature_set"], 24, 1)]
    verified = cli_process("cache", "verify", "--json").json
    assert (verified["shards"], verified["damaged"]) == (1, [])
    assert cli_process("cache", "compact", "--json").json["rows_dropped"] == 0
    assert cli_process("cache", "repair", "--json").json["damaged"] == []
    exported = cli_process("cache", "export", "out.h5", "--backbone", "pixels", "--json").json
    assert exported["rows"] == 24
    assert cli_process("cache", "rm", done.json["feature_set"], "--json").json["removed"] == [done.json["feature_set"]]
    assert cli_process("cache", "ls", "--json").json["rows"] == []


def test_quiet_says_nothing(cli_process, images):
    done = cli_process("extract", "--data", images, "--backbone", "pixels", "-q")
    assert done.err == ""


def test_the_last_line_says_what_was_done_and_what_was_saved(cli_process, images):
    first = cli_process("extract", "--data", images, "--backbone", "pixels")
    assert re.search(r"24 images of 224 x 224 x 3; 24 computed in [\d.]+ s \([\d.]+ images/s\); 0 reused", first.out)
    second = cli_process("extract", "--data", images, "--backbone", "pixels")
    assert re.search(r"0 computed; 24 reused, \d+ s saved", second.out)


def test_a_traceback_only_when_asked_for(cli_process, tmp_path):
    (tmp_path / "cache").write_text("")
    assert "Traceback" not in cli_process("cache", "ls").err
    done = cli_process("cache", "ls", "-v")
    assert done.code == 5
    assert "Traceback" in done.err


def test_a_new_machine_gets_the_sample_and_says_it_is_synthetic(cli_process):
    done = cli_process("extract", "--backbone", "pixels")
    assert done.code == 0, done.err
    assert "SYNTHETIC" in done.err
    assert "[SYNTHETIC images]" in done.out
    assert "128 images" in done.out


def test_progress_on_a_terminal(images, tmp_path):
    """A bar with images/s, on a real pseudo-terminal."""
    import pty

    read, write = pty.openpty()
    command = [sys.executable, str(ROOT / "cli.py"), "extract", "--data", str(images), "--backbone", "pixels"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=write, env={**os.environ, "TERM": "xterm"}
    )
    os.close(write)
    shown = b""
    while True:
        try:
            part = os.read(read, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    assert b"images/s" in shown
    assert b"24/24" in shown
