"""Which precisions a runtime computes in here: what its processor has, under the names that a spec has for them."""

from __future__ import annotations

import functools
import importlib.util

from ..errors import UsageError

# What OpenVINO is asked for: a quantised network says itself what is int8, and all else of it is float32.
OPENVINO_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "f32"}
# Keras' policies, which leave weights and sums in float32; older sets are called after them.
KERAS_POLICIES = {"float16": "mixed_float16", "bfloat16": "mixed_bfloat16", "int8": "float32"}
_CAPABILITIES = {"FP32": "float32", "BF16": "bfloat16", "FP16": "float16", "INT8": "int8"}


def openvino_installed() -> bool:
    """Whether OpenVINO is here, asked without loading it."""
    return importlib.util.find_spec("openvino") is not None


@functools.cache
def on_processor() -> frozenset[str]:
    """Precisions that this processor has instructions for, as OpenVINO says; none where it is not installed."""
    if not openvino_installed():
        return frozenset()
    import openvino

    told = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return frozenset(_CAPABILITIES[name] for name in told if name in _CAPABILITIES)


def require_on_processor(precision: str) -> None:
    """Raise :class:`UsageError` where the processor would compute in something other than what is asked for."""
    if precision not in on_processor():
        raise UsageError(
            f"precision {precision}: OpenVINO computes it on processors that have it, and this one has "
            f"{', '.join(sorted(on_processor())) or 'none'}; take float32, or a machine that has it"
        )
