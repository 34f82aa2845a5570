"""Ending when asked to, whatever is being read.

Threads that read may hang: a server that gives a byte a minute, a network disk that is gone. They cannot be stopped, so
an interrupt does not wait for them (:func:`reading`), and neither does the end of the process (:func:`leave`). What was
committed stays, as after a kill.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_READERS = "reading: "  # begins the names of threads that may hang
_GRACE = 4.0  # seconds from SIGTERM to the end; schedulers wait 10 to 30 before they kill
_LAST = 1.0  # seconds that threads are given once all else is done
_cleanups: list[Callable[[], None]] = []
_leaving = threading.Event()


@contextlib.contextmanager
def reading(workers: int | None, what: str) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads for reading; it is waited for at its end, and not where an exception leaves it."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix=f"{_READERS}{what}")
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(wait=True)


def at_leaving(cleanup: Callable[[], None]) -> None:
    """Call this where the process ends without Python's own end: remove temporary files, for instance."""
    _cleanups.append(cleanup)


def end_on_sigterm(last_words: Callable[[], None], grace: float = _GRACE) -> None:
    """Have SIGTERM raise :class:`KeyboardInterrupt` in the main thread, and end a process that goes on all the same.

    The main thread may be within a library, where Python raises nothing: the signal is also heard by a thread.

    Parameters
    ----------
    last_words : called before the process is ended the hard way.
    grace : seconds until then.
    """

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    def watch() -> None:
        while True:
            heard = os.read(inlet, 1)
            if not heard:
                return
            if heard[0] == signal.SIGTERM:
                time.sleep(grace)
                if not _leaving.is_set():
                    with contextlib.suppress(Exception):
                        last_words()
                _end(130)

    inlet, outlet = os.pipe()
    os.set_blocking(outlet, False)
    threading.Thread(target=watch, daemon=True, name="watch for SIGTERM").start()
    signal.signal(signal.SIGTERM, interrupt)
    signal.set_wakeup_fd(outlet, warn_on_full_buffer=False)
    if hasattr(os, "register_at_fork"):  # else a child's signals would be heard here
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


def leave(code: object) -> None:
    """End the process where threads that read do not; else return, for Python's own end.

    ``code`` is that of :class:`SystemExit`.
    """
    _leaving.set()
    until = time.monotonic() + _LAST
    readers = [thread for thread in threading.enumerate() if thread.name.startswith(_READERS)]
    with contextlib.suppress(KeyboardInterrupt):  # somebody is impatient
        for thread in readers:
            thread.join(max(0.0, until - time.monotonic()))
    if any(thread.is_alive() for thread in readers):
        _end(code if isinstance(code, int) else 1)


def _end(code: int) -> None:
    for child in multiprocessing.active_children():
        child.terminate()
    for work in (*_cleanups, sys.stdout.flush, sys.stderr.flush):
        with contextlib.suppress(Exception):
            work()
    os._exit(code)
