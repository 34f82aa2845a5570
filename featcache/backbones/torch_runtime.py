"""Features on PyTorch: the very network that a house gives, on a GPU where there is one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import WeightsError
from ..spec import FeatureSpec, Scaling
from .network import OutputForm
from .network_proof import Compute, pictures, prove
from .runtime import OutOfMemoryError, Runtime, apart, named
from .torch_networks import TorchNetwork, why
from .torch_setup import exact_products

_CPU_BATCHES, _GPU_BATCHES = (16, 32, 8), (64, 32, 128)
# Of the largest value: how far features may be from those of the reference, which computes in float32 on the CPU.
TOLERANCES = {"float32": 1e-4, "bfloat16": 1e-1, "float16": 2e-2}
_NO_ROOM = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")  # how PyTorch says it


class TorchRuntime:
    """A network of PyTorch's; see :class:`featcache.backbones.runtime.Runtime`.

    float32 means float32. Half precision is PyTorch's autocast: products and convolutions in it, what needs more
    (normalisation, softmax) in float32. Memory grows as needed, so that several processes can share a device.

    Parameters
    ----------
    network : copied; what is copied is moved to the device.
    specs : say the layers, what the network takes, the precision and what is kept; they differ in the layer alone.
    threads : of the processor, for the whole process; None leaves it as it is.

    Raises
    ------
    WeightsError
        Its features are not finite, the same for any image, or change from one call to the next; or it cannot run.
    """

    def __init__(self, network: TorchNetwork, specs: tuple[FeatureSpec, ...], threads: int | None = None) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        gpu = torch.cuda.is_available()
        spec, self._specs = specs[0], specs
        self._device = torch.device("cuda" if gpu else "cpu")
        self._half = None if spec.precision == "float32" else getattr(torch, spec.precision)
        self._free = torch.cuda.empty_cache if gpu else None
        self._forms = [network.form(one.layer) for one in specs]
        # Convolutions are faster so on CPUs, and on GPUs in half precision.
        self._channels_last = not gpu or self._half is not None
        try:
            self._network = network.placed(self._device, self._channels_last)
        except RuntimeError as error:
            raise as_ours(error, spec.network) from error
        self.info = {
            "name": "torch",
            "version": str(torch.__version__),
            "device": torch.cuda.get_device_name(self._device) if gpu else "cpu",
        }
        proven = [prove(self._of(place), one, self._of(place)) for place, one in enumerate(specs)]
        self._together = all(proven)
        self.batches = (_GPU_BATCHES if gpu else _CPU_BATCHES) if self._together else (1,)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        if self._together:
            return self._compute(images)
        rows = [self._compute(images[place : place + 1]) for place in range(len(images))]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _of(self, place: int) -> Compute:
        """What computes the arrays of one spec, as that calls them."""
        return lambda images: apart(self._specs, self._compute(images))[place]

    def __del__(self) -> None:
        self.__dict__.pop("_network", None)
        free = self.__dict__.get("_free")
        if free is not None:  # what PyTorch holds on to, for whoever shares the device
            free()

    def _compute(self, images: np.ndarray) -> dict[str, np.ndarray]:
        import torch

        try:
            with torch.inference_mode(), exact_products():
                pixels = torch.from_numpy(images)
                if self._device.type == "cuda":
                    pixels = pixels.pin_memory().to(self._device, non_blocking=True)
                scaling = self._specs[0].scaling
                assert scaling is not None
                taken = _scaled(pixels, scaling)
                if not self._channels_last:
                    taken = taken.contiguous()
                with torch.autocast(self._device.type, self._half, enabled=self._half is not None):
                    given = self._network.features(taken, *(spec.layer for spec in self._specs))
                arrays = [_arrays(values.float(), form) for values, form in zip(given, self._forms, strict=True)]
                kind = getattr(torch, self._specs[0].dtype)
                return {name: values.to(kind).cpu().numpy() for name, values in named(self._specs, arrays).items()}
        except RuntimeError as error:
            raised = as_ours(error, self._specs[0].network)
        # Beyond the handler, whose error holds what was computed so far.
        if isinstance(raised, OutOfMemoryError) and self._device.type == "cuda":
            torch.cuda.empty_cache()
        raise raised


def require_equal(runtime: Runtime, reference: Runtime, specs: tuple[FeatureSpec, ...]) -> None:
    """Raise :class:`WeightsError` where a runtime does not give, of two pictures, what the reference does.

    Parameters
    ----------
    runtime : computes as the spec says.
    reference : computes the same in float32.
    specs : say what is compared, and how near it must be: :data:`TOLERANCES`, of the largest value.
    """
    spec = specs[0]
    images, allowed = pictures(spec.size), TOLERANCES[spec.precision]
    given, wanted = runtime(images), reference(images)
    name, farthest = "", 0.0
    for array in wanted:
        largest = float(np.abs(wanted[array].astype(np.float64)).max())
        moved = float(np.abs(given[array].astype(np.float64) - wanted[array]).max()) / largest
        if not moved <= farthest:
            name, farthest = array, moved
    if spec.dtype == "float16":  # which rounds what is kept
        allowed = max(allowed, 1e-3)
    if farthest <= allowed:
        return
    other = "take --runtime openvino" if spec.precision == "float32" else "take --precision float32"
    raise WeightsError(
        f"{spec.network}: on {runtime.info['name']} ({runtime.info.get('device', 'cpu')}) in {spec.precision}, its "
        f"{name!r} differs from {reference.info['name']}'s by {farthest:.2g} of the largest value; expected at most "
        f"{allowed:.0e}. Nothing was kept; {other}"
    )


def as_ours(error: RuntimeError, network: str) -> OutOfMemoryError | WeightsError:
    """What PyTorch says, as an error of ours."""
    if any(words in str(error) for words in _NO_ROOM):
        return OutOfMemoryError(why(error, 120))
    return WeightsError(f"{network}: this machine's PyTorch cannot run it ({why(error)})")


def _scaled(pixels: Any, scaling: Scaling) -> Any:
    """From uint8 of shape (n, h, w, 3) to what the network takes, (n, c, h, w), as :mod:`.network` has it."""
    import torch

    x = pixels.float()
    if scaling.channels == 1:
        x = (x * x.new_tensor([0.299, 0.587, 0.114])).sum(3, keepdim=True)
    mean, std = (x.new_tensor([255.0 * one for one in values]) for values in (scaling.mean, scaling.std))
    x = (x - mean) / std
    if scaling.order == "bgr":
        x = torch.flip(x, (3,))
    return x.permute(0, 3, 1, 2)


def _arrays(values: Any, form: OutputForm) -> dict[str, Any]:
    """Every array that can be made of an output, by name, as :mod:`.network` has it."""
    if form.kind == "vector":
        return {"avg": values}
    arrays = {}
    if form.kind == "tokens":
        if form.class_token:
            arrays["cls"] = values[:, 0].contiguous()
        side = math.isqrt(form.shape[0] - form.prefix)
        values = values[:, form.prefix :].reshape(len(values), side, side, form.shape[1])
    elif not form.channels_last:
        values = values.permute(0, 2, 3, 1)
    return {**arrays, "map": values.contiguous(), "avg": values.mean((1, 2))}
