"""A head's steps in numba's code, by Keras' formulas: losses, gradients, optimisers, whole epochs.

The first kernel is passed over by :mod:`heads.training.first_kernel`; here is the rest of a step, small and all in one
row (:mod:`heads.training.flat_layout`). No step needs Python: heads train side by side on threads.
"""

from __future__ import annotations

import math

import numpy as np

from .architectures import ACTIVATIONS, BN_EPSILON, BN_MOMENTUM
from .first_kernel import pass_over
from .flat_layout import BETA, BIAS, GAMMA, INPUTS, KERNEL, MEAN, OUTPUTS, VARIANCE
from .numba_compiler import compiled
from .train_spec import OPTIMIZERS

# Places of what the optimiser goes by; the first four as pass_over takes them.
SCALE, RATE, MOMENTUM, DECAY, PENALTY, DROPOUT = range(6)
_ADAMW, _SGD = OPTIMIZERS.index("adamw"), OPTIMIZERS.index("sgd")
_RELU, _SIGMOID, _TANH, _ELU, _GELU, _ = range(len(ACTIVATIONS))
_NORM_EPSILON, _NORM_MOMENTUM = np.float32(BN_EPSILON), np.float32(BN_MOMENTUM)
_BETA1, _BETA2, _EPSILON = np.float32(0.9), np.float32(0.999), np.float32(1e-7)  # Keras' own defaults
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
def _activate(activation: int, before: np.ndarray, out: np.ndarray) -> None:
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
def _times_slope(activation: int, before: np.ndarray, after: np.ndarray, delta: np.ndarray) -> None:
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
def _dense(x: np.ndarray, row: np.ndarray, kernel: int, bias: int, inputs: int, outputs: int, out: np.ndarray) -> None:
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


@compiled("void(f4[::1],f4[:,::1],f4[::1],i8,i8,i8,f4[::1])")
def _update(
    row: np.ndarray, slots: np.ndarray, gradient: np.ndarray, begin: int, end: int, optimizer: int, knobs: np.ndarray
) -> None:
    """One step of the optimiser on a part of the row."""
    rate = knobs[RATE]
    if optimizer == _SGD:
        for k in range(begin, end):
            slots[0, k] = knobs[MOMENTUM] * slots[0, k] - rate * gradient[k]
            row[k] += slots[0, k]
        return
    for k in range(begin, end):
        slots[0, k] += (gradient[k] - slots[0, k]) * (_ONE - _BETA1)
        slots[1, k] += (gradient[k] * gradient[k] - slots[1, k]) * (_ONE - _BETA2)
        if optimizer == _ADAMW:
            row[k] -= row[k] * knobs[DECAY] * rate
        row[k] -= slots[0, k] * knobs[SCALE] / (np.sqrt(slots[1, k]) + _EPSILON)


@compiled("void(f4[:,::1],i4[::1],f8[::1],f8[::1],f4[:,::1])")
def _losses(logits: np.ndarray, target: np.ndarray, loss: np.ndarray, right: np.ndarray, delta: np.ndarray) -> None:
    """Cross-entropy and correctness of each row, and the gradient of the former with respect to the logits."""
    rows, classes = logits.shape
    for r in range(rows):
        if classes == 1:
            z, y = logits[r, 0], np.float32(target[r])
            loss[r] = max(z, np.float32(0)) - z * y + np.log1p(np.exp(-np.abs(z)))
            right[r] = (z > 0) == (target[r] == 1)
            delta[r, 0] = _ONE / (_ONE + np.exp(-z)) - y
            continue
        best = 0
        for k in range(1, classes):
            if logits[r, k] > logits[r, best]:
                best = k
        total = np.float32(0)
        for k in range(classes):
            delta[r, k] = np.exp(logits[r, k] - logits[r, best])
            total += delta[r, k]
        for k in range(classes):
            delta[r, k] /= total
        loss[r] = np.log(total) - (logits[r, target[r]] - logits[r, best])
        right[r] = best == target[r]
        delta[r, target[r]] -= _ONE


