"""An optimiser for small networks that must learn in little time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal, for matrices and convolutions; AdamW for all else.

    A convolution counts as a matrix of its outputs by all of the rest. PyTorch has a Muon of its own
    (2.9 and later), for matrices only, while nearly all weights of our networks are convolutions.
    The step is scaled to the size of one of AdamW's, so that rates and decays mean about the same.

    Args:
        params: weights; those of two dimensions or more, and more than one output, are matrices.
        lr: learning rate.
        weight_decay: decoupled; of matrices only.
        momentum: of the matrices' gradients (Nesterov's).

    References:
        Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
        Liu et al., "Muon is scalable for LLM training", 2025 (the scale of a step).
        Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019 (AdamW).
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        every = list(params)
        matrices = [p for p in every if _is_matrix(p)]
        others = [p for p in every if not _is_matrix(p)]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "matrices": True, "weight_decay": weight_decay},
            {"params": others, "matrices": False, "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step along the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            move = self._matrix_step if group["matrices"] else self._adam_step
            for weight in group["params"]:
                if weight.grad is not None:
                    move(weight, group)
        return loss

    def _matrix_step(self, weight: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum, beta = state["momentum"], group["momentum"]
        momentum.lerp_(weight.grad, 1 - beta)
        towards = weight.grad.lerp(momentum, beta)  # type: ignore[union-attr]
        matrix = orthogonal(towards.flatten(1))
        length = 0.2 * max(matrix.shape) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(matrix.view_as(weight), alpha=-group["lr"] * length)

    def _adam_step(self, weight: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = 0
            state["first"], state["second"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        first, second = state["first"], state["second"]
        first.lerp_(weight.grad, 0.1)
        second.lerp_(weight.grad.square(), 0.001)  # type: ignore[union-attr]
        first_share, second_share = 1 - 0.9 ** state["step"], 1 - 0.999 ** state["step"]
        weight.addcdiv_(first / first_share, (second / second_share).sqrt() + 1e-8, value=-group["lr"])


def _is_matrix(weight: Tensor) -> bool:
    return weight.ndim > 1 and weight.shape[0] > 1 and weight.numel() > weight.shape[0]


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """The nearest matrix whose singular values are all about 1, of the same shape, by Newton and Schulz.

    In bfloat16: singular values end between 0.7 and 1.2, which is near enough.
    """
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.T).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    found: Tensor = (x if wide else x.T).to(matrix.dtype)
    return found
