"""The forty networks of a published table, with what it says of them.

Trained on the whole of StitchingNet (11 classes, 224 pixels); the operations also count
normalisation and activations, so they are more than multiply-adds of convolutions and linear
layers, and the accuracies are those of another training and another split.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Published(NamedTuple):
    """What the table says: operations at 224 pixels, accuracy on its test photos in percent."""

    operations: int
    accuracy: float


PUBLISHED: Final[dict[str, Published]] = {
    "mobilenetv3_small_050": Published(27_760_784, 97.16),
    "lcnet_050": Published(45_998_976, 98.76),
    "repghostnet_050": Published(47_806_496, 98.26),
    "mobilenetv3_small_075": Published(48_897_336, 97.57),
    "mobilenetv3_small_100": Published(62_589_728, 99.50),
    "mobilenetv4_conv_small_050": Published(65_866_112, 99.27),
    "tinynet_e": Published(92_972_848, 98.99),
    "lcnet_075": Published(97_522_112, 98.90),
    "repghostnet_080": Published(103_419_948, 98.86),
    "tinynet_d": Published(108_160_480, 99.31),
    "mobilenetv2_050": Published(114_129_200, 95.74),
    "tinynet_c": Published(146_790_496, 99.27),
    "ghostnet_100": Published(147_008_016, 99.22),
    "repghostnet_100": Published(152_463_280, 99.50),
    "lcnet_100": Published(159_502_336, 98.03),
    "ghostnetv2_100": Published(176_307_952, 98.76),
    "mobilenetv4_conv_small": Published(188_715_520, 99.63),
    "mobilenetv3_rw": Published(237_368_096, 99.08),
    "mobilenetv3_large_100": Published(237_369_920, 99.59),
    "repghostnet_130": Published(244_782_348, 99.31),
    "mixnet_s": Published(250_217_856, 99.54),
    "ghostnetv2_130": Published(281_690_296, 99.27),
    "tinynet_b": Published(287_347_088, 99.50),
    "mnasnet_100": Published(324_125_952, 98.90),
    "mobilenetv2_100": Published(332_961_632, 98.95),
    "spnasnet_100": Published(344_324_928, 99.27),
    "mixnet_m": Published(354_094_048, 99.59),
    "ghostnetv2_160": Published(414_088_472, 99.73),
    "tinynet_a": Published(471_260_448, 99.73),
    "mobilenetv2_110d": Published(472_868_000, 99.45),
    "repghostnet_200": Published(537_274_080, 99.41),
    "mixnet_l": Published(575_452_624, 99.50),
    "mobilenetv1_100": Published(592_991_232, 99.63),
    "mobilenetv2_140": Published(628_378_464, 99.08),
    "mobilenetv2_120d": Published(727_481_408, 99.27),
    "mobilenetv3_large_150d": Published(821_242_720, 99.50),
    "mobilenetv4_conv_medium": Published(838_036_864, 99.41),
    "mixnet_xl": Published(931_662_848, 99.63),
    "mobilenetv4_hybrid_medium": Published(952_689_024, 99.68),
    "resnet18": Published(1_818_559_488, 99.45),
}
