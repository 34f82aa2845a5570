"""Each operation of the table against OpenVINO, by ONNX Runtime; what is not in it is named."""

from __future__ import annotations

import numpy as np
import openvino
import pytest
from openvino import opset8, opset13

from featcache.errors import UsageError
from heads.exporting.onnx_operations import TABLE
from heads.exporting.onnx_translation import to_onnx

RNG = np.random.default_rng(0)
ops = opset13


def const(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def places(*values):
    return np.array(values, np.int64)


IMAGE = (1, 4, 9, 9)
UNARY = (
    *("relu", "sigmoid", "tanh", "exp", "abs", "negative", "floor", "ceiling", "erf", "sin", "cos", "sign"),
    *("softplus", "hswish", "mish", "hsigmoid", "softsign"),
)
CASES = {
    **{name: (lambda x, name=name: getattr(ops, name)(x)) for name in UNARY},
    "log and sqrt": lambda x: ops.log(ops.sqrt(ops.add(ops.abs(x), np.float32(1)))),
    "arithmetic": lambda x: ops.divide(ops.multiply(x, const(4, 1, 1)), ops.add(ops.abs(x), const(1) ** 2 + 1)),
    "differences": lambda x: ops.squared_difference(ops.subtract(x, const(9)), const(9, 9)),
    "extremes": lambda x: ops.minimum(ops.maximum(x, const(9)), const(4, 1, 1)),
    "power": lambda x: ops.power(ops.abs(x), np.float32(1.5)),
    "choice": lambda x: ops.select(ops.greater(x, np.float32(0.2)), x, const(1)),
    "logic": lambda x: ops.convert(
        ops.logical_and(ops.less(x, const(9)), ops.logical_not(ops.less_equal(x, np.float32(-1)))), "f32"
    ),
    "elu": lambda x: ops.elu(x, 0.7),
    "clamp": lambda x: ops.clamp(x, -0.5, 0.5),
    "swish": lambda x: ops.swish(x),
    "swish with beta": lambda x: ops.swish(x, np.float32(1.7)),
    "gelu erf": lambda x: ops.gelu(x, "erf"),
    "gelu tanh": lambda x: ops.gelu(x, "tanh"),
    "prelu": lambda x: ops.prelu(x, const(4)),
    "round": lambda x: ops.round(ops.multiply(x, np.float32(4)), "half_to_even"),
    "softmax": lambda x: ops.softmax(x, 1),
    "log softmax": lambda x: ops.log_softmax(x, 1),
    "convert": lambda x: ops.convert(ops.convert(ops.multiply(x, np.float32(4)), "i32"), "f32"),
    **{
        name: (lambda x, name=name: getattr(ops, name)(x, places(2, 3), name != "reduce_max"))
        for name in ("reduce_mean", "reduce_max", "reduce_min", "reduce_sum", "reduce_prod", "reduce_l1", "reduce_l2")
    },
    "reshape": lambda x: ops.reshape(x, places(0, -1, 3), True),
    "squeeze": lambda x: ops.squeeze(ops.unsqueeze(x, places(2)), places(0)),
    "transpose": lambda x: ops.transpose(x, places(0, 3, 1, 2)),
    "broadcast": lambda x: ops.broadcast(x, places(2, 4, 9, 9)),
    "tile": lambda x: ops.tile(x, places(1, 2, 1, 1)),
    "concat": lambda x: ops.concat([x, ops.relu(x)], 1),
    "split": lambda x: ops.split(x, places(1)[0], 2).output(1),
    "variadic split": lambda x: ops.variadic_split(x, places(2)[0], places(2, 7)).output(1),
    "gather": lambda x: ops.gather(x, places(2, 0, -1), places(1)[0]),
    "slice": lambda x: ops.slice(x, places(1, -1), places(9, 2), places(2, -3), places(2, 3)),
    "strided slice": lambda x: ops.strided_slice(
        x, places(0, 5, 7), places(0, 9, 1), places(1, 2, -2), [0, 0, 0], [0, 1, 0], [], [0, 0, 0], [1, 0, 0]
    ),
    "strided slice of one": lambda x: ops.strided_slice(
        x, places(0, -1), places(0, 0), places(1, 1), [1, 0], [1, 0], [0, 0], [0, 1], [0, 0]
    ),
    "pad": lambda x: ops.pad(x, places(0, 0, 1, 2), places(0, 1, 0, 3), "constant", np.float32(0.5)),
    "pad by mirror": lambda x: ops.pad(x, places(0, 0, 1, 2), places(0, 0, 0, 3), "reflect"),
    "convolution": lambda x: ops.convolution(x, const(5, 4, 3, 3), [2, 2], [0, 0], [0, 0], [1, 1], "same_upper"),
    "dilated": lambda x: ops.convolution(x, const(5, 4, 3, 3), [1, 1], [2, 1], [2, 3], [2, 2]),
    "groups": lambda x: ops.group_convolution(x, const(2, 3, 2, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]),
    "average": lambda x: ops.avg_pool(x, [2, 2], [1, 1], [1, 1], [3, 3], True),
    "average of zeros, too": lambda x: ops.avg_pool(x, [2, 2], [0, 0], [0, 0], [3, 3], False, "floor", "same_upper"),
    "maximum": lambda x: opset8.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], "ceil").output(0),
    "matmul": lambda x: ops.matmul(x, const(5, 9), False, True),
    "matmul of its own": lambda x: ops.matmul(x, ops.relu(x), True, False),
    "mvn": lambda x: ops.mvn(x, places(1, 2, 3), True, 1e-5, "inside_sqrt"),
    "mvn, outside": lambda x: ops.mvn(x, places(3), True, 1e-2, "outside_sqrt"),
    "length": lambda x: ops.normalize_l2(x, places(1), 1e-3, "max"),
    "batch norm": lambda x: ops.batch_norm_inference(x, const(4), const(4), const(4), const(4) ** 2, 1e-3),
    "attention": lambda x: ops.scaled_dot_product_attention(x, ops.tanh(x), ops.sin(x)),
    "space to batch": lambda x: ops.space_to_batch(x, places(1, 1, 2, 2), places(0, 0, 1, 0), places(0, 0, 2, 1)),
    "batch to space": lambda x: ops.batch_to_space(
        ops.reshape(x, places(4, 1, 9, 9), False), places(1, 1, 2, 2), places(0, 0, 1, 0), places(0, 0, 0, 1)
    ),
    "shapes": lambda x: ops.reshape(x, ops.concat([places(-1), ops.gather(ops.shape_of(x), places(3), 0)], 0), False),
}


