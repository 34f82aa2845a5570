"""Stands for the process that computes with Keras on PyTorch: ``python -m answering SPEC KEPT THREADS``."""

from __future__ import annotations

import sys

import numpy as np

from featcache.backbones import array_pipe

questions, answers = sys.stdin.buffer, sys.stdout.buffer
array_pipe.send(answers, {"version": "0", "device": "cpu"}, {})
while True:
    try:
        _, arrays = array_pipe.receive(questions)
    except EOFError:
        break
    images = arrays["images"]
    if len(images) > 4:
        array_pipe.send(answers, {"no room": "out of memory"}, {})
    elif images.max() == 255:
        sys.exit("Killed by a test")
    else:
        array_pipe.send(answers, {}, {"map": images.astype(np.float32), "avg": images.mean((1, 2), np.float32)})
