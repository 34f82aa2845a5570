"""What a head's step is made of, in numba's code: activations, dense products, losses, optimisers, dropout's numbers.

By Keras' formulas. All weights but the first kernel lie in one row (:mod:`heads.training.flat_layout`).
"""

from __future__ import annotations

import math

import numpy as np

from .architectures import ACTIVATIONS, LOSSES
from .numba_compiler import compiled
from .train_spec import OPTIMIZERS

# Places of what the optimiser goes by, and the rest of a step.
SCALE, RATE, MOMENTUM, DECAY, PENALTY, DROPOUT = range(6)
_ADAMW, _SGD = OPTIMIZERS.index("adamw"), OPTIMIZERS.index("sgd")
_RELU, _SIGMOID, _TANH, _ELU, _GELU, _ = range(len(ACTIVATIONS))
_CLASS, _LABELS, _SQUARED, _HUBER = range(len(LOSSES))
_BETA1, _BETA2, _EPSILON = np.float32(0.9), np.float32(0.999), np.float32(1e-7)  # Keras' own defaults
_LESS_BETA1, _LESS_BETA2 = np.float32(1 - 0.9), np.float32(1 - 0.999)
_ONE = np.float32(1)
_TURNS = ((13, 15, 26, 6), (17, 29, 16, 24))


