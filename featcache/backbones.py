"""The table of frozen backbones: every family of ``keras.applications``, without tops, plus ``pixels``."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from .errors import UsageError


@dataclass(frozen=True)
class Backbone:
    """One row of the table.

    Attributes
    ----------
    name : how it is asked for.
    keras_name : class in ``keras.applications``; ``""`` for ``pixels``.
    module : its module there, which holds the reference ``preprocess_input``.
    preprocess : what the weights were trained on: ``caffe`` (BGR minus the ImageNet mean), ``tf``
        (-1 to 1), ``torch`` (0 to 1, then ImageNet mean and deviation), ``builtin`` (the network scales
        for itself), ``none``.
    channels : width of the last layer.
    min_size : smallest side of the input, pixels.
    size : side of the input unless another is asked for.
    """

    name: str
    keras_name: str
    module: str
    preprocess: str
    channels: int
    min_size: int = 32
    size: int = 224


def _family(module: str, preprocess: str, *members: tuple[str, int], min_size: int = 32) -> list[Backbone]:
    return [Backbone(name.lower(), name, module, preprocess, width, min_size) for name, width in members]


_ROWS = [
    Backbone("pixels", "", "", "none", 3, min_size=1),
    *_family("vgg16", "caffe", ("VGG16", 512)),
    *_family("vgg19", "caffe", ("VGG19", 512)),
    *_family("resnet", "caffe", ("ResNet50", 2048), ("ResNet101", 2048), ("ResNet152", 2048)),
    *_family("resnet_v2", "tf", ("ResNet50V2", 2048), ("ResNet101V2", 2048), ("ResNet152V2", 2048)),
    *_family("xception", "tf", ("Xception", 2048), min_size=71),
    *_family("inception_v3", "tf", ("InceptionV3", 2048), min_size=75),
    *_family("inception_resnet_v2", "tf", ("InceptionResNetV2", 1536), min_size=75),
    *_family("mobilenet", "tf", ("MobileNet", 1024)),
    *_family("mobilenet_v2", "tf", ("MobileNetV2", 1280)),
    *_family("mobilenet_v3", "builtin", ("MobileNetV3Small", 576), ("MobileNetV3Large", 960)),
    *_family("densenet", "torch", ("DenseNet121", 1024), ("DenseNet169", 1664), ("DenseNet201", 1920)),
    *_family("nasnet", "tf", ("NASNetMobile", 1056), ("NASNetLarge", 4032)),
    *_family(
        "efficientnet", "builtin",
        ("EfficientNetB0", 1280), ("EfficientNetB1", 1280), ("EfficientNetB2", 1408), ("EfficientNetB3", 1536),
        ("EfficientNetB4", 1792), ("EfficientNetB5", 2048), ("EfficientNetB6", 2304), ("EfficientNetB7", 2560),
    ),
    *_family(
        "efficientnet_v2", "builtin",
        ("EfficientNetV2B0", 1280), ("EfficientNetV2B1", 1280), ("EfficientNetV2B2", 1408),
        ("EfficientNetV2B3", 1536), ("EfficientNetV2S", 1280), ("EfficientNetV2M", 1280), ("EfficientNetV2L", 1280),
    ),
    *_family(
        "convnext", "builtin",
        ("ConvNeXtTiny", 768), ("ConvNeXtSmall", 768), ("ConvNeXtBase", 1024), ("ConvNeXtLarge", 1536),
        ("ConvNeXtXLarge", 2048),
    ),
]  # fmt: skip

TABLE = {row.name: row for row in _ROWS}
assert len(TABLE) == len(_ROWS), "two backbones of one name"


def get(name: str) -> Backbone:
    """The table's row for a name; case, dashes and underscores do not matter.

    Raises :class:`UsageError` for a name that is not in the table.
    """
    plain = re.sub(r"[-_ ]", "", name.lower())
    if plain in TABLE:
        return TABLE[plain]
    close = difflib.get_close_matches(plain, TABLE, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(sorted(TABLE))}"
    raise UsageError(f"backbone {name!r} is unknown; {hint}")
