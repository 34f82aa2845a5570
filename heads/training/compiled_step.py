"""A head's steps in numba's code: a batch forwards and backwards, and whole epochs.

The first kernel is passed over by :mod:`heads.training.first_kernel`; here is the rest of a step, small. No step needs
Python: heads train side by side on threads.
"""

from __future__ import annotations

import numpy as np

from .architectures import BN_EPSILON, BN_MOMENTUM
from .compiled_layers import DROPOUT, PENALTY, activate, dense, knobs_at, losses, times_slope, uniform, update
from .first_kernel import pass_over
from .flat_layout import BETA, BIAS, GAMMA, INPUTS, KERNEL, MEAN, OUTPUTS, VARIANCE
from .numba_compiler import compiled

_NORM_EPSILON, _NORM_MOMENTUM, _ONE = np.float32(BN_EPSILON), np.float32(BN_MOMENTUM), np.float32(1)


@compiled("void(f4[:,::1],i8[:,::1],f4[::1],i8,f4[::1],i8,i8,f4[:,:,:,::1],f4[:,::1])")
def _forward(
    product: np.ndarray,
    table: np.ndarray,
    row: np.ndarray,
    activation: int,
    knobs: np.ndarray,
    seed: int,
    before: int,
    work: np.ndarray,
    scales: np.ndarray,
) -> None:
    """The hidden layers of a batch. ``work`` gets, in this order, what enters each activation, what comes of it, what
    leaves the layer, and what dropout multiplies by or normalisation makes of it before gamma and beta; ``scales`` get
    what normalisation divides by, inverted."""
    entered, active, left, between = work[0], work[1], work[2], work[3]
    rows, hidden, training = len(product), len(table) - 1, before >= 0
    x = product
    for layer in range(hidden):
        inputs, outputs = table[layer, INPUTS], table[layer, OUTPUTS]
        dense(x, row, table[layer, KERNEL], table[layer, BIAS], inputs, outputs, entered[layer])
        z, a, y = entered[layer, :, :outputs], active[layer, :, :outputs], left[layer, :, :outputs]
        activate(activation, z, a)
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


@compiled("f8(f4[:,::1],i8[:,::1],f4[::1],i8,f4[::1],f4[:,:,:,::1],f4[:,::1],f4[::1],f4[:,::1])")
def _backward(
    delta: np.ndarray,
    table: np.ndarray,
    row: np.ndarray,
    activation: int,
    knobs: np.ndarray,
    work: np.ndarray,
    scales: np.ndarray,
    gradient: np.ndarray,
    out: np.ndarray,
) -> float:
    """From the gradient with respect to the logits to that of the row, which is added to, and of the product; the
    penalty of the kernels in the row is returned."""
    entered, active, left, between = work[0], work[1], work[2], work[3]
    rows, hidden, total = len(delta), len(table) - 1, 0.0
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
        times_slope(activation, entered[under, :, :inputs], active[under, :, :inputs], below)
        above = below
    for r in range(rows):
        for k in range(table[0, OUTPUTS]):
            gradient[table[0, BIAS] + k] += above[r, k]
            out[r, k] = above[r, k]
        for k in range(table[0, OUTPUTS], out.shape[1]):
            out[r, k] = np.float32(0)
    return total


