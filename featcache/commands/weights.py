"""The verbs of ``weights``: weights of frozen networks for machines without internet."""

from __future__ import annotations

from typing import Any

import click

from ..system.user_paths import expanded
from .console import Output, human_size, shared_options


@click.group("weights")
def weights_group() -> None:
    """Weights for machines without internet."""


@weights_group.command("pack")
@click.argument("names", metavar="NAME[,NAME]")
@click.argument("out", metavar="FILE")
@click.option(
    "--size",
    type=click.IntRange(1, 4096),
    metavar="PIXELS",
    help="For which side of the input: MobileNets have weights for each of some [default: the network's own].",
)
@shared_options
def weights_pack(cache: str, output: Output, names: str, out: str, size: int | None) -> None:
    """Write the weights of networks to one file; what is not on this machine is downloaded.

    NAME is a network of the table, hf:NAME[@COMMIT] or timm:NAME.
    """
    from ..backbones import weight_packs

    done = weight_packs.pack(names.split(","), expanded(out).absolute(), size)
    size_of_all = done.file.stat().st_size
    lines = [*_listed(done), f"{done.file}: {human_size(size_of_all)}, SHA-256 {done.digest}"]
    lines.append(f"on the machine without internet: featcache weights unpack {done.file.name}")
    output.result({**_described(done), "bytes": size_of_all}, *lines)


@weights_group.command("unpack")
@click.argument("pack", metavar="FILE")
@shared_options
def weights_unpack(cache: str, output: Output, pack: str) -> None:
    """Place packed weights where Keras and Hugging Face's libraries look for them, once every byte is proven."""
    from ..backbones import weight_packs

    done = weight_packs.unpack(expanded(pack).absolute())
    placed, kept = ([str(path) for path in paths] for paths in (done.placed, done.kept))
    lines = [*_listed(done), f"{done.file}: SHA-256 {done.digest}"]
    lines += [f"placed {path}" for path in placed]
    lines.append(f"{len(placed)} file(s) placed, {len(kept)} were there already")
    values = {**_described(done), "bytes": done.file.stat().st_size, "placed": placed, "kept": kept}
    output.result(values, *lines)


def _listed(done: Any) -> list[str]:
    """A line a network."""
    return [
        f"{network.name:<40} {len(network.files):>3} file(s) {human_size(sum(one.bytes for one in network.files)):>10}"
        f"  {network.commit or network.source}"
        for network in done.networks
    ]


def _described(done: Any) -> dict[str, Any]:
    """What a pack holds, for ``--json``."""
    return {
        "file": str(done.file),
        "digest": done.digest,
        "names": [network.name for network in done.networks],
        "sources": {network.name: network.source for network in done.networks},
        "commits": {network.name: network.commit for network in done.networks if network.commit},
        "digests": {network.member(one): one.sha256 for network in done.networks for one in network.files},
    }
