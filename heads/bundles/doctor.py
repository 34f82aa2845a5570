"""``bundle_doctor``: whether this machine makes of a bundle's own pictures what the one did that it was made on.

Every step is given what it was given there, so that a difference shows in the step that makes it and in no other.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from featcache.data.decoding import ImageError
from featcache.errors import BundleError, FeatcacheError
from featcache.spec import FORMER_PRECISIONS, FeatureSpec

from .bundle import Bundle, open_bundle
from .integrity import ABOUT, CONVERTED
from .made_by import OF_STEP, made_by
from .self_test import STEPS, SelfTest, read_self_test
from .steps import NetworkInTwo, decoded, pooled, resized

# How far a step may be from what it was there. Decoders of JPEG may round otherwise, and so may those who resize;
# scaling is one subtraction and one division in float32; a network's sums are of thousands of products, in another
# order on another processor; 1e-5 is what `predict` promises of answers.
LEVELS, SCALING, ANSWERS = 1.0, 1e-6, 1e-5
# Of a row's length. What has fewer digits rounds at other places elsewhere: as far as its rows are from float32's.
ROWS = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2, "int8": 5e-2}
_ROUNDED = 1e-3  # of rows that are kept as float16
_FAULTS = (FeatcacheError, ImageError, RuntimeError, MemoryError)


@dataclass
class _Step:
    """What one step came to; ``difference`` is None where the step could not be gone through, or has no measure."""

    name: str
    equal: bool | None
    difference: float | None
    tolerance: float | None = None
    share: float | None = None
    says: str = "the same"
    versions: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)


def bundle_doctor(bundle: str | os.PathLike[str]) -> dict[str, Any]:
    """Say whether this machine answers as the one that a bundle was made on, and if not, which step is another.

    A bundle carries drawn pictures and what each step made of them when it was made. Each step is done again here, from
    what it was given there: ``decoding`` (a file's pixels), ``resizing`` (the square), ``scaling`` (what the network's
    first layer is given), ``network`` (the row that the head sees) and ``head`` (the answer, calibrated).

    Parameters
    ----------
    bundle : str or path-like
        A bundle's folder. Nothing else is read, and nothing is written.

    Returns
    -------
    dict
        ``equal``, whether every step that can be judged is within its tolerance; ``first``, the first that is not, or
        None; ``steps``, in order, of each its ``name``, ``equal`` (None where the bundle cannot tell), ``difference``
        (largest; None where the step could not be done here), ``tolerance``, ``share`` (of pixels that differ),
        ``says``, in words, and ``versions`` that differ, by name ``[here, there]``; ``answers``, from file to answer:
        ``difference`` (of a probability; of a number in its unit), how many of the answers are ``changed``, ``of``
        pictures; ``here`` and ``there``, all versions by name. ``bytes`` stands first of the steps.

        Differences are in levels of 0 to 255 (decoding, resizing; up to 1 is equal), parts of the largest number
        (scaling, 1e-6), parts of the row's length (network, 1e-5; more in a precision other than float32), and of
        probabilities, or of a number's size where that is above 1 (head, 1e-5).

    Raises
    ------
    BundleError
        The bundle is damaged, which is the step ``bytes``, or carries no pictures.

    See Also
    --------
    predict : Labels images by a bundle.

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
    >>> result = heads.bundle_doctor(bundle)
    >>> result["equal"], [step["name"] for step in result["steps"]]
    (True, ['bytes', 'decoding', 'resizing', 'head'])
    """
    try:
        opened = open_bundle(bundle)
    except BundleError as error:
        if not (Path(bundle) / ABOUT).is_file():
            raise
        raise BundleError(f"bytes: {error}") from error
    kept = read_self_test(opened.folder, opened.about["self_test"], opened.spec)
    wanted = (len(kept.files),) if opened.task.kind == "number" else (len(kept.files), len(opened.classes))
    if kept.outputs is not None and kept.outputs.shape != wanted:
        raise BundleError(f"{opened.folder}: its self-test has answers of shape {kept.outputs.shape}, not {wanted}")
    here = made_by(_runtime(opened, kept), opened.about["model"]["kind"])
    steps = [_Step("bytes", True, 0.0, 0.0, says=f"the same, all {len(opened.about['files']) + 1} files")]
    steps += _judged(opened, kept)
    for step in steps:
        step.versions = {
            name: (here.get(name), kept.made_by.get(name))
            for name in OF_STEP.get(step.name, ())
            if here.get(name) != kept.made_by.get(name)
        }
    first = next((step.name for step in steps if step.equal is False), None)
    return {
        "bundle": str(opened.folder),
        "equal": first is None,
        "first": first,
        "steps": [asdict(step) for step in steps],
        "answers": _answers(opened, kept),
        "here": here,
        "there": dict(kept.made_by),
    }


def _runtime(opened: Bundle, kept: SelfTest) -> str | None:
    if kept.scaled is None or opened.network is None:
        return None
    return "openvino" if opened.network.name == CONVERTED else "tensorflow"


def _judged(opened: Bundle, kept: SelfTest) -> list[_Step]:
    """Each step from what it was given there."""
    spec, pooling = opened.spec, opened.pooling
    steps = [_levels("decoding", kept, lambda place: _decoded(kept, place), kept.pixels)]
    steps.append(_levels("resizing", kept, lambda place: resized(kept.pixels[place], spec), list(kept.squares)))
    rows = pooled({"map": kept.squares}, spec, pooling) if spec.backbone == "pixels" else kept.rows
    if kept.scaled is not None and kept.rows is not None:
        steps += _of_network(opened, kept, kept.scaled, kept.rows)
    if kept.outputs is not None and rows is not None:
        there = kept.outputs
        size = np.maximum(1, np.abs(there))

        def head() -> float:
            return float((np.abs(_like(opened.answer_rows(rows), there) - there) / size).max())

        number = opened.task.kind == "number"
        what = "a number differs by up to {:.2g} of its size" if number else "a probability differs by up to {:.2g}"
        steps.append(_measured("head", head, ANSWERS, what))
    names = {step.name for step in steps}
    missing = [] if kept.missing is None else [name for name in STEPS if name not in names]
    return steps + [_Step(name, None, None, says=f"not known: {kept.missing}") for name in missing]


def _of_network(opened: Bundle, kept: SelfTest, scaled: np.ndarray, rows: np.ndarray) -> list[_Step]:
    """Scaling, and the network from its first layer on."""
    try:
        network = NetworkInTwo(opened.spec, _network(opened))
    except _FAULTS as error:
        return [_undone(name, error) for name in ("scaling", "network")]
    largest = float(np.abs(scaled.astype(np.float64)).max()) or 1.0

    def scaling() -> float:
        return float(np.abs(_like(network.scale(kept.squares), scaled) - scaled).max()) / largest

    def features() -> float:
        there = rows.reshape(len(rows), -1).astype(np.float64)
        given = _like(network.rows(scaled, opened.pooling), rows).reshape(there.shape)
        lengths = np.linalg.norm(there, axis=1)
        return float((np.linalg.norm(given - there, axis=1) / np.where(lengths == 0, 1, lengths)).max())

    return [
        _measured("scaling", scaling, SCALING, "differs by up to {:.2g} of the largest number"),
        _measured("network", features, _of_rows(opened), "differs by up to {:.2g} of the length of a row"),
    ]


def _network(opened: Bundle) -> Path:
    if opened.network is None:
        raise BundleError(f"{opened.folder}: tells of a network that it does not hold")
    return opened.network


def _of_rows(opened: Bundle) -> float:
    """How far a row may be: of another precision than float32, as far as that was measured to be from float32."""
    spec: FeatureSpec = opened.spec
    usual = ROWS[FORMER_PRECISIONS.get(spec.precision, spec.precision)]
    measured = opened.about["precision"]["largest"] if opened.about["precision"] else 0.0
    return max(usual, measured, _ROUNDED if spec.dtype == "float16" else 0.0)


def _decoded(kept: SelfTest, place: int) -> np.ndarray:
    """A picture, once its header is known to promise no more than what was kept of it."""
    name, data = list(kept.files.items())[place]
    wanted = kept.pixels[place].shape[:2]
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            promised = image.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise BundleError(f"{name}: no JPEG or PNG ({error})") from error
    if sorted(promised) != sorted(wanted):
        raise BundleError(f"{name}: {promised[0]} x {promised[1]} pixels; expected {wanted[1]} x {wanted[0]}")
    return decoded(data)


def _levels(name: str, kept: SelfTest, made: Callable[[int], np.ndarray], there: list[np.ndarray]) -> _Step:
    """Compare pictures, by levels of 0 to 255."""
    largest, differ, pixels, where = 0.0, 0, 0, []
    for place, (picture, wanted) in enumerate(zip(kept.files, there, strict=True)):
        try:
            given = made(place)
        except BundleError:
            raise
        except _FAULTS as error:
            return _undone(name, error)
        if given.shape != wanted.shape:
            says = f"{picture} has pixels of shape {given.shape} here, {wanted.shape} there"
            return _Step(name, False, None, LEVELS, says=says)
        apart = np.abs(given.astype(np.float64) - wanted)
        largest = max(largest, float(apart.max()))
        each = apart.reshape(*apart.shape[:2], -1).max(axis=2) > 0
        differ, pixels = differ + int(each.sum()), pixels + each.size
        where += [picture] if each.any() else []
    if not differ:
        return _Step(name, True, 0.0, LEVELS, 0.0)
    share = differ / pixels
    levels = f"{largest:.3g} grey level{'' if largest == 1 else 's'}"
    text = f"up to {levels} of 255 at {share:.1%} of the pixels"
    if len(where) < len(there):
        text += f", in {', '.join(where)} alone"
    equal = largest <= LEVELS
    return _Step(name, equal, largest, LEVELS, share, f"the same but for rounding: {text}" if equal else text)


def _measured(name: str, measure: Callable[[], float], tolerance: float, words: str) -> _Step:
    """A step by how far it is from what it was there."""
    try:
        difference = measure()
    except _FAULTS as error:
        return _undone(name, error)
    if not np.isfinite(difference):
        return _Step(name, False, None, tolerance, says="gives what are no numbers here")
    if difference == 0:
        return _Step(name, True, 0.0, tolerance)
    equal = difference <= tolerance
    says = words.format(difference)
    return _Step(name, equal, difference, tolerance, says=f"the same but for rounding: {says}" if equal else says)


def _undone(name: str, error: BaseException) -> _Step:
    return _Step(name, False, None, says=f"cannot be done here: {' '.join(str(error).split())[:500]}")


def _like(given: np.ndarray, there: np.ndarray) -> np.ndarray:
    if given.shape != there.shape:
        raise BundleError(f"an array of shape {given.shape} here, of {there.shape} there")
    return given.astype(np.float64)


def _answers(opened: Bundle, kept: SelfTest) -> dict[str, Any] | None:
    """From the file to the answer, as `predict` goes; None where that is not known, or cannot be done here."""
    if kept.outputs is None:
        return None
    try:
        given = opened.predict_images([opened.folder / name for name in kept.files])
    except _FAULTS:
        return None
    there = kept.outputs
    apart = float(np.abs(_like(given, there) - there).max())
    if opened.task.kind == "number":
        changed = None
    else:
        other = opened.labels(given) != opened.labels(there)
        changed = int(other.reshape(len(there), -1).any(axis=1).sum())
    return {"difference": apart, "changed": changed, "of": len(there)}
