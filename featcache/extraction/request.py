"""What can be asked of an extraction, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..backbones import runtime as runtimes
from ..data.framing import INTERPOLATIONS, RESIZES, SQUASH, Framing
from ..errors import UsageError
from ..spec import FORMER_PRECISIONS, PRECISIONS, FeatureSpec

LARGEST = 4096  # pixels of a network's side
# What may be said of the input of a network that is not of the table; how it is framed, of any.
SCALED_BY, FRAMED_BY = ("mean", "std", "channels", "order"), ("resize", "crop", "interpolation")


@dataclass(frozen=True)
class ExtractionRequest:
    """What can be asked for; the defaults are the reference's way. See :func:`featcache.extract`.

    ``backbone`` is a name in the table, or whatever :mod:`featcache.backbones.network_sources` finds; for what is said
    of a network's input, None leaves it to its source. Several layers are kept from one pass.
    """

    backbone: Any = "vgg16"
    weights: str = "imagenet"
    size: int | None = None
    layer: str | Sequence[str] = ""
    preprocess: str = "model"
    keep: str | None = None
    dtype: str = "float32"
    precision: str = "float32"
    runtime: str = "auto"
    identity: str | None = None
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    channels: int | None = None
    order: str | None = None
    resize: str | None = None
    crop: float | None = None
    interpolation: str | None = None

    def __post_init__(self) -> None:
        named = self.layers
        if not named:
            raise UsageError("no layer is named; expected one or several")
        object.__setattr__(self, "layer", named[0] if len(named) == 1 else named)

    @property
    def layers(self) -> tuple[str, ...]:
        """Each layer once; ``""`` is the last one."""
        return (self.layer,) if isinstance(self.layer, str) else tuple(dict.fromkeys(self.layer))

    def check_size(self) -> None:
        """Raise :class:`UsageError` for a side that no network is given."""
        if self.size is not None and not 1 <= self.size <= LARGEST:
            raise UsageError(f"--size {self.size} is out of range; expected 1 to {LARGEST} pixels")

    def check_precision(self) -> None:
        """Raise :class:`UsageError` for one that has another name now, or none."""
        if self.precision in FORMER_PRECISIONS:
            raise UsageError(f"precision {self.precision!r} is called {FORMER_PRECISIONS[self.precision]!r} now")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision {self.precision!r} is unknown; expected one of {', '.join(PRECISIONS)}")
        if self.precision == "int8":
            raise UsageError(
                "precision 'int8' is calibrated on training images, which only extract knows; call that first"
            )

    def framing(self, stated: Framing | None) -> Framing | None:
        """How a picture becomes the square: as asked, else as stated; None where nobody says it.

        Raises :class:`UsageError` for what is no way to do it.
        """
        if stated is None and self.resize is None:
            if self.crop is not None or self.interpolation is not None:
                raise UsageError("--crop and --interpolation say more of --resize; give it as well")
            return None
        given = {name: getattr(self, name) for name in FRAMED_BY}
        given = {name: value for name, value in given.items() if value is not None}
        framing = replace(stated or SQUASH, **given)
        if self.resize not in (None, *RESIZES):
            raise UsageError(f"resize {self.resize!r} is unknown; expected one of {', '.join(RESIZES)}")
        if self.interpolation not in (None, *INTERPOLATIONS):
            raise UsageError(
                f"interpolation {self.interpolation!r} is unknown; expected one of {', '.join(INTERPOLATIONS)}"
            )
        if not 0.1 <= framing.crop <= 1:
            raise UsageError(f"--crop {framing.crop}: expected a share of 0.1 to 1")
        return framing

    def of_network(self) -> dict[str, Any]:
        """What is asked that networks of the table do not take, by name."""
        names = ("identity", *SCALED_BY)
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class Named:
    """What a network was asked for by, so that another process can find it again; as in :class:`ExtractionRequest`."""

    backbone: str
    weights: str


@dataclass(frozen=True)
class Resolved:
    """What one pass computes, and how to get the runtime for so many images of it (which may load TensorFlow).

    ``specs`` differ in the layer alone; :func:`featcache.backbones.runtime.array_names` says what the runtime calls the
    arrays of each. ``named`` is for processes that need the network itself; None where what the store keeps is enough,
    or all there is.
    """

    specs: tuple[FeatureSpec, ...]
    build: Callable[[int], runtimes.Runtime]
    fell_back: bool = False
    named: Named | None = None

    @property
    def spec(self) -> FeatureSpec:
        """The one spec, where it is one; of several, the first."""
        return self.specs[0]
