"""The process that :mod:`featcache.backbones.keras_torch_runtime` starts: Keras on PyTorch, and nothing besides.

It reads images from its standard input and writes features to its standard output, as :mod:`.array_pipe` has them,
until the other side ends.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FeatcacheError, WeightsError
from ..spec import FeatureSpec
from ..system import tensor_files
from . import array_pipe, registry, weights
from .inference_graph import cut, preprocess
from .precisions import KERAS_POLICIES
from .runtime import named
from .torch_runtime import as_ours
from .torch_setup import exact_products


def network(kept: Path, *specs: FeatureSpec) -> Any:
    """The network of specs up to their layers, with the weights that were kept.

    Raises :class:`WeightsError` where these are not the spec's.
    """
    import keras

    spec = specs[0]
    if spec.precision != "float32":
        keras.config.set_dtype_policy(KERAS_POLICIES[spec.precision])
    construct = getattr(keras.applications, registry.get(spec.backbone).keras_name)
    model = construct(weights=None, include_top=False, input_shape=(spec.size, spec.size, 3))
    tensor_files.load(model, kept)
    model.trainable = False
    # The digest is of tensors as TensorFlow has them, which counts with integers of another width.
    held = tensor_files.read_tensors(kept)
    loaded = zip(model.weights, held, strict=True)
    if weights.digest_of(held) != spec.weights_digest or not all(
        np.array_equal(np.ravel(variable), np.ravel(tensor)) for variable, tensor in loaded
    ):
        raise WeightsError(
            f"Keras on PyTorch loads other weights than the feature set's (digest {spec.weights_digest[:8]})"
        )
    return cut(model, *specs)


def features(model: Any, *specs: FeatureSpec) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """From uint8 images of shape (n, size, size, 3) to the arrays that :func:`.runtime.array_names` lists."""
    import keras
    import torch

    device, kind = keras.src.backend.torch.core.get_device(), getattr(torch, specs[0].dtype)

    def compute(images: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode(), exact_products():
            pixels = torch.from_numpy(images).to(device).float()
            given = keras.tree.flatten(model(preprocess(keras, pixels, specs[0].preprocess), training=False))
            kept = named(specs, [arrays(output.float()) for output in given])
            return {name: values.to(kind).contiguous().cpu().numpy() for name, values in kept.items()}

    def arrays(values: Any) -> dict[str, Any]:
        return {"map": values, "avg": values.mean((1, 2)) if values.ndim == 4 else values}

    return compute


def main() -> None:
    """Serve the weights, with so many threads (0 for all), and the specs that the command line names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the one who waits, who then closes the pipe
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed
    questions = sys.stdin.buffer
    try:
        import torch

        if int(sys.argv[2]):
            torch.set_num_threads(int(sys.argv[2]))
        specs = [FeatureSpec.from_json(text) for text in sys.argv[3:]]
        compute = features(network(Path(sys.argv[1]), *specs), *specs)
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    except Exception as error:  # noqa: BLE001 - of any kind, from Keras and PyTorch; the other side says it
        array_pipe.send(answers, {"failed": _words(error)}, {})
        return
    array_pipe.send(answers, {"version": str(torch.__version__), "device": device}, {})
    while True:
        try:
            _, arrays = array_pipe.receive(questions)
        except EOFError:
            return
        try:
            said, given = {}, compute(arrays["images"])
        except RuntimeError as error:
            raised = as_ours(error, specs[0].network)
            said, given = {"no room" if isinstance(raised, MemoryError) else "failed": str(raised)}, {}
        if "no room" in said and device != "cpu":
            torch.cuda.empty_cache()
        array_pipe.send(answers, said, given)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, FeatcacheError) else f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
