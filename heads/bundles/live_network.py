"""The network of an opened bundle at work in memory, for programs that answer image by image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from featcache.backbones import openvino_runtime, registry
from featcache.backbones import weights as network_weights
from featcache.backbones.network import require_fits
from featcache.backbones.runtime import PixelsRuntime, Runtime
from featcache.errors import BadImage, BundleError, DataError
from featcache.extraction.pipeline import read_pixels
from featcache.features.pooled_rows import array_for
from featcache.features.pooling import pool
from featcache.spec import FeatureSpec
from featcache.system.atomic_files import sha256_file

from .integrity import CONVERTED


class LiveNetwork:
    """Rows of images by a bundle's own network; nothing is kept of them.

    Parameters
    ----------
    spec : what its features are.
    pooling : how a map becomes a row.
    network : the bundle's file of it, None where it has none.
    digest : SHA-256 of that file, hex, as the bundle says.

    Raises :class:`BundleError` where there is no network, or another one than was proven.
    """

    def __init__(self, spec: FeatureSpec, pooling: str, network: Path | None, digest: str) -> None:
        self._spec, self._pooling = spec, pooling
        self._array = array_for(spec, spec.id, pooling)
        self._runtime = self._loaded(network, digest)

    def _loaded(self, network: Path | None, digest: str) -> Runtime:
        spec = self._spec
        if spec.backbone == "pixels":
            return PixelsRuntime()
        if network is None:
            raise BundleError(
                f"the bundle holds no network ({spec.network}); heads.predict takes the one of a cache, or --weights"
            )
        if sha256_file(network) != digest:
            raise BundleError(f"{network}: not the file that was proven when the bundle was opened")
        if network.name == CONVERTED:
            model = openvino_runtime.read(network)
            require_fits(model, spec, str(network))
            return openvino_runtime.OpenVINORuntime(model, spec, at_once=True)
        from featcache.backbones.tensorflow_runtime import TensorFlowRuntime

        source = network_weights.WeightsSource("kept", path=str(network))
        return TensorFlowRuntime(
            network_weights.build(registry.get(spec.backbone), spec.size, source, spec.precision), spec
        )

    def rows(self, images: Sequence[str | os.PathLike[str]] | np.ndarray) -> np.ndarray:
        """Pooled rows, array of shape (n, d).

        Parameters
        ----------
        images : files, or uint8 RGB pixels of shape (n, size, size, 3) as :mod:`featcache.data.decoding` gives them.

        Raises :class:`DataError` where there are none, or they are no such pixels; or an image cannot be decoded.
        """
        pixels = images if isinstance(images, np.ndarray) else self._decoded(images)
        wanted = (self._spec.size, self._spec.size, 3)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != wanted or not len(pixels):
            raise DataError(
                f"images of {pixels.dtype}, shape {pixels.shape}; expected files, or uint8 pixels of shape (n, "
                f"{', '.join(map(str, wanted))})"
            )
        return pool(self._runtime(np.ascontiguousarray(pixels))[self._array], self._pooling)

    def _decoded(self, images: Sequence[str | os.PathLike[str]]) -> np.ndarray:
        if isinstance(images, str | os.PathLike):
            images = [images]
        paths = [os.fspath(image) for image in images]
        read = {path: read_pixels(path, self._spec) for path in paths}
        bad = [BadImage(path, pixels) for path, pixels in read.items() if isinstance(pixels, str)]
        if bad:
            raise DataError(f"{len(bad)} of {len(paths)} images cannot be used", bad)
        if not read:
            raise DataError("no images to predict")
        return np.stack([read[path] for path in paths])
