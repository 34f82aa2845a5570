"""The hub of Hugging Face: whether it can be reached, and its client kept quiet where it cannot."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator

_TIMEOUT = 5  # seconds


@functools.cache
def reachable() -> bool:
    """Whether the hub answers; asked without its client, which tries for a minute."""
    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_TIMEOUT).close()
    except urllib.error.HTTPError:
        return True  # it answered
    except (OSError, ValueError):
        return False
    return True


@contextlib.contextmanager
def client() -> Iterator[None]:
    """Within, the client downloads where the hub can be reached, and else takes what is kept here."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not reachable()
    talk = logging.getLogger("huggingface_hub")
    level = talk.level
    talk.setLevel(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        talk.setLevel(level)
