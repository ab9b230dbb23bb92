"""The network of `compact`: a ResNet whose every step an eager-mode INT8 conversion can follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import nn
from torch.ao.nn.quantized import FloatFunctional
from torch.ao.quantization import DeQuantStub, QuantStub

#: Blocks a stage, and whether they are bottlenecks.
DEPTHS: Final = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}
_EXPANSION: Final = 4


class CompactResNet(nn.Module):
    """ResNet-D with a stem of three 3x3 convolutions, between quantization stubs.

    In float the stubs and the `FloatFunctional` additions do nothing but what they stand for.

    Args:
        channels: of each stage, in a bottleneck's middle.
        half: channels of the stem's first two convolutions.
    """

    def __init__(self, name: str, num_classes: int, channels: Sequence[int], half: int) -> None:
        super().__init__()
        blocks, bottleneck = DEPTHS[name]
        self.quant = QuantStub()
        self.stem = nn.Sequential(
            *_conv(3, half, 3, stride=2, act=True),
            *_conv(half, half, 3, act=True),
            *_conv(half, channels[0], 3, act=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages: list[nn.Module] = []
        inputs = channels[0]
        for number, (repeats, width) in enumerate(zip(blocks, channels, strict=True)):
            outputs = width * _EXPANSION if bottleneck else width
            stage = []
            for repeat in range(repeats):
                stride = 2 if number and not repeat else 1
                stage.append(_Block(inputs, width, outputs, stride, bottleneck=bottleneck))
                inputs = outputs
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, num_classes)
        self.dequant = DeQuantStub()
        self._start()

    def forward(self, input_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits NK."""
        features = self.stages(self.stem(self.quant(input_NCHW)))
        logits: torch.Tensor = self.dequant(self.head(torch.flatten(self.pool(features), 1)))
        return logits

    def fuse_groups(self) -> list[list[str]]:
        """Names of layers that become one: convolution, batch norm and, where one follows, ReLU."""
        groups = []
        for place, parent in self.named_modules():
            if not isinstance(parent, nn.Sequential):
                continue
            layers = list(parent.named_children())
            for index, (name, layer) in enumerate(layers):
                if isinstance(layer, nn.Conv2d):
                    kinds = [type(found) for _, found in layers[index + 1 : index + 3]]
                    length = 3 if kinds == [nn.BatchNorm2d, nn.ReLU] else 2
                    names = [name, *(n for n, _ in layers[index + 1 : index + length])]
                    groups.append([f"{place}.{n}" for n in names])
        return groups

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for block in self.modules():
            if isinstance(block, _Block):  # each block starts as the identity
                last = block.path[-1]
                assert isinstance(last, nn.BatchNorm2d)
                nn.init.zeros_(last.weight)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)


class _Block(nn.Module):
    """Basic or bottleneck; the stride is in the 3x3, and the shortcut pools before its 1x1."""

    def __init__(
        self, inputs: int, width: int, outputs: int, stride: int, *, bottleneck: bool
    ) -> None:
        super().__init__()
        if bottleneck:
            self.path = nn.Sequential(
                *_conv(inputs, width, 1, act=True),
                *_conv(width, width, 3, stride=stride, act=True),
                *_conv(width, outputs, 1, act=False),
            )
        else:
            self.path = nn.Sequential(
                *_conv(inputs, width, 3, stride=stride, act=True),
                *_conv(width, outputs, 3, act=False),
            )
        shortcut: list[nn.Module] = []
        if stride != 1:  # odd sides are rounded up, as the path's convolution does
            shortcut.append(nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False))
        if stride != 1 or inputs != outputs:
            shortcut += _conv(inputs, outputs, 1, act=False)
        self.shortcut = nn.Sequential(*shortcut)
        self.add = FloatFunctional()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = self.act(self.add.add(self.path(x), self.shortcut(x)))
        return added


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, act: bool) -> list[nn.Module]:
    """Convolution, batch norm and perhaps ReLU, each a layer of its own, so that they fuse."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return [*layers, nn.ReLU(inplace=True)] if act else layers
