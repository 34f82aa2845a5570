"""Where things lie: the project, its golden files, the reference data, and no internet."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Reference radiographs and weights are no part of the project; see the marker "real" in pyproject.toml.
REFERENCE = Path(os.environ.get("FEATCACHE_REFERENCE", ROOT.parent / "shared"))
# An address where nothing answers: what a machine without internet looks like to a downloader.
OFFLINE = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
GOLDEN = ROOT / "tests" / "golden"