@compiled("f4[::1](i8,i8,i8)")
def uniform(low: int, high: int, count: int) -> np.ndarray:
    """Numbers from 0 to 1, float32 array of shape (count,): those of ThreeFry for a key of two 32-bit numbers.

    Threefry-2x32 with 20 rounds (Salmon et al. 2011), as TensorFlow's ``stateless_uniform`` with ``alg="threefry"``
    draws them in XLA as a row of an even length.
    """
    first, second = np.uint32(low), np.uint32(high)
    third = np.uint32(np.uint32(0x1BD11BDA) ^ first ^ second)
    keys = (first, second, third)
    drawn = np.empty(count + count % 2, np.float32)
    for pair in range(len(drawn) // 2):
        a, b = np.uint32(np.uint32(pair) + first), second
        for five in range(5):
            for turn in range(4):
                a = np.uint32(a + b)
                by = np.uint32(_TURNS[five % 2][turn])
                b = np.uint32(np.uint32(np.uint32(b << by) | np.uint32(b >> np.uint32(np.uint32(32) - by))) ^ a)
            a = np.uint32(a + keys[(five + 1) % 3])
            b = np.uint32(b + keys[(five + 2) % 3] + np.uint32(five + 1))
        drawn[2 * pair], drawn[2 * pair + 1] = np.float32(a >> np.uint32(9)), np.float32(b >> np.uint32(9))
    return drawn[:count] * np.float32(2.0**-23)


@compiled("f4[::1](f4[::1],i8)")
def knobs_at(knobs: np.ndarray, before: int) -> np.ndarray:
    """What the optimiser goes by after ``before`` steps: Adam's step size with its correction, in float32 as Keras
    reckons it."""
    now, step = knobs.copy(), np.float32(before + 1)
    now[SCALE] = knobs[RATE] * np.sqrt(_ONE - _BETA2**step) / (_ONE - _BETA1**step)
    return now


@compiled("void(i8,f4[:,:],f4[:,:])")
def activate(activation: int, before: np.ndarray, out: np.ndarray) -> None:
    rows, width = before.shape
    for r in range(rows):
        z, a = before[r], out[r]
        if activation == _RELU:
            for k in range(width):
                a[k] = max(z[k], np.float32(0))
        elif activation == _SIGMOID:
            for k in range(width):
                a[k] = _ONE / (_ONE + np.exp(-z[k]))
        elif activation == _TANH:
            for k in range(width):
                a[k] = np.tanh(z[k])
        elif activation == _ELU:
            for k in range(width):
                a[k] = z[k] if z[k] > 0 else np.expm1(z[k])
        elif activation == _GELU:
            for k in range(width):
                a[k] = np.float32(0.5) * z[k] * (_ONE + np.float32(math.erf(z[k] / math.sqrt(2.0))))
        else:
            for k in range(width):
                a[k] = z[k]


@compiled("void(i8,f4[:,:],f4[:,:],f4[:,:])")
def times_slope(activation: int, before: np.ndarray, after: np.ndarray, delta: np.ndarray) -> None:
    """Multiply by the activation's derivative."""
    rows, width = before.shape
    for r in range(rows):
        z, a, d = before[r], after[r], delta[r]
        if activation == _RELU:
            for k in range(width):
                d[k] = d[k] if z[k] > 0 else np.float32(0)
        elif activation == _SIGMOID:
            for k in range(width):
                d[k] *= a[k] * (_ONE - a[k])
        elif activation == _TANH:
            for k in range(width):
                d[k] *= _ONE - a[k] * a[k]
        elif activation == _ELU:
            for k in range(width):
                d[k] *= _ONE if z[k] > 0 else a[k] + _ONE
        elif activation == _GELU:
            for k in range(width):
                share = 0.5 * (1.0 + math.erf(z[k] / math.sqrt(2.0)))
                d[k] *= np.float32(share + z[k] * math.exp(-0.5 * z[k] * z[k]) / math.sqrt(2.0 * math.pi))


@compiled("void(f4[:,:],f4[::1],i8,i8,i8,i8,f4[:,:])")
def dense(x: np.ndarray, row: np.ndarray, kernel: int, bias: int, inputs: int, outputs: int, out: np.ndarray) -> None:
    """A dense product with a kernel of the row, and its bias; the bias alone where the kernel's place is -1."""
    for r in range(len(x)):
        z = out[r]
        if kernel < 0:
            for k in range(outputs):
                z[k] = x[r, k] + row[bias + k]
            continue
        for k in range(outputs):
            z[k] = row[bias + k]
        for i in range(inputs):
            factor, w = x[r, i], row[kernel + i * outputs : kernel + (i + 1) * outputs]
            for k in range(outputs):
                z[k] += factor * w[k]


@compiled("void(f4[::1],f4[::1],f4[::1],f4[::1],i8,f4[::1])")
def update(
    w: np.ndarray, m: np.ndarray, v: np.ndarray, gradient: np.ndarray, optimizer: int, knobs: np.ndarray
) -> None:
    """One step of the optimiser on some weights; ``m`` and ``v`` are what it keeps for them, SGD the first alone."""
    rate, scale, momentum, decay = knobs[RATE], knobs[SCALE], knobs[MOMENTUM], knobs[DECAY]
    if optimizer == _SGD:
        for k in range(len(w)):
            m[k] = momentum * m[k] - rate * gradient[k]
            w[k] += m[k]
        return
    if optimizer == _ADAMW:
        for k in range(len(w)):
            w[k] -= w[k] * decay * rate
    for k in range(len(w)):
        g = gradient[k]
        new_m = m[k] + (g - m[k]) * _LESS_BETA1
        new_v = v[k] + (g * g - v[k]) * _LESS_BETA2
        m[k], v[k] = new_m, new_v
        w[k] -= new_m * scale / (np.sqrt(new_v) + _EPSILON)


@compiled("void(f4[:,::1],f4[:,::1],f8[::1],f8[::1],f4[:,::1])")
def _of_class(logits: np.ndarray, target: np.ndarray, loss: np.ndarray, measure: np.ndarray, delta: np.ndarray) -> None:
    rows, classes = logits.shape
    for r in range(rows):
        if classes == 1:
            z, y = logits[r, 0], target[r, 0]
            loss[r] = max(z, np.float32(0)) - z * y + np.log1p(np.exp(-np.abs(z)))
            measure[r] = (z > 0) == (y == 1)
            delta[r, 0] = _ONE / (_ONE + np.exp(-z)) - y
            continue
        best, true = 0, int(target[r, 0])
        for k in range(1, classes):
            if logits[r, k] > logits[r, best]:
                best = k
        total = np.float32(0)
        for k in range(classes):
            delta[r, k] = np.exp(logits[r, k] - logits[r, best])
            total += delta[r, k]
        for k in range(classes):
            delta[r, k] /= total
        loss[r] = np.log(total) - (logits[r, true] - logits[r, best])
        measure[r] = best == true
        delta[r, true] -= _ONE


@compiled("i8(f4[:,::1],f4[:,::1],f4[:,::1],f8[::1],f8[::1],f4[:,::1])")
def _of_labels(
    logits: np.ndarray,
    target: np.ndarray,
    balance: np.ndarray,
    loss: np.ndarray,
    measure: np.ndarray,
    delta: np.ndarray,
) -> int:
    rows, labels = logits.shape
    known = 0
    for r in range(rows):
        loss[r] = measure[r] = 0.0
        for k in range(labels):
            z, y = logits[r, k], target[r, k]
            if np.isnan(y):
                delta[r, k] = np.float32(0)
                continue
            known += 1
            share = balance[1 if y == 1 else 0, k] / np.float32(labels)
            loss[r] += share * (max(z, np.float32(0)) - z * y + np.log1p(np.exp(-np.abs(z))))
            measure[r] += (z > 0) == (y == 1)
            delta[r, k] = share * (_ONE / (_ONE + np.exp(-z)) - y)
    return known


@compiled("void(f4[:,::1],f4[:,::1],b1,f8[::1],f8[::1],f4[:,::1])")
def _of_number(
    value: np.ndarray, target: np.ndarray, huber: bool, loss: np.ndarray, measure: np.ndarray, delta: np.ndarray
) -> None:
    for r in range(len(value)):
        error = value[r, 0] - target[r, 0]
        size = np.abs(error)
        measure[r] = size
        if not huber:
            loss[r] = error * error
            delta[r, 0] = np.float32(2) * error
        elif size <= _ONE:
            loss[r] = np.float32(0.5) * error * error
            delta[r, 0] = error
        else:
            loss[r] = size - np.float32(0.5)
            delta[r, 0] = _ONE if error > 0 else -_ONE


@compiled("i8(i8,f4[:,::1],f4[:,::1],f4[:,::1],f8[::1],f8[::1],f4[:,::1])")
def losses(
    kind: int,
    logits: np.ndarray,
    target: np.ndarray,
    balance: np.ndarray,
    loss: np.ndarray,
    measure: np.ndarray,
    delta: np.ndarray,
) -> int:
    """Loss and measure of each row, and the gradient of the former with respect to the logits.

    The measure is how many known targets are right, or by how much a number is off. ``balance`` of shape (2, labels) is
    what a known 0 and a known 1 of each label count. Returned is how many targets are known.
    """
    if kind == _LABELS:
        return _of_labels(logits, target, balance, loss, measure, delta)
    if kind == _CLASS:
        _of_class(logits, target, loss, measure, delta)
    else:
        _of_number(logits, target, kind == _HUBER, loss, measure, delta)
    return len(logits)
