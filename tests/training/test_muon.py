"""The optimiser: orthogonal steps for matrices, AdamW for the rest."""

from __future__ import annotations

import copy
import io

import pytest

pytest.importorskip("torch", reason="needs the extra train")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from bgremove.training.muon import Muon, orthogonal  # noqa: E402


def gradients(shape: tuple[int, ...], count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def follow(optimiser: torch.optim.Optimizer, weight: Tensor, steps: list[Tensor]) -> None:
    for gradient in steps:
        weight.grad = gradient.clone()
        optimiser.step()


@pytest.mark.parametrize("shape", [(8, 8), (16, 144), (144, 16), (64, 27), (3, 200), (2, 2), (96, 864)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_singular_values_become_about_one(shape: tuple[int, int], scale: float) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale
    found = orthogonal(matrix)
    assert found.shape == matrix.shape and found.dtype == torch.float32
    # Only what a random square matrix has near 0 may stay below.
    values = torch.linalg.svdvals(found)
    assert values.max() < 1.3
    assert values.min() > (0.0 if shape[0] == shape[1] else 0.6) and values.median() > 0.6


@pytest.mark.parametrize("shape", [(16, 144), (144, 16)])
def test_it_is_near_the_nearest_orthogonal_matrix(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    nearest = left @ right
    cosine = (orthogonal(matrix) * nearest).sum() / (orthogonal(matrix).norm() * nearest.norm())
    assert cosine > 0.97


def test_a_gradient_of_nothing_moves_nothing() -> None:
    weight = nn.Parameter(torch.ones(4, 6))
    follow(Muon([weight], 0.1), weight, [torch.zeros(4, 6)])
    assert torch.equal(weight, torch.ones(4, 6))


@pytest.mark.parametrize("shape", [(), (7,), (1, 24, 3, 3), (12, 1)])
def test_what_is_no_matrix_moves_as_by_adamw(shape: tuple[int, ...]) -> None:
    start = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    muon = Muon([ours], 0.01, weight_decay=0.5)
    adamw = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.0, eps=1e-8)
    for gradient in gradients(shape, 50):
        follow(muon, ours, [gradient])
        follow(adamw, theirs, [gradient])
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(ours, start)


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (16, 8, 3, 3)])
def test_a_matrix_moves_by_its_orthogonal_momentum(shape: tuple[int, ...]) -> None:
    weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(4)))
    expected, momentum = weight.detach().clone(), torch.zeros(shape)
    steps = gradients(shape, 3)
    follow(Muon([weight], 0.02, weight_decay=0.1), weight, steps)
    for gradient in steps:
        momentum = 0.95 * momentum + 0.05 * gradient
        nesterov = 0.05 * gradient + 0.95 * momentum
        step = orthogonal(nesterov.reshape(shape[0], -1)).reshape(shape)
        longest = max(shape[0], weight[0].numel())
        expected = expected * (1 - 0.02 * 0.1) - 0.02 * 0.2 * longest**0.5 * step
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-2, atol=1e-4)  # bfloat16 rounds


def test_a_step_is_as_long_as_one_of_adamw() -> None:
    """0.2 at each weight (root mean square), times the rate: what AdamW's steps are found to be."""
    for shape in ((64, 64), (32, 288), (288, 32)):
        weight = nn.Parameter(torch.zeros(shape))
        follow(Muon([weight], 1.0), weight, gradients(shape, 1))
        assert weight.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.3)


def test_it_solves_a_regression() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 12)
    wanted = x @ torch.randn(12, 8) + torch.randn(8)
    layer = nn.Linear(12, 8)
    optimiser = Muon(layer.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / 200)
    losses = []
    for _ in range(200):
        loss = nn.functional.mse_loss(layer(x), wanted)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    assert losses[0] > 5 and losses[-1] < 5e-3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3))


def learn(net: nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        x = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        net(x).square().mean().backward()
        optimiser.step()


def test_it_goes_on_from_its_state_as_if_never_stopped() -> None:
    unbroken = network()
    learn(unbroken, Muon(unbroken.parameters(), 0.01, 0.01), range(6))

    net = network()
    optimiser = Muon(net.parameters(), 0.01, 0.01)
    learn(net, optimiser, range(3))
    file = io.BytesIO()
    torch.save({"network": net.state_dict(), "optimiser": optimiser.state_dict()}, file)

    file.seek(0)
    stored = torch.load(file, weights_only=True)
    resumed = copy.deepcopy(network())
    resumed.load_state_dict(stored["network"])
    again = Muon(resumed.parameters(), 0.5)
    again.load_state_dict(stored["optimiser"])
    learn(resumed, again, range(3, 6))
    for one, other in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_weights_without_a_gradient_stay() -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    Muon(net.parameters(), 0.1, 0.1).step()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_closure_is_called_with_gradients_on() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimiser = Muon([weight], 0.1)

    def closure() -> float:
        loss = weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    assert optimiser.step(closure) == 3.0
    assert (weight < 1).all()