@compiled("UniTuple(f8,2)(f4[:,::1],i4[::1],f4[::1],i8[:,::1],f4[::1],f4[:,::1],i8,i8,f4[::1],i8,i8,f4[:,::1])")
def rest_of_step(
    product: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    table: np.ndarray,
    row: np.ndarray,
    slots: np.ndarray,
    optimizer: int,
    activation: int,
    knobs: np.ndarray,
    seed: int,
    before: int,
    out: np.ndarray,
) -> tuple[float, float]:
    """Learn from a batch all but the first kernel; with ``before`` -1, only judge it.

    Parameters
    ----------
    product : float32 array of shape (n, width), the rows times the first kernel.
    target, weight : int32 and float32 arrays of shape (n,), classes and sample weights.
    table, row, slots : of :class:`heads.training.flat_layout.FlatLayout`; the latter two are changed.
    optimizer, activation : places in OPTIMIZERS and ACTIVATIONS.
    knobs : of :func:`knobs_at`.
    seed, before : what dropout is drawn from: the head's seed, and the steps before this one.
    out : float32 array of shape (n, width), gets the loss's gradient with respect to the product.

    Returns
    -------
    The mean loss without the first kernel's penalty, and how many rows were right.
    """
    rows, hidden, training = len(target), len(table) - 1, before >= 0
    widest = 0
    for layer in range(hidden):
        widest = max(widest, table[layer, OUTPUTS])
    # Of each hidden layer: what enters the activation, what comes of it, what leaves the layer, what dropout
    # multiplies by or normalisation makes of it before gamma and beta, and what it divides by, inverted.
    entered = np.empty((hidden, rows, widest), np.float32)
    active = np.empty((hidden, rows, widest), np.float32)
    left = np.empty((hidden, rows, widest), np.float32)
    between = np.empty((hidden, rows, widest), np.float32)
    scales = np.empty((hidden, widest), np.float32)
    x = product
    for layer in range(hidden):
        inputs, outputs = table[layer, INPUTS], table[layer, OUTPUTS]
        _dense(x, row, table[layer, KERNEL], table[layer, BIAS], inputs, outputs, entered[layer])
        z, a, y = entered[layer, :, :outputs], active[layer, :, :outputs], left[layer, :, :outputs]
        _activate(activation, z, a)
        if table[layer, GAMMA] >= 0:
            for k in range(outputs):
                mean, variance = row[table[layer, MEAN] + k], row[table[layer, VARIANCE] + k]
                if training:
                    mean = variance = np.float32(0)
                    for r in range(rows):
                        mean += a[r, k]
                    mean /= np.float32(rows)
                    for r in range(rows):
                        variance += (a[r, k] - mean) ** 2
                    variance /= np.float32(rows)
                    for place, value in ((table[layer, MEAN] + k, mean), (table[layer, VARIANCE] + k, variance)):
                        row[place] = row[place] * _NORM_MOMENTUM + value * (_ONE - _NORM_MOMENTUM)
                scales[layer, k] = _ONE / np.sqrt(variance + _NORM_EPSILON)
                for r in range(rows):
                    normal = (a[r, k] - mean) * scales[layer, k]
                    between[layer, r, k] = normal
                    y[r, k] = normal * row[table[layer, GAMMA] + k] + row[table[layer, BETA] + k]
        elif training and knobs[DROPOUT] > 0:
            drawn = uniform(seed, before * 64 + layer, rows * outputs)
            more = _ONE / (_ONE - knobs[DROPOUT])
            for r in range(rows):
                for k in range(outputs):
                    kept = more if drawn[r * outputs + k] >= knobs[DROPOUT] else np.float32(0)
                    between[layer, r, k] = kept
                    y[r, k] = a[r, k] * kept
        else:
            for r in range(rows):
                for k in range(outputs):
                    y[r, k] = a[r, k]
        x = left[layer]
    inputs, outputs = table[hidden, INPUTS], table[hidden, OUTPUTS]
    logits, delta = np.empty((rows, outputs), np.float32), np.empty((rows, outputs), np.float32)
    loss, right = np.empty(rows), np.empty(rows)
    _dense(x, row, table[hidden, KERNEL], table[hidden, BIAS], inputs, outputs, logits)
    _losses(logits, target, loss, right, delta)
    total = 0.0
    for r in range(rows):
        # As in Keras: weighted losses are divided by the number of rows, not by the sum of weights.
        share = weight[r] / np.float32(rows)
        total += loss[r] * share
        for k in range(outputs):
            delta[r, k] *= share
    if not training:
        return total, right.sum()
    gradient = np.zeros(len(row), np.float32)
    above = delta
    for layer in range(hidden, 0, -1):
        inputs, outputs = table[layer, INPUTS], table[layer, OUTPUTS]
        kernel, bias = table[layer, KERNEL], table[layer, BIAS]
        below = np.empty((rows, inputs), np.float32)
        x = left[layer - 1]
        for r in range(rows):
            for k in range(outputs):
                gradient[bias + k] += above[r, k]
            for i in range(inputs):
                factor, dot, at = x[r, i], np.float32(0), kernel + i * outputs
                for k in range(outputs):
                    gradient[at + k] += factor * above[r, k]
                    dot += row[at + k] * above[r, k]
                below[r, i] = dot
        if knobs[PENALTY] > 0 and layer < hidden:  # the output's kernel is not penalised
            squares = 0.0
            for place in range(kernel, kernel + inputs * outputs):
                squares += row[place] * row[place]
                gradient[place] += np.float32(2) * knobs[PENALTY] * row[place]
            total += knobs[PENALTY] * squares
        under = layer - 1
        if table[under, GAMMA] >= 0:
            for k in range(inputs):
                gamma = row[table[under, GAMMA] + k]
                summed = along = np.float32(0)
                for r in range(rows):
                    summed += below[r, k]
                    along += below[r, k] * between[under, r, k]
                gradient[table[under, BETA] + k] = summed
                gradient[table[under, GAMMA] + k] = along
                for r in range(rows):
                    d = below[r, k] - (summed + between[under, r, k] * along) / np.float32(rows)
                    below[r, k] = d * gamma * scales[under, k]
        elif knobs[DROPOUT] > 0:
            for r in range(rows):
                for k in range(inputs):
                    below[r, k] *= between[under, r, k]
        _times_slope(activation, entered[under, :, :inputs], active[under, :, :inputs], below)
        above = below
    for r in range(rows):
        for k in range(table[0, OUTPUTS]):
            gradient[table[0, BIAS] + k] += above[r, k]
            out[r, k] = above[r, k]
        for k in range(table[0, OUTPUTS], out.shape[1]):
            out[r, k] = np.float32(0)
    for layer in range(hidden + 1):
        inputs, outputs = table[layer, INPUTS], table[layer, OUTPUTS]
        if layer:
            kernel = table[layer, KERNEL]
            _update(row, slots, gradient, kernel, kernel + inputs * outputs, optimizer, knobs)
        for column in (BIAS, GAMMA, BETA):
            if table[layer, column] >= 0:
                begin = table[layer, column]
                _update(row, slots, gradient, begin, begin + outputs, optimizer, knobs)
    return total, right.sum()


