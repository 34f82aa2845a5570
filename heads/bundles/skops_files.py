"""sklearn models as skops files, from anyone: bounded before they are read, and checked before they are used.

skops tells which types a file holds, not whether what is in them is sound (it says so of trees itself), nor how much it
will unpack. What is written here is stored, not compressed, so a file can hold no more than its own size.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from featcache.errors import BundleError

from .model_checks import check_model, check_tree

# Beyond what skops trusts by itself: a ridge of this package, the insides of sklearn's own estimators, and nothing that
# can run code. Those that skops leaves out since they may be unsound are checked here.
_TRUSTED = frozenset(
    [
        "heads.training.calibrated_ridge.CalibratedRidgeClassifier",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    ]
)


def write(path: Path, model: Any, name: str) -> None:
    """Write a fitted model.

    Raises :class:`BundleError` where it could not be read back without trusting it.
    """
    import skops.io

    skops.io.dump(model, path)
    try:
        read(path)
    except BundleError as error:
        raise BundleError(f"{name} cannot be kept in a bundle: {error}") from error


def read(path: Path) -> Any:
    """Read what :func:`write` wrote.

    Raises :class:`BundleError` where it is anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path.stat().st_size)
            model = _load(archive)
        check_model(model)
    except (BundleError, MemoryError):
        raise
    except Exception as error:  # of a file of someone else's, zipfile, skops, NumPy and sklearn make errors of any kind
        raise BundleError(f"{path.name}: no model that can be loaded ({type(error).__name__}: {error})") from error
    return model


def _check_sizes(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse what would unpack to more than the file, and arrays that promise more than stands there."""
    members = archive.infolist()
    if len({member.filename for member in members}) != len(members):
        raise BundleError(f"{_name(archive)}: holds two files of one name, which no model does")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise BundleError(f"{_name(archive)}: is compressed, which no model that was written here is")
    promised = sum(member.file_size for member in members)
    if promised > size:
        raise BundleError(f"{_name(archive)}: promises {promised:,} bytes, the file has {size:,}")
    for member in members:
        if member.filename.endswith(".npz"):  # an archive in the archive, of a sparse matrix
            with archive.open(member) as inner, zipfile.ZipFile(inner) as arrays:
                if sum(part.file_size for part in arrays.infolist()) > 16 * size + (1 << 20):
                    raise BundleError(f"{_name(archive)}: a sparse matrix in it unpacks to more than it can hold")
        elif member.filename.endswith(".npy"):
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                header = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = header(file)
            if dtype.hasobject or math.prod(shape) * dtype.itemsize > member.file_size or min(shape, default=0) < 0:
                raise BundleError(f"{_name(archive)}: an array of {shape} in a file of {member.file_size:,} bytes")


def _name(archive: zipfile.ZipFile) -> str:
    return Path(archive.filename or "").name


def _load(archive: zipfile.ZipFile) -> Any:
    # skops' own load() in its parts, since a tree must be looked at after its arrays are read, and before it is made.
    from skops.io._audit import audit_tree, get_tree
    from skops.io._protocol import PROTOCOL
    from skops.io._sklearn import TreeNode
    from skops.io._utils import LoadContext

    schema = json.loads(archive.read("schema.json"))
    if type(schema["protocol"]) is not int or not 0 <= schema["protocol"] <= PROTOCOL:
        raise BundleError(f"{_name(archive)}: written by a later skops; upgrade it")
    trusted = sorted(_TRUSTED)
    root = get_tree(schema, LoadContext(src=archive, protocol=schema["protocol"]), trusted)
    unknown = sorted(root.get_unsafe_set() - _TRUSTED)
    if unknown:
        raise BundleError(
            f"{_name(archive)} holds {', '.join(unknown)}, which is not on the list of what may be loaded"
        )
    audit_tree(root, trusted)
    for node in _nodes(root):
        if isinstance(node, TreeNode):
            check_tree(node.children["args"].construct(), node.children["attrs"].construct())
    return root.construct()


def _nodes(root: Any) -> Iterator[Any]:
    """All nodes of skops' tree of what a file holds."""
    from skops.io._audit import Node

    stack, seen = [root], set()
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            stack += node.values()
        elif isinstance(node, list | tuple):
            stack += node
        elif isinstance(node, Node) and id(node) not in seen:
            seen.add(id(node))
            yield node
            stack += node.children.values()
            stack += [getattr(node, "cached", None)]
