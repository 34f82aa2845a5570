"""What a head looks like, and as an ordinary Keras model.

The dense head is the reference's: features > dense > dropout (or batch normalisation in its place) > … > output.
"""

from __future__ import annotations

import itertools
import numbers
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.errors import UsageError

ACTIVATIONS = ("relu", "sigmoid", "tanh", "elu", "gelu", "linear")
# What a head learns: one class of several, by cross-entropy; several labels, each by its own, where it is known; or a
# number, by squared differences or by Huber's loss.
LOSSES = ("class", "labels", "squared", "huber")
LARGE = 1_000_000  # parameters
# Keras' own defaults, stated here because the engine has to compute the same.
BN_MOMENTUM, BN_EPSILON = 0.99, 1e-3


@dataclass(frozen=True)
class HeadShape:
    """All that decides which tensors a head has and how they are joined.

    Attributes
    ----------
    n_features, n_targets : width of the input, and classes to tell apart (two share one sigmoid output), labels, or 1
        for a number.
    units : width of each hidden layer.
    activation : of the hidden layers.
    batch_norm : batch normalisation after each hidden layer, in place of dropout.
    loss : one of LOSSES.
    """

    n_features: int
    n_targets: int
    units: tuple[int, ...] = (256,)
    activation: str = "relu"
    batch_norm: bool = False
    loss: str = "class"

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise UsageError(f"loss {self.loss!r} is unknown; expected one of {', '.join(LOSSES)}")
        if self.activation not in ACTIVATIONS:
            raise UsageError(f"activation {self.activation!r} is unknown; expected one of {', '.join(ACTIVATIONS)}")
        if not self.units or not all(isinstance(n, numbers.Integral) and n >= 1 for n in self.units):
            raise UsageError(f"units {self.units!r}: expected one or more whole numbers, at least 1")

    @property
    def large(self) -> bool:
        """Whether such heads train one at a time: memory bounds them, and side by side they would hold more of it."""
        return self.parameters["total"] >= LARGE

    @property
    def n_outputs(self) -> int:
        """1 for two classes, else as many as targets."""
        return 1 if self.loss == "class" and self.n_targets == 2 else self.n_targets

    @property
    def target_columns(self) -> int:
        """Columns of what is to be learnt: one for each label, else one."""
        return self.n_targets if self.loss == "labels" else 1

    @property
    def output_activation(self) -> str:
        """Of the output layer, by Keras' name."""
        if self.loss == "class":
            return "sigmoid" if self.n_outputs == 1 else "softmax"
        return "sigmoid" if self.loss == "labels" else "linear"

    @property
    def measure(self) -> str:
        """What the learning curves have besides ``loss``."""
        return "accuracy" if self.loss in ("class", "labels") else "mae"

    @property
    def widths(self) -> list[tuple[int, int]]:
        """``(inputs, outputs)`` of each dense layer, the output layer last."""
        sizes = [self.n_features, *self.units, self.n_outputs]
        return list(itertools.pairwise(sizes))

    @property
    def weight_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the weights, in Keras' order."""
        shapes: list[tuple[int, ...]] = []
        for position, (inputs, outputs) in enumerate(self.widths):
            shapes += [(inputs, outputs), (outputs,)]
            if self.batch_norm and position < len(self.units):
                shapes += [(outputs,)] * 4
        return shapes

    @property
    def parameters(self) -> dict[str, int]:
        """Number of parameters, ``total`` and ``trainable``."""
        dense = sum(inputs * outputs + outputs for inputs, outputs in self.widths)
        norm = sum(self.units) if self.batch_norm else 0
        return {"total": dense + 4 * norm, "trainable": dense + 2 * norm}


def initial_weights(shape: HeadShape, seed: int) -> list[np.ndarray]:
    """Weights before training, in Keras' order, float32; the same seed gives the same.

    Glorot uniform kernels (Glorot & Bengio 2010), zero biases, identity normalisation.
    """
    rng = np.random.default_rng([seed, 0])
    weights: list[np.ndarray] = []
    for position, (inputs, outputs) in enumerate(shape.widths):
        limit = np.float32(np.sqrt(6 / (inputs + outputs)))
        weights.append((rng.random((inputs, outputs), dtype=np.float32) * 2 - 1) * limit)
        weights.append(np.zeros(outputs, np.float32))
        if shape.batch_norm and position < len(shape.units):
            weights += [np.full(outputs, value, np.float32) for value in (1, 0, 0, 1)]
    return weights


def dense_head(shape: HeadShape, dropout: float = 0.0, l2: float = 0.0, weights: list[np.ndarray] | None = None) -> Any:
    """The head as a ``keras.Model`` from features of shape (n, n_features) to its outputs.

    Two classes give one sigmoid output, the probability of the second; more give a softmax. Labels give a sigmoid each,
    a number is one linear output.
    """
    _, keras = load_tensorflow()
    state = random.getstate()  # Keras draws the seeds of its layers from here, and the caller may too
    try:
        layers: list[Any] = [keras.Input((shape.n_features,))]
        for units in shape.units:
            regulariser = keras.regularizers.L2(l2) if l2 else None
            layers.append(keras.layers.Dense(units, shape.activation, kernel_regularizer=regulariser))
            layers.append(keras.layers.BatchNormalization() if shape.batch_norm else keras.layers.Dropout(dropout))
        layers.append(keras.layers.Dense(shape.n_outputs, shape.output_activation))
        model = keras.Sequential(layers)
    finally:
        random.setstate(state)
    if weights is not None:
        model.set_weights(weights)
    return model


def own_cnn_sizes(n_classes: int, size: int, units: int) -> tuple[int, int]:
    """Parameters of :func:`own_cnn`, and values that its layers give for one image."""
    first, values = size, 0
    for _ in range(2):
        convolved = first - 2
        first = convolved // 2
        values += 64 * (convolved**2 + first**2)
    widths = [64 * first**2, 128, units, 1 if n_classes == 2 else n_classes]
    dense = sum(inputs * outputs + outputs for inputs, outputs in itertools.pairwise(widths))
    return 64 * 28 + 64 * (9 * 64 + 1) + dense, values + sum(widths)


def own_cnn(n_classes: int, size: int = 224, units: int = 64, dropout: float = 0.25, activation: str = "relu") -> Any:
    """The reference's own CNN, from images to probabilities.

    Two convolutions of 64 filters, each with a maximum over 2 x 2, and two dense layers, the first 128 wide. At 224
    pixels it has the reference's 23,935,041 parameters for two classes, and 23,935,236 for four.

    Parameters
    ----------
    n_classes : int
        Classes to tell apart; two share one sigmoid output.
    size : int, default=224
        Side of the square images in pixels.
    units : int, default=64
        Width of the second dense layer.
    dropout : float, default=0.25
        Share of each dense layer that a training step leaves out.
    activation : str, default="relu"
        Of the dense layers.

    Returns
    -------
    keras.Model
        Takes uint8 or float images of shape (n, size, size, 3), and is not trained.

    Examples
    --------
    >>> from heads import own_cnn
    >>> own_cnn(2, size=32, units=8).count_params()
    334801
    """
    _, keras = load_tensorflow()
    layers = keras.layers
    outputs = 1 if n_classes == 2 else n_classes
    return keras.Sequential(
        [
            keras.Input((size, size, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation),
            layers.Dropout(dropout),
            layers.Dense(units, activation),
            layers.Dropout(dropout),
            layers.Dense(outputs, "sigmoid" if outputs == 1 else "softmax"),
        ]
    )
