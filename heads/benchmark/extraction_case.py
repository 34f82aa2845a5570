"""Extraction against its peers: files to committed shards on each runtime, Keras' ``predict``, torch, the roof."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache.backbones import registry, runtime
from featcache.backbones.tensorflow_setup import load_tensorflow
from featcache.backbones.weights import build, parse
from featcache.data.dataset import Dataset
from featcache.errors import UsageError
from featcache.extraction.extract_paths import extract_paths
from featcache.extraction.precision_error import measure
from featcache.extraction.quantised_request import resolve_on
from featcache.extraction.request import ExtractionRequest
from featcache.extraction.resolution import resolve
from featcache.spec import PRECISIONS
from featcache.store.store import Store

from .case import Case, decoded, some_images, timed
from .timing import Contender

_BATCH = 16
_TIMM = {
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "resnet50": "resnet50",
    "xception": "legacy_xception",
    "inceptionresnetv2": "inception_resnet_v2",
}
_SIDES, _REPEATS = (2048, 3072), 2


@contextlib.contextmanager
def extract(
    folder: Path, backbone: str = "vgg16", images: int = 128, data: str | None = None, weights: str = "random"
) -> Iterator[Case]:
    """Each runtime and precision from files to committed shards, its peers, and what the machine would allow.

    The peers are Keras' ``predict`` over preprocessed pixels in memory, and the bare forward pass of torch's same
    network; the roof is the machine's fastest matrix product. Batches of 16 but for ours, which choose. Building,
    converting, calibrating and compiling are told apart. Beside the pace of a precision other than float32 stands how
    far its features are from float32's.
    """
    row = registry.get(backbone)
    if row.name == "pixels":
        raise UsageError("pixels are no network; name a backbone")
    _, keras = load_tensorflow()
    paths = some_images(folder, images, data)
    count = len(paths)
    case = Case(f"{row.name}, {row.size} px, {count} images, from files to committed shards", [], "images/s")
    case.values["precision_error"] = {}
    for name, precision in _ways():
        label = f"featcache, {name}" + (f", {precision}" if precision != "float32" else "")
        request = ExtractionRequest(row.name, weights, runtime=name, precision=precision)
        once = _files_to_shards(folder / name, request, paths)
        try:
            runtime.check(name, precision)
            started = time.perf_counter()
            once()
        except UsageError as error:
            case.leave_out(label, str(error))
            continue
        case.notes.append(
            f"{label}: first run {time.perf_counter() - started:.1f} s, with building, converting and calibrating"
        )
        if precision != "float32":
            apart = _error(folder / name, request, paths)
            case.values["precision_error"][label] = apart
            case.notes.append(
                f"{label}: features differ from float32's by {100 * apart['median']:.2g}% of their length (median of "
                f"{apart['images']} images), {100 * apart['largest']:.2g}% at most"
            )
        beside = f"featcache, {name}" if precision != "float32" else None
        case.contenders.append(Contender(label, once, items=count, ours=True, beside=beside))
    network = build(row, row.size, parse(weights))
    pixels = decoded(paths, row.size).astype(np.float32)
    own = getattr(keras.applications, row.module).preprocess_input(pixels.copy())
    case.contenders.append(
        Contender("Keras predict", timed(lambda: network.predict(own, batch_size=_BATCH, verbose=0)), items=count)
    )
    bare = _torch_forward(row.name, own, case)
    if bare:
        case.contenders.append(Contender("torch/timm, forward pass alone", bare, items=count))
    work = flops(network)
    case.values["gflop_per_image"] = work / 1e9
    products = _products()
    case.contenders.append(
        Contender("roof: sgemm", lambda: work * count / max(product() for product in products), items=count, roof=True)
    )
    case.notes.append(
        f"roof: {work / 1e9:.1f} GFLOP an image at the pace of this machine's fastest float32 matrix product "
        f"(of {len(products)} library calls); a convolution may beat it"
    )
    yield case


def _ways() -> list[tuple[str, str]]:
    """Each runtime in each precision that is worth a row: TensorFlow has others than float32 on GPUs alone."""
    tf, _ = load_tensorflow()
    ways = [(name, "float32") for name in runtime.NAMES[1:]]
    ways += [("openvino", precision) for precision in PRECISIONS[1:]]
    if tf.config.list_physical_devices("GPU"):
        ways += [("tensorflow", precision) for precision in ("bfloat16", "float16")]
    return ways


def _unlabelled(paths: list[str]) -> Dataset:
    return Dataset("", paths, paths, [""] * len(paths), [""] * len(paths), paths)


def _error(cache: Path, request: ExtractionRequest, paths: list[str]) -> dict[str, Any]:
    """How far the features of a precision are from float32's."""
    with Store(cache) as store:
        feature_set = store.find(resolve_on(request, store, _unlabelled(paths)).spec)
        plain = replace(request, precision="float32")
        error = measure(store, feature_set, _unlabelled(paths), lambda: resolve(plain, store))
        assert error is not None  # the set has just been filled with these images
        return error.about()


