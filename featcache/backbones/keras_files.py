"""``.keras`` files, from anyone: all that one says is proven to be Keras' own before Keras is told to load it.

A ``.keras`` file is a zip of a configuration, which names classes and functions to be called with its values, and of
weights in HDF5, which can point at other files. What passes is written anew, and that is what Keras loads.
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py

from ..errors import FeatcacheError, WeightsError
from ..system import schema
from ..system.foreign_errors import first_line
from ..system.plain_text import printable
from .tensorflow_setup import load_tensorflow

_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
_LARGEST_TEXT = 64 << 20  # bytes of a configuration
_TIMES = 20  # what a member may unfold to, of its size in the file; Keras does not compress
_ADVICE = "Expected what Keras' model.save() writes."
# Of Keras' own: what runs code or reads files that its configuration names.
_REFUSED = {
    "Lambda": "it runs code out of the file",
    "TFSMLayer": "it loads another file",
    "TorchModuleWrapper": "it loads a pickle",
    "JaxLayer": "it runs code out of the file",
    "FlaxLayer": "it runs code out of the file",
    "StringLookup": "it reads another file",
    "IntegerLookup": "it reads another file",
    "TextVectorization": "it reads another file",
}
# Values that a configuration writes in this way, and no classes.
_VALUES = ("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__")
_FUNCTIONS = ("builtins", "keras.activations", "keras.ops")


def load(path: Path) -> Any:
    """The model in a ``.keras`` file, for inference.

    Raises :class:`WeightsError` where it is damaged, or names anything outside Keras; nothing is loaded then.
    """
    config, weights = _read(path)
    _, keras = load_tensorflow()
    if "keras_hub" in json.dumps(config) and importlib.util.find_spec("keras_hub") is not None:
        import keras_hub  # noqa: F401 - registers its classes
    _Checker(path, keras).check(config, "the model")
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "model.keras"
        with zipfile.ZipFile(clean, "w") as archive:
            archive.writestr("metadata.json", "{}")
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", weights)
        try:
            return keras.saving.load_model(clean, compile=False, safe_mode=True)
        except (FeatcacheError, MemoryError):
            raise
        except Exception as error:  # ValueError, TypeError, KeyError … by what does not fit
            said = printable(first_line(error), lines=False)[:300]
            raise WeightsError(f"{path}: Keras does not load it ({said}). {_ADVICE}") from error


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The configuration and the weights' bytes, both of bounded size."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = sorted(member.filename for member in members)
            if names != sorted(_MEMBERS):
                shown = ", ".join(printable(name, lines=False) for name in names[:6]) or "nothing"
                raise WeightsError(f"{path}: holds {shown}; expected just {', '.join(_MEMBERS)}; nothing was loaded")
            for member in members:
                allowed = _TIMES * member.compress_size + 1024
                if member.file_size > (allowed if member.filename.endswith("h5") else min(allowed, _LARGEST_TEXT)):
                    raise WeightsError(
                        f"{path}: {member.filename} would unfold from {member.compress_size:,} to "
                        f"{member.file_size:,} bytes; nothing was loaded. {_ADVICE}"
                    )
            text, weights = archive.read("config.json"), archive.read("model.weights.h5")
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        raise WeightsError(f"{path}: not a .keras file, or damaged ({first_line(error)}). {_ADVICE}") from error
    except Exception as error:
        if type(error).__module__ == "zlib":
            raise WeightsError(f"{path}: damaged ({first_line(error)}). {_ADVICE}") from error
        raise
    config = schema.parse(text, f"{path}: config.json", _ADVICE, WeightsError)
    if not isinstance(config, dict) or "class_name" not in config:
        raise WeightsError(f"{path}: config.json holds no model. {_ADVICE}")
    _check_weights(path, weights)
    return config, weights


def _check_weights(path: Path, weights: bytes) -> None:
    """Refuse weights that lie in another file, or claim to be more than the file holds."""

    def visit(group: Any, level: int) -> int:
        if level > schema.DEEPEST:
            raise WeightsError(f"{path}: its weights are groups in groups deeper than {schema.DEEPEST} levels")
        total = 0
        for name in group:
            shown = printable(str(name), lines=False)[:80]
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise WeightsError(f"{path}: {shown} among its weights is a link; nothing was loaded. {_ADVICE}")
            one = group[name]
            if isinstance(one, h5py.Group):
                total += visit(one, level + 1)
            elif not isinstance(one, h5py.Dataset) or one.external or one.is_virtual or one.dtype.kind == "O":
                raise WeightsError(
                    f"{path}: {shown} among its weights is in another file, or no array of numbers; nothing was "
                    f"loaded. {_ADVICE}"
                )
            else:
                total += one.nbytes
        return total

    try:
        with h5py.File(io.BytesIO(weights), "r") as file:
            total = visit(file, 0)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: its weights are no HDF5 file, or damaged ({first_line(error)})") from error
    if total > _TIMES * len(weights):
        raise WeightsError(f"{path}: its weights claim {total:,} bytes in {len(weights):,}; nothing was loaded")


class _Checker:
    """Goes through a configuration, and leaves out how a model was trained."""

    def __init__(self, path: Path, keras: Any) -> None:
        self._path, self._keras = path, keras
        self._classes = (
            keras.Operation,
            keras.initializers.Initializer,
            keras.regularizers.Regularizer,
            keras.constraints.Constraint,
            keras.DTypePolicy,
        )

    def check(self, value: Any, layer: str) -> None:
        """Raise :class:`WeightsError` for anything that is not Keras' own; ``layer`` is the one that it stands in."""
        if isinstance(value, list):
            for one in value:
                self.check(one, layer)
        if not isinstance(value, dict):
            return
        if "class_name" in value:
            value.pop("compile_config", None)  # losses and optimizers: anyone's own, and of no use here
            layer = self._named(value) or layer
            self._class(value, layer)
        for one in value.values():
            self.check(one, layer)

    @staticmethod
    def _named(value: dict[str, Any]) -> str:
        config = value.get("config")
        name = config.get("name") if isinstance(config, dict) else None
        return f"layer {printable(name, lines=False)[:80]}" if isinstance(name, str) else ""

    def _class(self, value: dict[str, Any], layer: str) -> None:
        name, module, registered = (value.get(key) for key in ("class_name", "module", "registered_name"))
        if name in _VALUES:
            return
        if name == "__lambda__":
            raise self._refused(layer, "is a Python function: it runs code out of the file")
        if not isinstance(name, str) or not isinstance(module, str) or not isinstance(registered, str | None):
            raise self._refused(layer, f"is {_shown(name)} of no module")
        if name in _REFUSED:
            raise self._refused(layer, f"is a {name}: {_REFUSED[name]}")
        if name == "function":
            if module not in _FUNCTIONS or not self._is_function(value.get("config"), registered):
                raise self._refused(
                    layer, f"calls {_shown(value.get('config'))} of {_shown(module)}, no function of Keras' own"
                )
            return
        known = self._find(name, module)
        registry = self._keras.saving.get_registered_object(registered) if registered else None
        plain = registered in (None, name, f"keras_hub>{name}", f"keras>{name}")
        if known is None or not plain or registry not in (None, known):
            hint = "; it is of keras-hub, which is not installed" if self._misses_hub(module) else ""
            raise self._refused(layer, f"is {_shown(name)} of {_shown(module)}, no layer of Keras' own{hint}")

    def _is_function(self, name: Any, registered: str | None) -> bool:
        homes = (self._keras.activations, self._keras.ops)
        return (
            isinstance(name, str)
            and name.isidentifier()
            and any(callable(getattr(home, name, None)) for home in homes)
            and registered in (None, "function", name)
            and self._keras.saving.get_registered_object(name) is None
        )

    def _find(self, name: str, module: str) -> type | None:
        """The class of this name that a configuration may use, where there is one."""
        root = module.partition(".")[0]
        if root not in ("keras", "keras_hub"):
            return None
        found = getattr(sys.modules.get(module), name, None)
        if not isinstance(found, type) or not issubclass(found, self._classes):
            return None
        if found.__module__.partition(".")[0] != root or any(base.__name__ in _REFUSED for base in found.__mro__):
            return None
        # Tokenizers and the like read vocabularies and presets.
        reads = root == "keras_hub" and any("Preprocess" in base.__name__ for base in found.__mro__)
        return None if reads else found

    @staticmethod
    def _misses_hub(module: str) -> bool:
        return module.partition(".")[0] == "keras_hub" and "keras_hub" not in sys.modules

    def _refused(self, layer: str, why: str) -> WeightsError:
        return WeightsError(
            f"{self._path}: {layer} {why}; nothing was loaded. Where you trust the file, load it with Keras and give "
            "the model"
        )


def _shown(value: Any) -> str:
    text = printable(repr(value), lines=False)
    return text if len(text) <= 80 else f"{text[:80]}…"
