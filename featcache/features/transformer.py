"""``FrozenBackbone``: image paths in, cached features out, as an sklearn transformer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..backbones import network_sources
from ..data import filesystems
from ..errors import DataError, UsageError
from ..extraction.extract_paths import extract_paths
from ..extraction.planning import row_keys
from ..extraction.request import ExtractionRequest
from ..extraction.resolution import resolve
from ..store.store import Store
from .pooled_rows import read_pooled

_POOLINGS = ("avg", "max", "flatten", "cls")


class FrozenBackbone(TransformerMixin, BaseEstimator):
    """Turn image files into features of a frozen backbone; each image is computed once, ever.

    Parameters
    ----------
    backbone : str, path or object, optional
        A name in the table of :mod:`featcache.backbones.registry`, ``pixels``, or any other network, as in
        :func:`featcache.extract`: a file, a model, a function of images.
    pooling : {"avg", "max", "flatten", "cls"}, optional
        How a map becomes a row. ``avg`` keeps averages alone, so it is small on disk; ``cls`` is the class token.
    weights : str, optional
        ``imagenet``, ``random[:SEED]``, or a file of Keras weights.
    size : int or None, optional
        Side of the square input in pixels; None is the backbone's own.
    layer : str, optional
        Name of the layer to keep; the last one where empty.
    preprocess : {"model", "rescale"}, optional
        The backbone's own, or division by 255.
    dtype : {"float32", "float16"}, optional
        What is stored.
    precision : {"float32", "bfloat16", "float16", "int8"}, optional
        What is computed in.
    identity : str or None, optional
        What names a network that is a function: whoever changes what it computes changes this.
    mean, std : float or sequence of three, optional
        What a network that is not of the table takes: ``(pixel / 255 - mean) / std``, in the order R, G, B; None is
        what its source says.
    channels : {1, 3} or None, optional
        Of its input; 1 is given the luminance.
    order : {"rgb", "bgr"} or None, optional
        In which it takes three.
    resize : {"squash", "crop", "pad"} or None, optional
        How a picture becomes a square.
    crop : float or None, optional
        Side of the square as a share of the side that is resized to.
    interpolation : {"bilinear", "bicubic", "lanczos"} or None, optional
        Of resizing, always with antialiasing.
    batch_size : int or None, optional
        Images a step; None tries several.
    cache : str, optional
        Folder of the store.

    Attributes
    ----------
    n_features_out_ : int
        Features a row.
    feature_set_ : str
        Id of the set where they are kept.
    network_ : str
        The network, as its features are called: a name in the table, or a file's or model's own.

    Notes
    -----
    ``X`` is a sequence of paths, of shape (n_images,) or (n_images, 1). An image that cannot be decoded
    raises :class:`~featcache.errors.DataError`: rows are never dropped silently.

    Examples
    --------
    >>> from pathlib import Path
    >>> import featcache
    >>> from PIL import Image
    >>> for number, label in enumerate(["covid", "normal"] * 2):
    ...     Path("images", label).mkdir(parents=True, exist_ok=True)
    ...     Image.new("L", (16, 16), 40 * number).save(f"images/{label}/{number}.png")
    >>> paths = sorted(Path("images").glob("*/*.png"))
    >>> backbone = featcache.FrozenBackbone("pixels", pooling="flatten", size=8)
    >>> backbone.fit_transform(paths).shape
    (4, 192)
    """

    def __init__(
        self,
        backbone: Any = "vgg16",
        *,
        pooling: str = "avg",
        weights: str = "imagenet",
        size: int | None = None,
        layer: str = "",
        preprocess: str = "model",
        dtype: str = "float32",
        precision: str = "float32",
        identity: str | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        channels: int | None = None,
        order: str | None = None,
        resize: str | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        batch_size: int | None = None,
        cache: str = "cache",
    ) -> None:
        self.backbone = backbone
        self.pooling = pooling
        self.weights = weights
        self.size = size
        self.layer = layer
        self.preprocess = preprocess
        self.dtype = dtype
        self.precision = precision
        self.identity = identity
        self.mean = mean
        self.std = std
        self.channels = channels
        self.order = order
        self.resize = resize
        self.crop = crop
        self.interpolation = interpolation
        self.batch_size = batch_size
        self.cache = cache

    def fit(self, X: Any, y: Any = None) -> FrozenBackbone:
        """Compute what is missing; nothing is learnt.

        Parameters
        ----------
        X : sequence of str or path
            Image files, of shape (n_images,) or (n_images, 1).
        y : object, optional
            Not used.

        Returns
        -------
        FrozenBackbone
            Itself.
        """
        rows, self.feature_set_, self.network_ = self._features(X)
        self.n_features_out_ = rows.shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Give the features of images, computing those that are missing.

        Parameters
        ----------
        X : sequence of str or path
            Image files, of shape (n_images,) or (n_images, 1).

        Returns
        -------
        numpy.ndarray
            Shape (n_images, n_features_out_).
        """
        check_is_fitted(self)
        return self._features(X)[0]

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> np.ndarray:
        """Fit and transform with one pass over the store.

        Parameters
        ----------
        X : sequence of str or path
            Image files, of shape (n_images,) or (n_images, 1).
        y : object, optional
            Not used.
        **fit_params : object
            Not used.

        Returns
        -------
        numpy.ndarray
            Shape (n_images, n_features_out_).
        """
        rows, self.feature_set_, self.network_ = self._features(X)
        self.n_features_out_ = rows.shape[1]
        return rows

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the features: ``vgg16_0``, ``vgg16_1``, ….

        Parameters
        ----------
        input_features : object, optional
            Not used.

        Returns
        -------
        numpy.ndarray
            Objects, shape (n_features_out_,).
        """
        check_is_fitted(self)
        return np.array([f"{self.network_}_{i}" for i in range(self.n_features_out_)], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _features(self, X: Any) -> tuple[np.ndarray, str, str]:
        """Rows, the set that keeps them, and the network's name."""
        paths = _paths(X)
        if self.pooling not in _POOLINGS:
            raise UsageError(f"pooling {self.pooling!r} is unknown; expected {', '.join(_POOLINGS[:-1])} or cls")
        names = {field.name for field in fields(ExtractionRequest)} - {"keep", "runtime"}
        asked = {name: getattr(self, name) for name in names}
        request = ExtractionRequest(**asked, keep=self._keep())
        with Store(self.cache) as store:
            resolved = resolve(request, store)
            if self.pooling == "cls" and not resolved.spec.class_token:
                raise UsageError(f"{resolved.spec.network} gives no class token; take another pooling than cls")
            result = extract_paths(store, resolved, paths, batch_size=self.batch_size)
            if result.bad:
                raise DataError(f"{len(result.bad)} of {len(paths)} images cannot be used", result.bad)
            keys, bad = row_keys(store, paths)
            if bad:
                raise DataError(f"{len(bad)} of {len(paths)} images cannot be read", bad)
            wanted = [key for key in keys if key is not None]
            rows = read_pooled(store, result.feature_set, wanted, self.pooling)
            return rows, result.feature_set, resolved.spec.network

    def _keep(self) -> str | None:
        """The least that is to be kept for the pooling."""
        if network_sources.is_of_table(self.backbone):
            return "avg" if self.pooling == "avg" and self.backbone != "pixels" else "map"
        return "avg" if self.pooling in ("avg", "cls") else None  # a map, of a network that gives one


def _paths(X: Any) -> list[str]:
    """A flat list of paths from a sequence, an array, a Series or a one-column table."""
    values = np.asarray(X, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(f"X has shape {values.shape}; expected image paths, of shape (n_images,) or (n_images, 1)")
    if not len(values):
        raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required: X holds no image paths")
    odd = next((v for v in values if not isinstance(v, str) and not hasattr(v, "__fspath__")), None)
    if odd is not None:
        raise TypeError(f"X holds {odd!r}, a {type(odd).__name__}; expected image paths")
    # Absolute, since keys are remembered by path, and the current folder may be another one next time.
    placed = [filesystems.locate(value) for value in values]
    return [value if filesystems.is_url(value) else os.path.abspath(value) for value in placed]
