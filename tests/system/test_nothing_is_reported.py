"""Libraries that report their use to their makers do not, from within this package."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys

import pytest
from surroundings import ROOT

# What Python itself tells of, also in the process that a report would be sent by.
LISTEN = """
import os, sys
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def hear(event, args):
    if event.startswith("socket.") or event in ("urllib.Request", "os.fork"):
        os.write(log, (event + "\\n").encode())
"""
NETWORK = """
import numpy as np, openvino
from openvino import opset13 as ops
x = ops.parameter([1, 8, 8, 3], openvino.Type.u8, name="images")
kernel = np.random.default_rng(0).normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
y = ops.transpose(ops.convert(x, "f32"), np.array([0, 3, 1, 2]))
y = ops.convolution(y, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
model = openvino.Model([ops.result(ops.reduce_mean(y, np.array([2, 3])))], [x], "small")
images = [np.full((1, 8, 8, 3), 20 * i, np.uint8) for i in range(4)]
"""
OURS = "from featcache.backbones import quantisation; quantisation.quantise(model, images)"
BARE = "import nncf; nncf.quantize(model, nncf.Dataset(images), subset_size=4)"
HEAR = "sys.addaudithook(hear)\n"
WITH_US = HEAR + "import featcache\n" + NETWORK
AFTER_NNCF = "import nncf\n" + NETWORK + HEAR
nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="NNCF is not installed")
# This process has been told that it is not there; the path knows.
_THERE = importlib.machinery.PathFinder.find_spec("openvino_telemetry") is not None
telling = pytest.mark.skipif(not _THERE, reason="nothing here reports")


@pytest.mark.parametrize(
    ("code", "silent"),
    [
        pytest.param(WITH_US + "openvino.compile_model(model, 'CPU')", True, id="openvino"),
        pytest.param(HEAR + NETWORK, False, id="openvino alone, the control", marks=telling),
        pytest.param(WITH_US + OURS, True, id="nncf", marks=nncf),
        pytest.param(AFTER_NNCF + OURS, True, id="nncf, loaded before", marks=nncf),
        pytest.param(AFTER_NNCF + BARE, False, id="nncf alone, the control", marks=[nncf, telling]),
    ],
)
def test_no_socket_is_opened(tmp_path, code, silent):
    """Nor is a process started to do so. The controls show that it would be heard."""
    names = ("NNCF_CI", "NNCF_DEV", "CI", "TF_BUILD", "JENKINS_URL")  # where these libraries are silent anyway
    env = {name: value for name, value in os.environ.items() if name not in names}
    env |= {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(ROOT), *(path for path in sys.path if path)])}
    log = tmp_path / "heard"
    command = [sys.executable, "-c", LISTEN + code, str(log)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (not log.read_text()) == silent, log.read_text()
    if silent:
        assert not done.stdout
