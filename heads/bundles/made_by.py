"""What does each step of a bundle's answers on this machine: libraries with their versions, and the processor."""

from __future__ import annotations

import functools
import importlib.metadata
import platform

from PIL import features as pillow

from featcache.backbones.precisions import on_processor, openvino_installed

# Which of these has a hand in a step; of the runtimes and models, those that a bundle has.
OF_STEP = {
    "decoding": ("Pillow", "libjpeg", "zlib", "NumPy"),
    "resizing": ("Pillow", "NumPy"),
    "scaling": ("OpenVINO", "TensorFlow", "processor"),
    "network": ("OpenVINO", "TensorFlow", "processor"),
    "head": ("featcache", "NumPy", "scikit-learn", "XGBoost", "TensorFlow", "processor"),
}
_PACKAGES = {
    "featcache": "featcache",
    "Pillow": "pillow",
    "NumPy": "numpy",
    "OpenVINO": "openvino",
    "TensorFlow": "tensorflow",
    "scikit-learn": "scikit-learn",
    "XGBoost": "xgboost",
}


def made_by(runtime: str | None, model: str) -> dict[str, str]:
    """Versions by name.

    Parameters
    ----------
    runtime : of the network: ``openvino`` or ``tensorflow``; None where there is no network.
    model : the kind of the model, as ``bundle.json`` has it.
    """
    left_out = set()
    if runtime != "openvino":
        left_out.add("OpenVINO")
    if runtime != "tensorflow" and model != "own-cnn":
        left_out.add("TensorFlow")
    if model not in ("sklearn", "xgboost", "label-wise"):
        left_out.add("scikit-learn")
    if model not in ("xgboost", "label-wise"):
        left_out.add("XGBoost")
    return {name: version for name, version in _here().items() if name not in left_out}


@functools.cache
def _here() -> dict[str, str]:
    versions = {name: _version(package) for name, package in _PACKAGES.items()}
    turbo, ng = pillow.version("libjpeg_turbo"), pillow.version("zlib_ng")
    decoders = {
        "libjpeg": f"turbo {turbo}" if turbo else pillow.version("jpg"),
        "zlib": f"ng {ng}" if ng else pillow.version("zlib"),
    }
    known = {**versions, **decoders, "processor": _processor()}
    return {name: _printable(version) for name, version in known.items() if version}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Its name and the precisions that it has, as OpenVINO says; else what Python knows."""
    if not openvino_installed():
        return platform.processor() or platform.machine()
    import openvino

    name = str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
    return f"{name} ({', '.join(sorted(on_processor()))})"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
