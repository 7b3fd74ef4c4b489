"""Picture sizes and learning rates over a training."""

from __future__ import annotations

import math

import pytest

from bgremove.training.schedule import rate_at, size_at


@pytest.mark.parametrize(("start", "end"), [(96, 256), (128, 160), (32, 64), (64, 352)])
@pytest.mark.parametrize("epochs", [5, 20, 55, 200])
def test_pictures_grow_in_steps_and_end_at_the_size(start: int, end: int, epochs: int) -> None:
    sizes = [size_at(epoch, epochs, start, end, 32) for epoch in range(epochs)]
    assert sizes[0] == start and sizes == sorted(sizes)
    assert all(size % 32 == 0 and start <= size <= end for size in sizes)
    assert set(sizes[-max(1, math.floor(0.1 * epochs)) :]) == {end}


def test_every_size_has_its_share_of_a_long_training() -> None:
    sizes = [size_at(epoch, 120, 64, 256, 32) for epoch in range(120)]
    assert sorted(set(sizes)) == list(range(64, 257, 32))
    shares = [sizes.count(size) for size in sorted(set(sizes))]
    assert max(shares[:-1]) - min(shares[:-1]) <= 1 and shares[-1] >= max(shares)


@pytest.mark.parametrize("epochs", [1, 2, 3])
@pytest.mark.parametrize(("start", "multiple"), [(64, 32), (32, 16)])
def test_even_the_shortest_training_ends_at_the_size(epochs: int, start: int, multiple: int) -> None:
    assert size_at(epochs - 1, epochs, start, 256, multiple) == 256


@pytest.mark.parametrize("start", [0, 256, 512])
def test_without_a_smaller_start_the_size_stays(start: int) -> None:
    assert {size_at(epoch, 10, start, 256, 32) for epoch in range(10)} == {256}


@pytest.mark.parametrize("final", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("warmup", [0.0, 0.03, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_the_rate_rises_then_falls(steps: int, warmup: float, final: float) -> None:
    rates = [rate_at(step, steps, warmup, final) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates) and max(rates) == 1
    top = rates.index(1.0)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_the_rate_is_linear_then_half_a_cosine() -> None:
    steps, rise, final = 1000, 100, 0.01
    rates = [rate_at(step, steps, 0.1, final) for step in range(steps)]
    assert rates[:rise] == pytest.approx([(step + 1) / rise for step in range(rise)])
    assert rates[550] == pytest.approx((1 + final) / 2)  # in the middle of the fall
    assert rates[325] == pytest.approx(final + (1 - final) * (1 + math.sqrt(0.5)) / 2)
    assert rates[-1] == pytest.approx(final, abs=1e-4)
    # Steps beyond the plan, as after an epoch that is done again, keep the last rate.
    assert rate_at(steps, steps, 0.1, final) == rate_at(steps + 500, steps, 0.1, final) == final
