"""Weights under their digest: single numbers among them, and files of before."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from featcache.errors import WeightsError
from featcache.system import tensor_files


class Variable:
    """What a Keras variable does here."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.value = shape, None

    def assign(self, value: np.ndarray) -> None:
        assert value.shape == self.shape
        self.value = value


@pytest.mark.parametrize("before", [False, True])
def test_a_single_number_is_read_as_one(tmp_path, before):
    given = [np.ones((2, 3), np.float32), np.array([7] if before else 7, np.int64)]
    tensor_files.write_tensors(tmp_path / "a", given)
    if not before:
        assert [tensor.shape for tensor in tensor_files.read_tensors(tmp_path / "a")] == [(2, 3), ()]
    model = SimpleNamespace(name="m", weights=[Variable((2, 3)), Variable(())])
    tensor_files.load(model, tmp_path / "a")
    assert model.weights[1].value == 7
    for shapes in ([(2, 3)], [(2, 3), (2,)], [(2, 3), (), ()], [(3, 2), ()]):
        with pytest.raises(WeightsError, match="do not fit"):
            tensor_files.load(SimpleNamespace(name="m", weights=[Variable(s) for s in shapes]), tmp_path / "a")