@compiled(
    "UniTuple(f8,3)(f4[:,::1],f4[:,::1],f4[::1],i8[:,::1],f4[::1],f4[:,::1],UniTuple(i8,3),f4[::1],f4[:,::1],i8,i8,"
    "f4[:,::1])"
)
def rest_of_step(
    product: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    table: np.ndarray,
    row: np.ndarray,
    slots: np.ndarray,
    kinds: tuple[int, int, int],
    knobs: np.ndarray,
    balance: np.ndarray,
    seed: int,
    before: int,
    out: np.ndarray,
) -> tuple[float, float, float]:
    """Learn from a batch all but the first kernel; with ``before`` -1, only judge it.

    Parameters
    ----------
    product : float32 array of shape (n, width), the rows times the first kernel.
    target : float32 array of shape (n, k): classes, labels or numbers.
    weight : float32 array of shape (n,), sample weights.
    table, row, slots : of :class:`heads.training.flat_layout.FlatLayout`; the latter two are changed.
    kinds : places in OPTIMIZERS, ACTIVATIONS and LOSSES.
    knobs : of :func:`knobs_at`.
    balance : float32 array of shape (2, outputs), what a known 0 and a known 1 of each label count.
    seed, before : what dropout is drawn from: the head's seed, and the steps before this one.
    out : float32 array of shape (n, width), gets the loss's gradient with respect to the product.

    Returns
    -------
    The mean loss without the first kernel's penalty, the sum of what is measured, and over how many known targets.
    """
    optimizer, activation, kind = kinds
    rows, hidden, training = len(target), len(table) - 1, before >= 0
    widest = 0
    for layer in range(hidden):
        widest = max(widest, table[layer, OUTPUTS])
    work = np.empty((4, hidden, rows, widest), np.float32)
    scales = np.empty((hidden, widest), np.float32)
    _forward(product, table, row, activation, knobs, seed, before, work, scales)
    x = work[2, hidden - 1]
    inputs, outputs = table[hidden, INPUTS], table[hidden, OUTPUTS]
    logits, delta = np.empty((rows, outputs), np.float32), np.empty((rows, outputs), np.float32)
    loss, measure = np.empty(rows), np.empty(rows)
    dense(x, row, table[hidden, KERNEL], table[hidden, BIAS], inputs, outputs, logits)
    known = losses(kind, logits, target, balance, loss, measure, delta)
    total = 0.0
    for r in range(rows):
        # As in Keras: weighted losses are divided by the number of rows, not by the sum of weights.
        share = weight[r] / np.float32(rows)
        total += loss[r] * share
        for k in range(outputs):
            delta[r, k] *= share
    if not training:
        return total, measure.sum(), float(known)
    gradient = np.zeros(len(row), np.float32)
    total += _backward(delta, table, row, activation, knobs, work, scales, gradient, out)
    kept = slots[0], slots[len(slots) - 1]
    for layer in range(hidden + 1):
        for column in (KERNEL, BIAS, GAMMA, BETA):
            if table[layer, column] >= 0:
                size = table[layer, OUTPUTS] * (table[layer, INPUTS] if column == KERNEL else 1)
                part = slice(table[layer, column], table[layer, column] + size)
                update(row[part], kept[0][part], kept[1][part], gradient[part], optimizer, knobs)
    return total, measure.sum(), float(known)


@compiled(
    "f8[:,::1](f4[:,::1],f4[:,::1],i4[:,:,::1],f4[:,:,::1],i8[:,::1],i8,i8[::1],f4[:,::1],f4[:,:,::1],"
    "i8[:,::1],f4[::1],f4[:,::1],UniTuple(i8,3),f4[::1],f4[:,::1],i8)"
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
    kinds: tuple[int, int, int],
    knobs: np.ndarray,
    balance: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Whole epochs on one thread: losses and what is measured besides, in training and in validation.

    Returned are numbers of shape (epochs, 4). ``order`` of shape (epochs, steps, batch) are the rows, of which each
    batch has the first ``counts``; all else is as in :func:`rest_of_step` and
    :func:`heads.training.first_kernel.pass_over`.
    """
    none, features = np.empty(0, np.int64), len(kernel)
    width, optimizer = kernel.shape[1], kinds[0]
    curves = np.full((len(order), 4), np.nan)
    before = start
    for epoch in range(len(order)):
        sums, measured, known, seen = 0.0, 0.0, 0.0, 0
        for step in range(order.shape[1]):
            count = counts[epoch, step]
            if count == 0:
                continue
            batch = order[epoch, step, :count].astype(np.int64)
            product, delta = np.zeros((count, width), np.float32), np.empty((count, width), np.float32)
            now = knobs_at(knobs, before)
            pass_over(X, none, delta[:0], batch, product, kernel, kernel_slots, 0, features, optimizer, now)
            given = product, y[batch], weight[epoch, step, :count], table, row, slots
            loss, measure, targets = rest_of_step(*given, kinds, now, balance, seed, before, delta)
            squares = pass_over(X, batch, delta, none, product[:0], kernel, kernel_slots, 0, features, optimizer, now)
            sums += (loss + knobs[PENALTY] * squares) * count
            measured += measure
            known += targets
            seen += count
            before += 1
        if seen:
            curves[epoch, 0], curves[epoch, 1] = sums / seen, measured / known
        if len(val):
            product, delta = np.zeros((len(val), width), np.float32), np.empty((0, width), np.float32)
            pass_over(X, none, delta, val, product, kernel, kernel_slots, 0, features, optimizer, knobs)
            even = np.ones(len(val), np.float32)
            given = product, y[val], even, table, row, slots
            curves[epoch, 2], measure, targets = rest_of_step(
                *given, kinds, knobs, np.ones_like(balance), seed, -1, delta
            )
            curves[epoch, 3] = measure / targets
    return curves
