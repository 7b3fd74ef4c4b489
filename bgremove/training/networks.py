"""The networks that can be trained; their table is in :mod:`bgremove.training.registry`.

A network takes (N, 3, H, W) float32 pictures, each channel ``(x - mean) / std`` of values in 0..1,
and gives a list of logit maps, the finest first: in training one for each scale at which it is
supervised, otherwise the finest alone, at the picture's own size. A new one is a class and a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; the size kept, or halved by stride 2."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def upsampled(x: Tensor, like: Tensor) -> Tensor:
    """`x` at the height and width of `like`, bilinear."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class UNet(nn.Module):
    """The standard U-Net: four times halved, two 3x3 convolutions a level, bilinear upsampling.

    References:
        Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation",
        MICCAI 2015; with bilinear upsampling and batch normalisation as is common since.
    """

    def __init__(self, base: int = 64) -> None:
        super().__init__()
        widths = [base, 2 * base, 4 * base, 8 * base, 8 * base]
        self.down = nn.ModuleList(_double(i, o, o) for i, o in zip([3, *widths[:-1]], widths, strict=True))
        skips = list(zip(widths[-2::-1], [*widths[-3::-1], base], strict=True))
        below = [widths[-1], *(out for _, out in skips[:-1])]
        self.up = nn.ModuleList(
            _double(skip + under, (skip + under) // 2, out)
            for (skip, out), under in zip(skips, below, strict=True)
        )
        self.head = nn.Conv2d(base, 1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) to one (N, 1, H, W) of logits."""
        skips: list[Tensor] = []
        for level in self.down:
            x = level(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for level, skip in zip(self.up, skips[-2::-1], strict=True):
            x = level(torch.cat([skip, upsampled(x, skip)], dim=1))
        return [self.head(x)]


def _double(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*conv(inputs, middle), *conv(middle, outputs))


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity; it starts as the identity.

    References:
        He et al., "Deep residual learning for image recognition", CVPR 2016.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv(width, width)
        norm = nn.BatchNorm2d(width)
        nn.init.zeros_(norm.weight)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class Context(nn.Module):
    """Adds to every place what the whole picture says.

    References:
        Cao et al., "GCNet", ICCV workshops 2019.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.ReLU(inplace=True), nn.Conv2d(width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = x + self.mix(x.mean((2, 3), keepdim=True))
        return mixed


class Lite(nn.Module):
    """A small encoder-decoder with plain 3x3 convolutions, supervised at five scales.

    Plain convolutions on purpose: a core with vector instructions does them at several times the
    rate of depth-wise ones, in training and after it, so that a network of six times the weights
    takes the same time (measured in ``benchmarks/README.md``).
    The encoder halves the picture five times, with residual blocks at each scale; the coarsest map is
    told what the whole picture says. The decoder adds each scale to the one below it.

    References:
        He et al., CVPR 2016 (residual blocks). Lin et al., "Feature pyramid networks for object
        detection", CVPR 2017 (decoder).
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 40, 80, 144, 224),
        blocks: Sequence[int] = (1, 2, 3, 2),
        decoder: Sequence[int] = (16, 32, 48, 64, 96),
    ) -> None:
        super().__init__()
        self.stem = conv(3, widths[0], 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(conv(i, o, 3, 2), *(Residual(o) for _ in range(n)))
            for i, o, n in zip(widths[:-1], widths[1:], blocks, strict=True)
        )
        self.context = Context(widths[-1])
        self.lateral = nn.ModuleList(conv(i, o, 1) for i, o in zip(widths, decoder, strict=True))
        self.narrow = nn.ModuleList(conv(i, o, 1) for i, o in zip(decoder[1:], decoder[:-1], strict=True))
        self.smooth = nn.ModuleList(conv(width, width) for width in decoder)
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 3, 1, 1) for width in decoder)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W), multiples of 32, to logits at 1/2 to 1/32 of that; at all of it when evaluating."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        maps[-1] = self.context(maps[-1])
        logits: list[Tensor] = []
        below: Tensor | None = None
        for level in reversed(range(len(maps))):
            here = self.lateral[level](maps[level])
            if below is not None:
                here = here + upsampled(self.narrow[level](below), here)
            below = self.smooth[level](here)
            if self.training or level == 0:
                logits.insert(0, self.heads[level](below))
        return logits if self.training else [upsampled(logits[0], x)]
