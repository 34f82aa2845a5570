"""The table of frozen backbones: every family of ``keras.applications``, without tops, plus ``pixels``."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from ..errors import UsageError


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
    parameters : their number, without the top.
    min_size : smallest side of the input, pixels.
    size : side of the input unless another is asked for.
    """

    name: str
    keras_name: str
    module: str
    preprocess: str
    channels: int
    parameters: int
    min_size: int = 32
    size: int = 224


def _family(module: str, preprocess: str, *members: tuple[str, int, int], min_size: int = 32) -> list[Backbone]:
    return [
        Backbone(name.lower(), name, module, preprocess, width, parameters, min_size)
        for name, width, parameters in members
    ]


_ROWS = [
    Backbone("pixels", "", "", "none", 3, 0, min_size=1),
    *_family("vgg16", "caffe", ("VGG16", 512, 14_714_688)),
    *_family("vgg19", "caffe", ("VGG19", 512, 20_024_384)),
    *_family(
        "resnet",
        "caffe",
        ("ResNet50", 2048, 23_587_712),
        ("ResNet101", 2048, 42_658_176),
        ("ResNet152", 2048, 58_370_944),
    ),
    *_family(
        "resnet_v2",
        "tf",
        ("ResNet50V2", 2048, 23_564_800),
        ("ResNet101V2", 2048, 42_626_560),
        ("ResNet152V2", 2048, 58_331_648),
    ),
    *_family("xception", "tf", ("Xception", 2048, 20_861_480), min_size=71),
    *_family("inception_v3", "tf", ("InceptionV3", 2048, 21_802_784), min_size=75),
    *_family("inception_resnet_v2", "tf", ("InceptionResNetV2", 1536, 54_336_736), min_size=75),
    *_family("mobilenet", "tf", ("MobileNet", 1024, 3_228_864)),
    *_family("mobilenet_v2", "tf", ("MobileNetV2", 1280, 2_257_984)),
    *_family("mobilenet_v3", "builtin", ("MobileNetV3Small", 576, 939_120), ("MobileNetV3Large", 960, 2_996_352)),
    *_family(
        "densenet",
        "torch",
        ("DenseNet121", 1024, 7_037_504),
        ("DenseNet169", 1664, 12_642_880),
        ("DenseNet201", 1920, 18_321_984),
    ),
    *_family("nasnet", "tf", ("NASNetMobile", 1056, 4_269_716), ("NASNetLarge", 4032, 84_916_818)),
    *_family(
        "efficientnet",
        "builtin",
        ("EfficientNetB0", 1280, 4_049_571),
        ("EfficientNetB1", 1280, 6_575_239),
        ("EfficientNetB2", 1408, 7_768_569),
        ("EfficientNetB3", 1536, 10_783_535),
        ("EfficientNetB4", 1792, 17_673_823),
        ("EfficientNetB5", 2048, 28_513_527),
        ("EfficientNetB6", 2304, 40_960_143),
        ("EfficientNetB7", 2560, 64_097_687),
    ),
    *_family(
        "efficientnet_v2",
        "builtin",
        ("EfficientNetV2B0", 1280, 5_919_312),
        ("EfficientNetV2B1", 1280, 6_931_124),
        ("EfficientNetV2B2", 1408, 8_769_374),
        ("EfficientNetV2B3", 1536, 12_930_622),
        ("EfficientNetV2S", 1280, 20_331_360),
        ("EfficientNetV2M", 1280, 53_150_388),
        ("EfficientNetV2L", 1280, 117_746_848),
    ),
    *_family(
        "convnext",
        "builtin",
        ("ConvNeXtTiny", 768, 27_820_128),
        ("ConvNeXtSmall", 768, 49_454_688),
        ("ConvNeXtBase", 1024, 87_566_464),
        ("ConvNeXtLarge", 1536, 196_230_336),
        ("ConvNeXtXLarge", 2048, 348_147_968),
    ),
]

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
