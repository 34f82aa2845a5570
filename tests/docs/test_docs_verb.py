"""The verb ``docs``: pages on a terminal, and as they are written where nobody is watching."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys

import pytest
from surroundings import ROOT

DOCS = ROOT / "docs"
TOPICS = [page.stem for page in sorted(DOCS.glob("*.md")) if page.stem != "README"]
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
termios = pytest.importorskip("termios")


def on_a_terminal(*arguments: str, columns: int = 80) -> str:
    """What ``python cli.py …`` shows on a terminal of so many columns, with a pager that shows all at once."""
    import fcntl

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    env |= {"TERM": "xterm-256color", "PAGER": "cat"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode().replace("\r\n", "\n")


def test_without_a_topic_it_lists_them(cli):
    listed = cli("docs", "--json").json["topics"]
    assert sorted(one["topic"] for one in listed) == TOPICS
    assert all(one["about"] for one in listed)
    shown = cli("docs").out
    for topic in TOPICS:
        assert re.search(rf"^{topic} +\S", shown, re.MULTILINE)


def test_nobody_watching_it_gives_the_page_as_it_is_written(cli):
    written = (DOCS / "trust.md").read_text(encoding="utf-8")
    assert cli("docs", "trust").out == written
    assert cli("docs", "trust.md").out == written
    assert cli("docs", "trust", "--json").json == {"topic": "trust", "text": written}


def test_an_unknown_topic_is_exit_2_with_those_there_are(cli):
    done = cli("docs", "truts")
    assert done.code == 2
    assert "did you mean trust?" in done.err
    assert all(topic in done.err for topic in TOPICS)
    assert cli("docs", "../README").code == 2


@pytest.mark.parametrize("topic", ["trust", "concepts", "benchmarks"])
def test_a_terminal_gets_a_page_that_fits(topic):
    shown = on_a_terminal("docs", topic)
    assert _STYLE.search(shown)
    plain = _STYLE.sub("", shown)
    written = (DOCS / f"{topic}.md").read_text(encoding="utf-8")
    assert plain.lstrip().startswith(written.splitlines()[0].lstrip("# "))
    assert max(map(len, plain.splitlines())) <= 80
    assert not re.search(r"^#|\]\(|<!--|^\| ", plain, re.MULTILINE)


def test_links_and_pictures_say_where_they_lead():
    from featcache.commands.docs import for_terminals

    text = (
        "See [trust](trust.md), [how](data.md#places), [rich](https://a.b/c) and [the code](../cli.py). `[x](y.md)`\n"
    )
    assert for_terminals(text) == (
        "See `trust`, how (`docs data`), rich (https://a.b/c) and the code (../cli.py). `[x](y.md)`\n"
    )
    assert for_terminals("![A head](images/head.png)\n<!-- no word -->\n") == "*Picture (images/head.png): A head.*\n"
