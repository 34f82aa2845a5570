"""What to do where a network's weights are not on this machine and cannot be downloaded."""

from __future__ import annotations


def how_to_get(name: str, size: int | None = None) -> str:
    """The two commands that bring weights to a machine without internet, as an item of a list, indented by two.

    Parameters
    ----------
    name : as ``--backbone`` takes it: ``vgg16``, ``hf:facebook/dinov2-small``, ``timm:resnet18.a1_in1k``.
    size : side of the square input in pixels, where the file of weights depends on it.
    """
    sized = f" --size {size}" if size is not None else ""
    return (
        "  - on a machine with internet, run\n"
        f"      featcache weights pack {name} weights.tar{sized}\n"
        "    copy weights.tar here, and run\n"
        "      featcache weights unpack weights.tar"
    )
