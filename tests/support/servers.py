"""Servers that answer while a test runs."""

from __future__ import annotations

import contextlib
import socketserver
import threading


@contextlib.contextmanager
def serving(server: socketserver.BaseServer):
    """A server that answers, in a thread, until the end."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
