"""How the picture size and the learning rate change over a training."""

from __future__ import annotations

import math

GROWTH = 0.85
"""Share of the epochs that the sizes have for themselves; the last has what is left, too."""


def size_at(epoch: int, epochs: int, start: int, end: int, multiple: int) -> int:
    """Side of the pictures in an epoch (from 0), a multiple of `multiple`; `start` 0 means always `end`.

    Small pictures first teach most of it in a fraction of the time.

    References:
        Tan and Le, "EfficientNetV2", ICML 2021 (progressive learning).
    """
    if not start or start >= end or epoch == epochs - 1:
        return end
    steps = (end - start) // multiple + 1
    share = epoch / (GROWTH * epochs)
    return min(end, start + multiple * int(share * steps))


def rate_at(step: int, steps: int, warmup: float, final: float) -> float:
    """Learning rate as a share of the highest: a linear rise, then half a cosine down to `final`.

    References:
        Loshchilov and Hutter, "SGDR", ICLR 2017. Goyal et al., "Accurate, large minibatch SGD", 2017.
    """
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    share = min(1.0, (step - rise) / max(1, steps - rise))
    return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2