def model_of(build) -> openvino.Model:
    x = ops.parameter(list(IMAGE), np.float32, name="x")
    x.output(0).set_names({"x"})
    given = build(x)
    port = given if isinstance(given, openvino.Output) else given.output(0)
    result = ops.result(port)
    result.output(0).set_names({"y"})
    return openvino.Model([result], [x], "one")


@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_openvinos(name):
    import onnxruntime

    model = model_of(CASES[name])
    x = RNG.normal(size=IMAGE).astype(np.float32)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    wanted = openvino.Core().compile_model(model.clone(), "CPU", settings)(x)[0]
    session = onnxruntime.InferenceSession(to_onnx(model, {}), providers=["CPUExecutionProvider"])
    (given,) = session.run(["y"], {"x": x})
    assert given.shape == wanted.shape
    np.testing.assert_allclose(given, wanted, atol=2e-5, rtol=2e-5)


def test_every_operation_of_the_table_is_tried():
    tried = {op.get_type_name() for build in CASES.values() for op in model_of(build).get_ops()}
    assert TABLE.keys() - tried <= {"Interpolate", "GreaterEqual", "Equal", "LogicalOr"}


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda x: ops.roll(x, places(1), places(2)), "computes Roll, which is not written to ONNX here; export to"),
        (lambda x: ops.round(x, "half_away_from_zero"), "Round of mode .*has no counterpart in ONNX"),
    ],
)
def test_what_has_no_counterpart_is_named(build, says):
    with pytest.raises(UsageError, match=says):
        to_onnx(model_of(build), {})


def test_metadata_stands_in_the_file():
    import onnx

    made = onnx.load_from_string(to_onnx(model_of(ops.relu), {"classes": '["ä", "b"]'}))
    assert {entry.key: entry.value for entry in made.metadata_props} == {"classes": '["ä", "b"]'}
    onnx.checker.check_model(made)