@compiled(
    "f8[:,::1](f4[:,::1],i4[::1],i4[:,:,::1],f4[:,:,::1],i8[:,::1],i8,i8[::1],f4[:,::1],f4[:,:,::1],"
    "i8[:,::1],f4[::1],f4[:,::1],i8,i8,f4[::1],i8)"
)
def epochs(
    X: np.ndarray,
    y: np.ndarray,
    order: np.ndarray,
    weight: np.ndarray,
    counts: np.ndarray,
    start: int,
    val: np.ndarray,
    kernel: np.ndarray,
    kernel_slots: np.ndarray,
    table: np.ndarray,
    row: np.ndarray,
    slots: np.ndarray,
    optimizer: int,
    activation: int,
    knobs: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Whole epochs on one thread; losses and accuracies, in training and in validation, of shape (epochs, 4).

    ``order`` of shape (epochs, steps, batch) are the rows, of which each batch has the first ``counts``; all else is as
    in :func:`rest_of_step` and :func:`heads.training.first_kernel.pass_over`.
    """
    none, features = np.empty(0, np.int64), len(kernel)
    width = kernel.shape[1]
    curves = np.full((len(order), 4), np.nan)
    before = start
    for epoch in range(len(order)):
        sums, right, seen = 0.0, 0.0, 0
        for step in range(order.shape[1]):
            count = counts[epoch, step]
            if count == 0:
                continue
            batch = order[epoch, step, :count].astype(np.int64)
            product, delta = np.zeros((count, width), np.float32), np.empty((count, width), np.float32)
            now = knobs_at(knobs, before)
            pass_over(X, none, delta[:0], batch, product, kernel, kernel_slots, 0, features, optimizer, now)
            loss, hits = rest_of_step(
                product, y[batch], weight[epoch, step, :count], table, row, slots, optimizer, activation, now, seed,
                before, delta,
            )  # fmt: skip
            squares = pass_over(X, batch, delta, none, product[:0], kernel, kernel_slots, 0, features, optimizer, now)
            sums += (loss + knobs[PENALTY] * squares) * count
            right += hits
            seen += count
            before += 1
        if seen:
            curves[epoch, 0], curves[epoch, 1] = sums / seen, right / seen
        if len(val):
            product, delta = np.zeros((len(val), width), np.float32), np.empty((0, width), np.float32)
            pass_over(X, none, delta, val, product, kernel, kernel_slots, 0, features, optimizer, knobs)
            even = np.ones(len(val), np.float32)
            curves[epoch, 2], hits = rest_of_step(
                product, y[val], even, table, row, slots, optimizer, activation, knobs, seed, -1, delta
            )
            curves[epoch, 3] = hits / len(val)
    return curves
