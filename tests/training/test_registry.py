"""The table of the networks that can be trained."""

from __future__ import annotations

import pytest

from bgremove.errors import OptionError
from bgremove.options import settings
from bgremove.training.params import TrainParams
from bgremove.training.registry import NETWORKS, create_network, network_info
from tests.cli_helpers import python_there


def test_the_table() -> None:
    assert list(NETWORKS) == ["lite", "unet"]
    for name, row in NETWORKS.items():
        assert row.name == name and row.summary
        assert row.multiple in (8, 16, 32, 64)
        assert all(0 < value < 1 for value in (*row.mean, *row.std))
    assert TrainParams().network in NETWORKS


def test_the_help_names_every_network() -> None:
    [network] = [setting for setting in settings(TrainParams) if setting.name == "network"]
    assert network.choices == tuple(NETWORKS)
    assert all(f"{name}: {row.summary}" in network.help for name, row in NETWORKS.items())


@pytest.mark.parametrize(
    ("name", "hint"),
    [("lit", "did you mean lite?"), ("u-net", "did you mean unet?"), ("x", "known: lite, unet")],
)
def test_an_unknown_name(name: str, hint: str) -> None:
    for find in (network_info, create_network):
        with pytest.raises(OptionError) as error:
            find(name)
        assert str(error.value) == f"unknown network {name!r}; {hint}"


def test_it_is_read_without_torch() -> None:
    code = "import sys, bgremove.training.params; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert python_there(code).stdout.split() == ["False", "False"]
