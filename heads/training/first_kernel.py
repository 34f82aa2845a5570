"""A wide first layer's step in one pass over its kernel: gradient, optimiser, and the next rows' product.

A head on flattened maps has nearly all of its weights in the first kernel, of shape (n_features, units). XLA walks over
it, its gradient and what the optimiser keeps several times a step, and multiplies zeros, of which features after a ReLU
have most. Here numba's code takes 32 features at a time through all of a step while they are in the processor's cache,
and skips the zeros.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled_layers import PENALTY, update
from .numba_compiler import compiled

BLOCK = 32  # features at a time, and rows: a mask of either is one number of 32 bits
_FEATURES = numba.config.CPU_FEATURES  # what numba was told to compile for, such as "+avx2,-avx512f"; else this machine
WIDE = "+avx512f" in _FEATURES if _FEATURES else llvmlite.binding.get_host_cpu_features().get("avx512f", False)
# Sums are held in registers: 16 of 16 numbers where there are 32 registers of that size, else 8 of 8.
TILES = (256, 128, 64, 32, 16) if WIDE else (64, 32, 16)
_LANES = 16 if WIDE else 8


def _sums(width: int) -> Any:
    """``sums(mask, factors, rows, stride, out, add)``: out[:width] = (out[:width] +) the sum over the bits i of the
    mask of factors[i] * rows[i * stride:][:width]; all but the mask and ``add`` are addresses."""
    vectors = width // _LANES

    def sums(typing: Any, mask: Any, factors: Any, rows: Any, stride: Any, out: Any, add: Any) -> Any:
        address, whole = numba.types.uintp, numba.types.intp
        signature = numba.types.void(numba.types.uint32, address, address, whole, address, numba.types.boolean)

        def code(context: Any, build: Any, _: Any, given: Any) -> Any:
            number, vector = ir.FloatType(), ir.VectorType(ir.FloatType(), _LANES)
            i32, i64 = ir.IntType(32), ir.IntType(64)
            mask, factors, rows, stride, out, add = given
            factors, rows, out = (build.inttoptr(a, number.as_pointer()) for a in (factors, rows, out))

            def place(base: Any, k: int) -> Any:
                return build.bitcast(build.gep(base, [i64(k * _LANES)]), vector.as_pointer())

            before = build.block
            load, loop, body, done = (build.append_basic_block(name) for name in ("load", "loop", "body", "done"))
            build.cbranch(cgutils.as_bool_bit(build, add), load, loop)
            build.position_at_end(load)
            there = [build.load(place(out, k), align=4) for k in range(vectors)]
            build.branch(loop)
            build.position_at_end(loop)
            left, sums = build.phi(i32), [build.phi(vector) for _ in range(vectors)]
            left.add_incoming(mask, before)
            left.add_incoming(mask, load)
            for total, value in zip(sums, there, strict=True):
                total.add_incoming(ir.Constant(vector, [0.0] * _LANES), before)
                total.add_incoming(value, load)
            build.cbranch(build.icmp_unsigned("==", left, i32(0)), done, body)
            build.position_at_end(body)
            i = build.zext(build.cttz(left, ir.IntType(1)(1)), i64)
            undefined = ir.Constant(vector, ir.Undefined)
            one = build.insert_element(undefined, build.load(build.gep(factors, [i]), align=4), i32(0))
            factor = build.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(i32, _LANES), [0] * _LANES))
            row = build.gep(rows, [build.mul(i, stride)])
            for k, total in enumerate(sums):
                product = build.fmul(factor, build.load(place(row, k), align=4), flags=("contract",))
                total.add_incoming(build.fadd(product, total, flags=("contract",)), body)
            left.add_incoming(build.and_(left, build.sub(left, i32(1))), body)
            build.branch(loop)
            build.position_at_end(done)
            for k, total in enumerate(sums):
                build.store(total, place(out, k), align=4)
            return context.get_dummy_value()

        return signature, code

    return intrinsic(sums)


_sums_16, _sums_32, _sums_64 = _sums(16), _sums(32), _sums(64)
_sums_128, _sums_256 = (_sums(128), _sums(256)) if WIDE else (_sums_64, _sums_64)


@intrinsic
def _not_zero(typing: Any, numbers: Any) -> Any:
    """Which of 32 numbers at an address are not zero, as bits."""

    def code(context: Any, build: Any, _: Any, given: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), BLOCK)
        there = build.load(build.inttoptr(given[0], vector.as_pointer()), align=4)
        return build.bitcast(build.fcmp_unordered("!=", there, ir.Constant(vector, [0.0] * BLOCK)), ir.IntType(BLOCK))

    return numba.types.uint32(numba.types.uintp), code


@intrinsic
def _fetch(typing: Any, address: Any, count: Any) -> Any:
    """Have so many lines of 64 bytes brought into the second cache."""

    def code(context: Any, build: Any, _: Any, given: Any) -> Any:
        pointer, i32, i64 = ir.IntType(8).as_pointer(), ir.IntType(32), ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32])
        fetch = cgutils.get_or_insert_function(build.module, kind, "llvm.prefetch.p0")
        with cgutils.for_range(build, given[1]) as loop:
            line = build.add(given[0], build.mul(loop.index, i64(64)))
            build.call(fetch, [build.inttoptr(line, pointer), i32(0), i32(2), i32(1)])
        return context.get_dummy_value()

    return numba.types.void(numba.types.uintp, numba.types.intp), code


def _sum_tile(tile: int, mask: Any, factors: Any, rows: Any, stride: int, out: Any, add: bool) -> None:
    if tile == 256:
        _sums_256(mask, factors, rows, stride, out, add)
    elif tile == 128:
        _sums_128(mask, factors, rows, stride, out, add)
    elif tile == 64:
        _sums_64(mask, factors, rows, stride, out, add)
    elif tile == 32:
        _sums_32(mask, factors, rows, stride, out, add)
    else:
        _sums_16(mask, factors, rows, stride, out, add)


def _pass_over(
    X: np.ndarray,
    rows: np.ndarray,
    delta: np.ndarray,
    following: np.ndarray,
    product: np.ndarray,
    kernel: np.ndarray,
    slots: np.ndarray,
    low: int,
    high: int,
    optimizer: int,
    knobs: np.ndarray,
) -> float:
    """One step of the features ``low`` to ``high``, the first a multiple of 32.

    Parameters
    ----------
    X : float32 array of shape (n, columns), columns a multiple of 32 and at least n_features, the others zero.
    rows : int64 array of shape (batch,), what is learnt from; without any, nothing is, and the kernel stays.
    delta : float32 array of shape (batch, units), the loss's gradient with respect to the layer's product.
    following : int64 array of shape (m,), the rows to be multiplied by the new kernel.
    product : float32 array of shape (m, units); these features' part of that product is added to it.
    kernel : float32 array of shape (n_features, units), changed; units are a multiple of 16.
    slots : float32 array of shape (slots, n_features, units), what the optimiser keeps, changed.
    optimizer : its place in OPTIMIZERS.
    knobs : of :func:`heads.training.compiled_layers.knobs_at`.

    Returns
    -------
    The sum of the squares of these features' weights before the step; 0 without L2.
    """
    units = kernel.shape[1]
    tile = 16
    for wide in TILES:
        if units % wide == 0:
            tile = wide
            break
    penalty = knobs[PENALTY]
    groups = (len(rows) + BLOCK - 1) // BLOCK
    gradient = np.empty(tile, np.float32)
    turned = np.zeros((max(groups, 1), BLOCK, BLOCK), np.float32)  # of each group of rows, a column's numbers together
    masks = np.zeros((max(groups, 1), BLOCK), np.uint32)
    at_X, at_delta, at_product, at_kernel = X.ctypes.data, delta.ctypes.data, product.ctypes.data, kernel.ctypes.data
    at_gradient, at_turned, at_slots = gradient.ctypes.data, turned.ctypes.data, slots.ctypes.data
    squares = 0.0
    for first in range(low, high, BLOCK):
        here = min(BLOCK, high - first)
        for place in range(len(rows)):
            row = X[rows[place]]
            group, within = place // BLOCK, place % BLOCK
            for j in range(BLOCK):
                turned[group, j, within] = row[first + j]
        for group in range(groups):
            for j in range(BLOCK):
                masks[group, j] = _not_zero(at_turned + (group * BLOCK + j) * BLOCK * 4)
        if groups:
            for begin in range(0, units, tile):
                for j in range(here):
                    for group in range(groups):
                        _sum_tile(
                            tile,
                            masks[group, j],
                            at_turned + (group * BLOCK + j) * BLOCK * 4,
                            at_delta + (group * BLOCK * units + begin) * 4,
                            units,
                            at_gradient,
                            group > 0,
                        )
                    ahead = first + BLOCK + j
                    if begin == 0 and ahead < high:
                        for slot in range(len(slots)):
                            _fetch(at_slots + (slot * len(kernel) + ahead) * units * 4, units // 16)
                    w = kernel[first + j, begin : begin + tile]
                    if penalty:
                        for k in range(tile):
                            squares += w[k] * w[k]
                            gradient[k] += np.float32(2) * penalty * w[k]
                    m = slots[0, first + j, begin : begin + tile]
                    v = slots[len(slots) - 1, first + j, begin : begin + tile]
                    update(w, m, v, gradient, optimizer, knobs)
        for begin in range(0, units, tile):
            for place in range(len(following)):
                ahead = first + BLOCK + place
                if begin == 0 and place < BLOCK and ahead < high:
                    _fetch(at_kernel + ahead * units * 4, units // 16)
                numbers = at_X + (following[place] * X.shape[1] + first) * 4
                _sum_tile(
                    tile,
                    _not_zero(numbers),
                    numbers,
                    at_kernel + (first * units + begin) * 4,
                    units,
                    at_product + (place * units + begin) * 4,
                    True,
                )
    return squares


_PASS = "f8(f4[:,::1],i8[::1],f4[:,::1],i8[::1],f4[:,::1],f4[:,::1],f4[:,:,::1],i8,i8,i8,f4[::1])"
_sum_tile = compiled()(_sum_tile)
pass_over = compiled(_PASS)(_pass_over)
