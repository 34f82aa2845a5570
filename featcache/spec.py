"""The feature spec: everything that decides a feature's value, and nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Annotated, get_type_hints

import msgspec
from msgspec import Meta

from .errors import StoreError, UsageError
from .system import schema
from .system.schema import DigestOrNone, Line, Name

KEEPS = ("map", "avg")
DTYPES = ("float32", "float16", "uint8")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def are_random(weights: str) -> bool:
    """Whether weights of this short name (:attr:`FeatureSpec.weights`) were drawn at random."""
    return weights.startswith("random")


@dataclass(frozen=True)
class FeatureSpec:
    """Two rows with equal specs and equal image bytes are the same row, on any machine.

    Attributes
    ----------
    backbone : name in the table of backbones.
    layer : the layer whose output is kept; ``""`` is the last one.
    weights : short name of the weights' origin (``imagenet``, ``random0``, ``file``, ``none``). It is
        shown in the id but decides nothing: equal digests are equal features.
    weights_digest : SHA-256 over the loaded tensors, hex.
    size : side of the square input, pixels.
    recipe : version of the decoding rules.
    preprocess : ``caffe``, ``tf``, ``torch``, ``builtin``, ``rescale`` or ``none``.
    keep : ``map`` (the map and its average) or ``avg`` (the average alone).
    dtype : what is stored: float32, float16, or uint8 for pixels.
    precision : what is computed in: float32 or a Keras mixed policy.
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

    def __post_init__(self) -> None:
        for name, allowed in (("keep", KEEPS), ("dtype", DTYPES), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                hint = " (HDF5 turns bfloat16 opaque)" if getattr(self, name) == "bfloat16" else ""
                raise UsageError(
                    f"{name} {getattr(self, name)!r} is not supported{hint}; expected one of {', '.join(allowed)}"
                )
        # Its strings become names of files and folders, wherever they came from.
        schema.check(vars(self), _SHAPE, "feature spec", "Name things plainly.", UsageError)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no white space."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> FeatureSpec:
        """Read what :meth:`to_json` wrote; :class:`StoreError` where it is anything else."""
        values = schema.read(text, _SHAPE, "not a feature spec", "Run 'cache verify', or get the file again.")
        try:
            return cls(**values)
        except UsageError as error:
            raise StoreError(f"not a feature spec: {error}") from error

    @property
    def hex(self) -> str:
        """First 8 hex digits of the SHA-256 of all that decides the value."""
        deciding = {key: value for key, value in asdict(self).items() if key != "weights"}
        text = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def id(self) -> str:
        """Name of the feature set, such as ``vgg16-imagenet-224-1a2b3c4d``."""
        return f"{self.backbone}-{self.weights}-{self.size}-{self.hex}"

    @property
    def random_weights(self) -> bool:
        """Whether the weights were drawn, and so know nothing."""
        return are_random(self.weights)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays that a row of this spec holds."""
        if self.keep == "avg":
            return ("avg",)
        return ("map",) if self.backbone == "pixels" else ("map", "avg")


# What spec.json, a shard and a bundle may hold: just these, of these types.
_SHAPE = msgspec.defstruct(
    "FeatureSpec", list(get_type_hints(FeatureSpec, include_extras=True).items()), forbid_unknown_fields=True
)
