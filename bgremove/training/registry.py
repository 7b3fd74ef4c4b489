"""The table of the networks that can be trained, and building one by name.

A new network is a class, as :mod:`bgremove.training.networks` describes it, and a row here. PyTorch is
imported only when one is built.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bgremove.errors import OptionError

if TYPE_CHECKING:
    from torch import nn

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class NetworkInfo:
    """A row of the table.

    Attributes:
        target: ``module:class``, imported on first use; built without arguments.
        summary: what it is, for the help.
        multiple: height and width of its pictures are multiples of this.
        mean, std: of the RGB channels, in 0..1.
    """

    name: str
    target: str
    summary: str
    multiple: int = 32
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD


_ROWS = (
    NetworkInfo("lite", "bgremove.training.networks:Lite", "small and quick, also on a CPU"),
    NetworkInfo("unet", "bgremove.training.networks:UNet", "the classic one, 64 to 512 channels", 16),
)

NETWORKS = {row.name: row for row in _ROWS}
"""Every network by name."""


def network_info(name: str) -> NetworkInfo:
    """The row of a network.

    Raises:
        OptionError: if there is none of that name.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(NETWORKS)}"
        raise OptionError(f"unknown network {name!r}; {hint}")
    return NETWORKS[name]


def create_network(name: str) -> nn.Module:
    """A network with random weights (torch's generator decides which)."""
    module, _, cls = network_info(name).target.partition(":")
    from torch import nn

    network = getattr(importlib.import_module(module), cls)()
    assert isinstance(network, nn.Module)
    return network
