"""Networks of PyTorch on PyTorch: when it is taken, and what has to hold before a row of it is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backbones import network_sources, openvino_runtime, torch_setup
from ..backbones import runtime as runtimes
from ..backbones.network import Network, require_fits
from ..backbones.shared_trunk import on_openvino
from ..errors import UsageError, WeightsError
from ..spec import FeatureSpec
from ..store.store import Store
from .request import ExtractionRequest, Named

NAME = "torch"


def is_meant(request: ExtractionRequest) -> bool:
    """Whether PyTorch is to compute: where it is asked for, and by itself where it has a GPU for a network of its own.

    Raises :class:`UsageError` where it is asked for what it cannot do.
    """
    of_torch = network_sources.is_of_torch(request.backbone)
    if request.runtime == "auto":
        return of_torch and request.precision in torch_setup.PRECISIONS and torch_setup.has_gpu()
    if request.runtime != NAME:
        return False
    torch_setup.check(request.precision)
    if not of_torch:
        raise UsageError(
            "--runtime torch computes networks of PyTorch's (timm:, hf:, xrv:, or a torch.nn.Module) and of the table; "
            "any other is computed by openvino: leave --runtime away"
        )
    return True


def on_torch(
    specs: tuple[FeatureSpec, ...],
    opened: Callable[[], Network],
    models: Sequence[Any],
    threads: int | None = None,
) -> runtimes.Runtime:
    """The network on PyTorch, once it gives what the converted one does, which is kept for all else that needs it.

    Parameters
    ----------
    specs : what is computed, of one network.
    opened : gives the network.
    models : the same as ``openvino.Model``, of each spec, proven and kept; they are taken apart.
    threads : of the processor; None leaves them as they are.

    Raises
    ------
    WeightsError
        Its features differ, or it is not the spec's network.
    """
    from ..backbones.torch_networks import TorchNetwork
    from ..backbones.torch_runtime import TorchRuntime, require_equal

    network, digest = opened(), specs[0].weights_digest
    if not isinstance(network, TorchNetwork) or network.digest != digest:
        raise WeightsError(
            f"{specs[0].network}: what is found here is not the network of the feature set (digest "
            f"{network.digest[:8]}, expected {digest[:8]}); another release of its house, or of PyTorch?"
        )
    runtime = TorchRuntime(network, specs, threads)
    require_equal(runtime, on_openvino(models, tuple(spec.in_float32 for spec in specs), threads), specs)
    return runtime


def again(specs: tuple[FeatureSpec, ...], network: Named, store: Store, threads: int | None) -> runtimes.Runtime:
    """The same in another process, which finds the network by what it was asked for, and the converted one kept."""

    def opened() -> Network:
        return network_sources.find(network.backbone, network.weights).open(specs[0].size)

    def kept(spec: FeatureSpec) -> Any:
        model = openvino_runtime.read(store.converted(spec))
        require_fits(model, spec, str(store.converted(spec)))
        return model

    return on_torch(specs, opened, [kept(spec) for spec in specs], threads)
