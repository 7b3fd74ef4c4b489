"""Every network of the table, and the two that are there in detail."""

from __future__ import annotations

import importlib

import pytest

from bgremove.training.registry import NETWORKS, NetworkInfo, create_network, network_info

pytest.importorskip("torch", reason="needs the extra train")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from bgremove.training.networks import Lite, Residual, UNet  # noqa: E402


def pictures(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def small(name: str, seed: int = 0) -> nn.Module:
    """A network of the same design with fewer channels, quick on one thread."""
    torch.manual_seed(seed)
    if name == "unet":
        return UNet(base=4)
    if name == "lite":
        return Lite(widths=(4, 4, 6, 6, 8), decoder=(4, 4, 4, 6, 6))
    return create_network(name)


# The table ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_names_its_class(name: str) -> None:
    module, _, cls = network_info(name).target.partition(":")
    assert issubclass(getattr(importlib.import_module(module), cls), nn.Module)


def test_a_third_network_is_a_class_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    row = NetworkInfo("plain", "tests.training.tiny:Plain", "For tests", 8)
    monkeypatch.setitem(NETWORKS, "plain", row)
    assert type(create_network("plain")).__name__ == "Plain"


@pytest.mark.parametrize(
    "target", ["tests.training.tiny:params", "tests.training.tiny:Gone", "no.such:Module"]
)
def test_a_bad_row_fails_at_once(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "bad", NetworkInfo("bad", target, "For tests"))
    with pytest.raises((AssertionError, AttributeError, ModuleNotFoundError)):
        create_network("bad")


# All of them ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_its_full_size(name: str) -> None:
    network = create_network(name).eval()
    with torch.no_grad():
        [logits] = network(pictures(1, 3, 64, 64))
    assert logits.shape == (1, 1, 64, 64) and logits.dtype == torch.float32 and logits.isfinite().all()


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (160, 64)])
@pytest.mark.parametrize("name", NETWORKS)
def test_evaluating_gives_one_map_of_the_pictures_size(name: str, size: tuple[int, int]) -> None:
    network = small(name).eval()
    with torch.no_grad():
        logits = network(pictures(2, 3, *size))
    assert [one.shape for one in logits] == [(2, 1, *size)]


@pytest.mark.parametrize("name", NETWORKS)
def test_training_gives_the_finest_first(name: str) -> None:
    shapes = [one.shape for one in small(name)(pictures(2, 3, 64, 128))]
    assert all(shape[:2] == (2, 1) for shape in shapes)
    sides = [shape[-1] for shape in shapes]
    assert sides == sorted(set(sides), reverse=True)
    assert sides == ([64, 32, 16, 8, 4] if name == "lite" else [128])


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_learns(name: str) -> None:
    network = small(name)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # residual blocks begin closed
    loss = torch.stack([logits.square().mean() for logits in network(pictures(2, 3, 64, 64))]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    first, again, other = (small(name, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert any(not torch.equal(value, other[key]) for key, value in first.items())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_picture_is_judged_by_itself(name: str) -> None:
    """When evaluating, the other pictures of a batch change nothing."""
    network = small(name).eval()
    batch = pictures(3, 3, 64, 64)
    with torch.no_grad():
        together, alone = network(batch)[0][1:2], network(batch[1:2])[0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


# U-Net ----------------------------------------------------------------------------------------------


class Reference(nn.Module):
    """The standard design written out: the same layers under other names."""

    def __init__(self) -> None:
        super().__init__()
        self.inc = self.layers(3, 64, 64)
        self.downs = nn.ModuleList(
            [self.layers(a, b, b) for a, b in ((64, 128), (128, 256), (256, 512), (512, 512))]
        )
        self.ups = nn.ModuleList(
            [
                self.layers(1024, 512, 256),
                self.layers(512, 256, 128),
                self.layers(256, 128, 64),
                self.layers(128, 64, 64),
            ]
        )
        self.out = nn.Conv2d(64, 1, 1)

    @staticmethod
    def layers(a: int, b: int, c: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
            nn.Conv2d(b, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.inc(x)
        x2 = self.downs[0](nn.functional.max_pool2d(x1, 2))
        x3 = self.downs[1](nn.functional.max_pool2d(x2, 2))
        x4 = self.downs[2](nn.functional.max_pool2d(x3, 2))
        x = self.downs[3](nn.functional.max_pool2d(x4, 2))
        for up, skip in zip(self.ups, (x4, x3, x2, x1), strict=True):
            larger = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = up(torch.cat([skip, larger], 1))
        logits: Tensor = self.out(x)
        return logits


def test_unet_is_the_standard_design() -> None:
    torch.manual_seed(0)
    ours, standard = create_network("unet").eval(), Reference().eval()
    assert sum(p.numel() for p in ours.parameters()) == 17_262_977
    values = list(ours.state_dict().values())
    assert [v.shape for v in values] == [v.shape for v in standard.state_dict().values()]
    standard.load_state_dict(dict(zip(standard.state_dict(), values, strict=True)))
    x = pictures(1, 3, 48, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0], standard(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(48, 80), (50, 37)])
def test_unet_takes_any_size(size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert small("unet").eval()(pictures(1, 3, *size))[0].shape == (1, 1, *size)


# Lite -----------------------------------------------------------------------------------------------


def test_lite_is_small_enough_to_ship() -> None:
    """At most 5 MB with a byte for each weight."""
    assert sum(p.numel() for p in create_network("lite").parameters()) < 5_000_000


def test_residual_blocks_begin_as_nothing() -> None:
    block = Residual(6)
    x = pictures(2, 6, 8, 8).relu()
    assert torch.equal(block(x), x)


def test_lite_sees_the_whole_picture() -> None:
    """What is at one end of a long picture, out of reach of all convolutions, changes the other end."""
    torch.manual_seed(0)
    network = create_network("lite").eval()
    one = pictures(1, 3, 32, 1536)
    other = one.clone()
    other[..., -32:] += 5
    with torch.no_grad():
        difference = (network(one)[0] - network(other)[0])[..., :32].abs().max()
    assert difference > 0
