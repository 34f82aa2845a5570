"""Randomised trouble, a minute of it; ``python tests/support/trouble.py --minutes 60`` makes as much as is asked."""

from __future__ import annotations

import random

import pytest
from trouble import Trouble


@pytest.mark.slow
def test_a_minute_of_trouble_loses_nothing(tmp_path):
    seed = random.randrange(1 << 30)
    done = Trouble(tmp_path, seed).run(60)
    assert sum(count for what, count in done.items() if what.endswith("killed")) > 3, seed
    assert min(count for what, count in done.items() if what.endswith("proven")) >= 60, seed
