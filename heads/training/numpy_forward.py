"""The dense head in NumPy, forwards and backwards: what a fitted one predicts, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from .architectures import BN_EPSILON, HeadShape


@dataclass(frozen=True)
class HiddenLayer:
    """A hidden layer's part in one pass.

    Attributes
    ----------
    kernel : array of shape (inputs, outputs)
        Its weights.
    before : array of shape (n, outputs)
        What enters the activation.
    scale : array of shape (outputs,)
        What batch normalisation multiplies by; ones where there is none.
    output : array of shape (n, outputs)
        What leaves the layer.
    """

    kernel: np.ndarray
    before: np.ndarray
    scale: np.ndarray
    output: np.ndarray


def hidden_layers(shape: HeadShape, weights: list[np.ndarray], X: np.ndarray) -> Iterator[HiddenLayer]:
    """The hidden layers, one after the other; ``weights`` are in Keras' order."""
    left = iter(weights)
    for _ in shape.units:
        kernel, bias = next(left), next(left)
        before = X @ kernel + bias
        X, scale = activated(shape.activation, before), np.ones_like(bias)
        if shape.batch_norm:
            gamma, beta, mean, variance = (next(left) for _ in range(4))
            X = (X - mean) / np.sqrt(variance + BN_EPSILON) * gamma + beta
            scale = gamma / np.sqrt(variance + BN_EPSILON)
        yield HiddenLayer(kernel, before, scale, X)


def outputs(shape: HeadShape, weights: list[np.ndarray], X: np.ndarray) -> np.ndarray:
    """What a head gives, float64: probabilities of the classes, of shape (n, n_classes), or of the labels, of shape
    (n, n_labels); or numbers, of shape (n,)."""
    for layer in hidden_layers(shape, weights, X):
        X = layer.output
    logits = (X @ weights[-2] + weights[-1]).astype(np.float64)
    if shape.loss == "labels":
        return special.expit(logits)
    if shape.loss != "class":
        return logits[:, 0]
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def logit_gradient(shape: HeadShape, weights: list[np.ndarray], X: np.ndarray, target: np.ndarray) -> np.ndarray:
    """How the output changes with each feature, before its sigmoid or softmax; array of the shape of ``X``.

    ``target`` are classes or labels; 0 for a number.
    """
    layers = list(hidden_layers(shape, weights, X))
    last = weights[-2].T
    if shape.loss == "class" and len(last) == 1:
        gradient = last * np.where(target == 1, 1, -1)[:, None].astype(last.dtype)
    else:
        gradient = last[target]
    for layer in reversed(layers):
        gradient = (gradient * _slope(shape.activation, layer.before) * layer.scale) @ layer.kernel.T
    return gradient


def activated(activation: str, x: np.ndarray) -> np.ndarray:
    """An activation of :data:`heads.training.architectures.ACTIVATIONS`."""
    if activation == "relu":
        return np.maximum(x, 0)
    if activation == "sigmoid":
        return special.expit(x)
    if activation == "tanh":
        return np.tanh(x)
    if activation == "elu":
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    if activation == "gelu":
        return (0.5 * x * (1 + special.erf(x / np.sqrt(2)))).astype(x.dtype)
    return x


def _slope(activation: str, x: np.ndarray) -> np.ndarray:
    """Derivative of :func:`activated`."""
    if activation == "relu":
        return (x > 0).astype(x.dtype)
    if activation == "sigmoid":
        return special.expit(x) * special.expit(-x)
    if activation == "tanh":
        return 1 - np.tanh(x) ** 2
    if activation == "elu":
        return np.exp(np.minimum(x, 0))
    if activation == "gelu":
        return (special.ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)).astype(x.dtype)
    return np.ones_like(x)
