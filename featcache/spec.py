"""The feature spec: everything that decides a feature's value, and nothing else."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from .data.framing import SQUASH, Framing
from .errors import StoreError, UsageError
from .system import schema
from .system.schema import DigestOrNone, Line, Name

KEEPS = ("map", "avg", "vector")
DTYPES = ("float32", "float16", "uint8")
PRECISIONS = ("float32", "bfloat16", "float16", "int8")
# What sets were made in under names of Keras' own: on TensorFlow alone. They are read, and no longer made.
FORMER_PRECISIONS = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}


NETWORK = "net-"  # and the first digits of its digest: what stands for the backbone where it is not of the table
_DIGITS = 12


def are_random(weights: str) -> bool:
    """Whether weights of this short name (:attr:`FeatureSpec.weights`) were drawn at random."""
    return weights.startswith("random")


def network_name(digest: str) -> str:
    """What stands for the backbone in the spec of a network that is not of the table."""
    return f"{NETWORK}{digest[:_DIGITS]}"


_Level = Annotated[float, Meta(ge=-1e6, le=1e6)]
_Width = Annotated[float, Meta(gt=0, le=1e6)]


@dataclass(frozen=True)
class Scaling:
    """What a network that is not of the table takes, as numbers: ``(pixel / 255 - mean) / std``, for each channel.

    Attributes
    ----------
    mean, std : one number, or three in the order R, G, B.
    channels : 3, or 1: the picture's luminance.
    order : in which the network takes the three.
    """

    mean: Annotated[tuple[_Level, ...], Meta(min_length=1, max_length=3)]
    std: Annotated[tuple[_Width, ...], Meta(min_length=1, max_length=3)]
    channels: Literal[1, 3] = 3
    order: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            given = tuple(float(value) for value in getattr(self, name))
            object.__setattr__(self, name, given)
            if len(given) not in (1, self.channels):
                raise UsageError(f"{name} has {len(given)} numbers, and the network {self.channels} channels")
            if len(set(given)) == 1:  # one number for all channels, however it was written
                object.__setattr__(self, name, given[:1])
        if self.channels == 1 and self.order != "rgb":
            raise UsageError(f"one channel has no order {self.order!r}")


@dataclass(frozen=True)
class FeatureSpec:
    """Two rows with equal specs and equal image bytes are the same row, on any machine.

    Attributes
    ----------
    backbone : name in the table of backbones; of any other network, ``net-`` and the first digits of its digest.
    layer : the layer whose output is kept; ``""`` is the last one.
    weights : short name of the weights' origin (``imagenet``, ``random0``, ``file``, ``none``), or of a network that
        is not of the table. It is shown in the id but decides nothing: equal digests are equal features.
    weights_digest : SHA-256 over the loaded tensors, hex; of a network that is not of the table, over its operations
        and constants.
    size : side of the square input, pixels.
    recipe : version of the decoding rules.
    preprocess : ``caffe``, ``tf``, ``torch``, ``builtin``, ``rescale``, ``scaled`` (as ``scaling`` says) or ``none``.
    keep : ``map`` (the map and its average), ``avg`` (the average alone), or ``vector``: of a layer that gives no
        map, of a network that is not of the table.
    dtype : what is stored: float32, float16, or uint8 for pixels.
    precision : what is computed in, the same names for every runtime: ``float32``, ``bfloat16``, ``float16`` (both with
        weights and sums of float32), ``int8``; or, of older sets, a Keras mixed policy.
    framing : how a picture becomes the square.
    scaling : what the network takes, where the table does not say it.
    class_token : whether a row holds the layer's class token as well.
    calibration : of ``int8``, SHA-256 over the quantised network's operations and constants, hex: other ranges are
        another spec. Empty for every other precision.
    """

    backbone: Name
    layer: Line
    weights: Name
    weights_digest: DigestOrNone
    size: Annotated[int, Meta(ge=1, le=1 << 16)]
    recipe: Name
    preprocess: Name
    keep: str
    dtype: str
    precision: str
    framing: Framing = SQUASH
    scaling: Scaling | None = None
    class_token: bool = False
    calibration: DigestOrNone = ""

    def __post_init__(self) -> None:
        precisions = (*PRECISIONS, *FORMER_PRECISIONS)
        for name, allowed in (("keep", KEEPS), ("dtype", DTYPES), ("precision", precisions)):
            if getattr(self, name) not in allowed:
                hint = " (HDF5 turns bfloat16 opaque)" if name == "dtype" and self.dtype == "bfloat16" else ""
                raise UsageError(
                    f"{name} {getattr(self, name)!r} is not supported{hint}; expected one of {', '.join(allowed)}"
                )
        if (self.precision == "int8") != bool(self.calibration):
            raise UsageError(
                f"precision {self.precision!r} with the calibration {self.calibration!r}: int8 has one, alone"
            )
        # Its strings become names of files and folders, wherever they came from.
        if self.keep == "vector" and (self.of_table or self.class_token):
            raise UsageError("keep 'vector' is of networks that are not of the table, and leaves no class token")
        schema.check(asdict(self), _SHAPE, "feature spec", "Name things plainly.", UsageError)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no white space; what came later stands there where it is not the default."""
        return json.dumps(self._plain(), sort_keys=True, separators=(",", ":"))

    def _plain(self) -> dict[str, Any]:
        values = asdict(self)
        for field in fields(self):
            if field.name in _LATER and getattr(self, field.name) == field.default:
                del values[field.name]
        if "framing" in values:
            values["framing"] = self.framing.plain()
        return values

    @classmethod
    @functools.lru_cache(maxsize=256)  # a set's is asked for several times, and each shard holds it again
    def from_json(cls, text: str) -> FeatureSpec:
        """Read what :meth:`to_json` wrote; :class:`StoreError` where it is anything else."""
        values = schema.read(text, _SHAPE, "not a feature spec", "Run 'cache verify', or get the file again.")
        try:
            return cls.from_plain(values)
        except UsageError as error:
            raise StoreError(f"not a feature spec: {error}") from error

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> FeatureSpec:
        """Of the values of :meth:`to_json`, parsed and checked."""
        given = dict(values)
        if "framing" in given:
            given["framing"] = Framing(**given["framing"])
        if given.get("scaling") is not None:
            given["scaling"] = Scaling(**given["scaling"])
        return cls(**given)

    @functools.cached_property
    def hex(self) -> str:
        """First 8 hex digits of the SHA-256 of all that decides the value."""
        deciding = {key: value for key, value in self._plain().items() if key != "weights"}
        text = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def id(self) -> str:
        """Name of the feature set, such as ``vgg16-imagenet-224-1a2b3c4d``."""
        return f"{self.backbone}-{self.weights}-{self.size}-{self.hex}"

    @property
    def extended(self) -> bool:
        """Whether it says something that the first format of shards and bundles could not."""
        added = self.precision in PRECISIONS and self.precision != "float32"
        return added or not self.of_table or any(name in self._plain() for name in _LATER)

    @property
    def in_float32(self) -> FeatureSpec:
        """The same features in the precision that all others are held against; itself, where it is of that."""
        return self if self.precision == "float32" else replace(self, precision="float32", calibration="")

    @property
    def of_table(self) -> bool:
        """Whether the network is of the table of backbones, or ``pixels``."""
        return not self.backbone.startswith(NETWORK)

    @property
    def of_function(self) -> bool:
        """Whether a function of its owner's computed it, which is kept nowhere."""
        return not self.of_table and self.preprocess == "none"

    @property
    def network(self) -> str:
        """What people call the network: the backbone's name, or the label of one that is not of the table."""
        return self.backbone if self.of_table else self.weights

    @property
    def random_weights(self) -> bool:
        """Whether the weights were drawn, and so know nothing."""
        return are_random(self.weights)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays that a row of this spec holds."""
        token = ("cls",) if self.class_token else ()
        if self.keep != "map":
            return ("avg", *token)
        return ("map",) if self.backbone == "pixels" else ("map", "avg", *token)


# What spec.json, a shard and a bundle may hold: just these, of these types.
def _shape(of: type) -> type[msgspec.Struct]:
    """A dataclass's fields as a type to check against; one with a default need not be there."""
    hints = get_type_hints(of, include_extras=True)
    own = {field.name: field.default for field in fields(of)}
    own = {name: default for name, default in own.items() if default is not MISSING}
    kinds = {name: _SHAPES.get(hint, hint) for name, hint in hints.items()}
    given = [(name, kind, None) if name in own else (name, kind) for name, kind in kinds.items()]
    return msgspec.defstruct(of.__name__, given, forbid_unknown_fields=True)


_SHAPES: dict[Any, Any] = {}
_SHAPES |= {Framing: _shape(Framing), Scaling | None: _shape(Scaling) | None}
_SHAPE = _shape(FeatureSpec)
_LATER = ("framing", "scaling", "class_token", "calibration")
