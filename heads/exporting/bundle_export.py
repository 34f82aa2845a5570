"""``export_bundle``: a bundle as one file of ONNX or OpenVINO, compared with the bundle before it is there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import featcache
from featcache.data.decoding import decode
from featcache.errors import BundleError, UsageError, WeightsError
from featcache.extraction.table_request import converted_network
from featcache.store.store import Store
from featcache.system import atomic_files, tensor_files
from featcache.system.user_paths import expanded

from ..bundles.bundle import Bundle, open_bundle
from ..inference.prediction import predict
from .composition import INPUT, OUTPUTS, compose
from .onnx_translation import to_onnx

_TOLERANCE = 1e-4  # how far a probability may be from the bundle's own; a number, in parts of the largest
_SHAPES = ((300, 260), (96, 128), (224, 224), (40, 400))  # of the pictures that are compared, height and width
_FORMS = (".onnx", ".xml")


def export_bundle(
    bundle: str | os.PathLike[str], out: str | os.PathLike[str], *, cache: str | os.PathLike[str] = "cache"
) -> dict[str, Any]:
    """Write a bundle as one network, from an image to probabilities or a number, that runs without this package.

    Parameters
    ----------
    bundle : str or path-like
        A bundle's folder.
    out : str or path-like
        The file to write: ``.onnx``, for ONNX Runtime and others; or ``.xml``, for OpenVINO, and its weights beside it
        in ``.bin``. What stood there is replaced.
    cache : str or path-like, optional
        Where the network is, where the bundle holds none.

    Returns
    -------
    dict
        ``file`` and its ``bytes`` (weights included); ``equal``, True; ``difference``, the largest one between a
        probability, or number, of the file and of the bundle, on ``pictures`` drawn pictures; ``runtime``, what ran the
        file; ``learns``, whether the model gives ``classes``, ``labels`` or a ``number``.

    Raises
    ------
    UsageError
        Another kind of file, or a model or network that has no such form; nothing is written.
    BundleError
        The bundle is damaged, or the file would give other probabilities; nothing is written.
    WeightsError
        The network is not to be had.
    StoreError
        The disk is full or refuses.

    See Also
    --------
    predict : Labels images by a bundle.

    Notes
    -----
    The file has one input, ``images``: uint8 of shape (1, size, size, 3), RGB, the picture already made a square in the
    way that its metadata says. Its output, ``probabilities``, of shape (1, n_classes), is calibrated; of several labels
    it is of shape (1, n_labels), each by itself, and of a number it is ``values``, of shape (1, 1). Metadata, all of it
    text: ``learns`` (``classes``, ``labels`` or ``number``), ``classes`` (JSON, in the order of the output: names of
    classes or labels, or of the number), ``threshold`` (of the second of two, a list for several labels, or ``null``),
    ``framing`` and ``size`` (how a picture becomes the square), ``input``, ``calibration``, ``warnings`` (JSON),
    ``synthetic``, ``spec`` (JSON) and ``featcache``, the version. What marks images unlike the training ones stays in
    the bundle.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from sklearn.linear_model import LogisticRegression
    >>> import featcache, heads
    >>> from heads.bundles.saving import save_bundle
    >>> folder = Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for name, grey in (("covid", 60), ("normal", 160)):
    ...     (folder / "images" / name).mkdir(parents=True)
    ...     for number in range(12):
    ...         pixels = rng.normal(grey, 20, (64, 64)).clip(0, 255).astype(np.uint8)
    ...         Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    >>> cache = folder / "cache"
    >>> extracted = featcache.extract(folder / "images", backbone="pixels", size=32, cache=cache)
    >>> f = featcache.load("pixels", task="binary", cache=cache)
    >>> model = LogisticRegression().fit(f.X, f.y)
    >>> bundle = save_bundle(folder / "b", model, f, np.arange(len(f)), task="binary", scores={}, cache=cache)
    >>> done = heads.export_bundle(bundle, folder / "model.onnx")
    >>> Path(done["file"]).name, done["equal"], done["difference"] < 1e-4
    ('model.onnx', True, True)
    """
    path = expanded(out).absolute()
    if path.is_dir() or path.suffix.lower() not in _FORMS:
        raise UsageError(f"{out}: expected a file to write, {' or '.join(_FORMS)}")
    opened = open_bundle(bundle)
    if opened.spec.precision != "float32":
        raise UsageError(
            f"{opened.folder}: computes {opened.spec.network} in {opened.spec.precision}, which such a file does not "
            "ask for; fit on features of float32 to export"
        )
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "cache"
        with Store(own) as store:
            network = _network(opened, store, cache)
        model = compose(opened, network)
        made = Path(folder) / f"exported{path.suffix.lower()}"
        _write(model, made, _about(opened))
        pictures = _pictures(Path(folder))
        run, runtime = _runner(made, OUTPUTS[opened.task.kind])
        given = np.concatenate([run(_square(picture, opened)) for picture in pictures])
        rows = predict(opened.folder, pictures, cache=own)["rows"]
        said = [[row["value"]] if "value" in row else list(row["probabilities"].values()) for row in rows]
        wanted = np.array(said)
        difference = float(np.abs(given - wanted).max())
        tolerance = _TOLERANCE * max(1.0, float(np.abs(wanted).max()))
        if not difference <= tolerance:  # NaN is not either
            raise BundleError(
                f"{opened.folder}: as {path.suffix} it gives {OUTPUTS[opened.task.kind]} that differ by "
                f"{difference:.3g} from the bundle's own (expected at most {tolerance:.3g}); nothing was written. "
                "Please report it"
            )
        size = _place(made, path)
    return {
        "file": str(path),
        "bytes": size,
        "equal": True,
        "difference": difference,
        "pictures": len(pictures),
        "runtime": runtime,
        "learns": opened.task.kind,
        "classes": list(opened.classes),
    }


def _network(bundle: Bundle, store: Store, cache: str | os.PathLike[str]) -> Path | None:
    """The converted network, None for pixels; ``store``, of this export alone, then has what predicting takes."""
    spec, held = bundle.spec, bundle.network
    if spec.backbone == "pixels":
        return None
    if held is None:
        with Store(cache) as other:
            held = other.kept(spec)
        if not held.exists():
            raise WeightsError(
                f"{bundle.folder}: holds no network, and {cache} has none of digest {spec.weights_digest[:8]}…; name "
                "the cache that it was made in with --cache"
            )
    if held.suffix == ".openvino" and bundle.network is not None:
        return held
    place = store.kept(spec)
    place.parent.mkdir(parents=True, exist_ok=True)
    tensor_files.place(held, place)
    converted = converted_network(spec, store) if spec.of_table else place
    if converted is None:
        raise UsageError(f"{bundle.folder}: OpenVINO does not compute {spec.network}; not exported")
    return converted


def _about(bundle: Bundle) -> dict[str, str]:
    """The metadata, as :func:`export_bundle` describes it."""
    spec, calibration = bundle.spec, bundle.about["calibration"]
    return {
        "featcache": featcache.__version__,
        "input": f"{INPUT}: uint8 (1, {spec.size}, {spec.size}, 3), RGB, 0 to 255, framed as 'framing' says",
        "size": str(spec.size),
        "framing": json.dumps({"recipe": spec.recipe, **asdict(spec.framing)}),
        "learns": bundle.task.kind,
        "classes": json.dumps(list(bundle.classes), ensure_ascii=False),
        "threshold": json.dumps(bundle.threshold),
        "calibration": f"{_method(calibration)}, applied" if calibration else "none",
        "warnings": json.dumps(bundle.warnings, ensure_ascii=False),
        "synthetic": json.dumps(bundle.synthetic),
        "spec": spec.to_json(),
    }


def _method(calibration: Any) -> str:
    """Of several labels they have one method in common; some may be left as they are."""
    every = calibration if isinstance(calibration, list) else [calibration]
    return next((str(one["method"]) for one in every if one is not None), "none")


def _write(model: Any, path: Path, about: dict[str, str]) -> None:
    import openvino

    if path.suffix == ".onnx":
        path.write_bytes(to_onnx(model, about))
        return
    for name, value in about.items():
        model.set_rt_info(value, ["featcache", name])
    openvino.save_model(model, path, compress_to_fp16=False)


def _pictures(folder: Path) -> list[Path]:
    """Pictures of several shapes, that no two networks take for the same."""
    rng = np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate(_SHAPES):
        ramp = np.linspace(0, 255, width)[None, :, None] * rng.random((1, 1, 3)) + rng.normal(0, 30, (height, 1, 3))
        noise = rng.normal(0, 15 * number, (height, width, 3))
        paths.append(folder / f"{number}.png")
        Image.fromarray((ramp + noise).clip(0, 255).astype(np.uint8)).save(paths[-1])
    return paths


def _square(picture: Path, bundle: Bundle) -> np.ndarray:
    return decode(picture.read_bytes(), bundle.spec.size, bundle.spec.framing)[None]


def _runner(path: Path, output: str) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """What computes the file's output of one image, and its name: ONNX Runtime for ONNX, where it is there."""
    if path.suffix == ".onnx":
        try:
            import onnxruntime
        except ImportError:
            pass
        else:
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            return lambda image: session.run([output], {INPUT: image})[0], f"onnxruntime {onnxruntime.__version__}"
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return lambda image: np.array(
        compiled({INPUT: image})[output]
    ), f"openvino {openvino.__version__.partition('-')[0]}"


def _place(made: Path, path: Path) -> int:
    """Bring what was written to where it is wanted, the weights first; says how many bytes."""
    size = 0
    for suffix in (".bin", path.suffix) if made.with_suffix(".bin").exists() else (path.suffix,):
        data = made.with_suffix(suffix.lower()).read_bytes()
        atomic_files.write_bytes(path.with_suffix(suffix), data)
        size += len(data)
    return size