def _files_to_shards(cache: Path, request: ExtractionRequest, paths: list[str]) -> Callable[[], float]:
    """Extraction into an empty store; its seconds are those from the first file to the last committed shard."""

    def run() -> float:
        shutil.rmtree(cache / "features", ignore_errors=True)
        with Store(cache) as store:
            done = extract_paths(store, resolve_on(request, store, _unlabelled(paths)), paths)
        if done.computed != len(set(paths)) or done.bad:
            raise UsageError(f"{len(done.bad)} of the images cannot be used; give others with --data")
        return done.seconds + done.phases["plan"]

    return run


def flops(network: Any) -> float:
    """Floating-point operations of a Keras network's convolutions and dense layers for one image; a multiplication and
    an addition are two."""
    total = 0.0
    for layer in network.layers:
        kind = type(layer).__name__
        if kind not in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense"):
            continue
        inputs, outputs = layer.input.shape, layer.output.shape
        positions = float(np.prod(outputs[1:-1])) if len(outputs) > 2 else 1.0
        if kind == "Dense":
            total += 2 * positions * inputs[-1] * outputs[-1]
            continue
        window = float(np.prod(layer.kernel_size))
        if kind == "Conv2D":
            total += 2 * positions * window * inputs[-1] / layer.groups * outputs[-1]
        else:
            total += 2 * positions * window * inputs[-1] * layer.depth_multiplier
        if kind == "SeparableConv2D":
            total += 2 * positions * inputs[-1] * layer.depth_multiplier * outputs[-1]
    return total


def _products() -> list[Callable[[], float]]:
    """Float32 matrix products of the libraries at hand; each call gives floating-point operations a second."""
    tf, _ = load_tensorflow()
    rng = np.random.default_rng(0)
    ways: list[Callable[[], float]] = []
    for side in _SIDES:
        a, b = (rng.random((side, side), dtype=np.float32) for _ in range(2))
        calls: list[Callable[[], Any]] = [lambda a=a, b=b: a @ b]  # type: ignore[misc]
        ta, tb = tf.constant(a), tf.constant(b)
        calls.append(lambda ta=ta, tb=tb: tf.matmul(ta, tb)[0, 0].numpy())  # type: ignore[misc]
        with contextlib.suppress(ImportError):
            import torch

            pa, pb = torch.from_numpy(a), torch.from_numpy(b)
            calls.append(lambda pa=pa, pb=pb: torch.mm(pa, pb))  # type: ignore[misc]
        ways += [lambda call=call, side=side: _pace(call, 2.0 * side**3) for call in calls]  # type: ignore[misc]
    return ways


def _pace(call: Callable[[], Any], work: float) -> float:
    best = float("inf")
    for _ in range(_REPEATS):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return work / best


def _torch_forward(backbone: str, pixels: np.ndarray, case: Case) -> Callable[[], None] | None:
    name = "torch/timm, forward pass alone"
    if backbone not in _TIMM:
        case.leave_out(name, f"no network of timm's is the same as {backbone}")
        return None
    try:
        import timm
        import torch
    except Exception as error:  # noqa: BLE001 — a torchvision that does not fit torch raises RuntimeError
        case.leave_out(name, f"not to be imported: {str(error).splitlines()[0]}")
        return None
    model = timm.create_model(_TIMM[backbone], pretrained=False).eval().to(memory_format=torch.channels_last)
    images = torch.from_numpy(np.moveaxis(pixels, -1, 1).copy()).to(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            for start in range(0, len(images), _BATCH):
                model.forward_features(images[start : start + _BATCH])

    return forward
