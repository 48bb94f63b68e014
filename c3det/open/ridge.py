"""The linear systems of ridge regressions."""

from __future__ import annotations

import torch
from torch import Tensor

ITERATIONS = 20
"""Enough for a ratio of 50,000 between the largest and the least eigenvalue."""


def solve(gram: Tensor, target: Tensor) -> Tensor:
    """Solve symmetric, positive definite systems.

    On a GPU, without gradients, it is done by products of matrices alone, which a CUDA graph can
    hold: the inverse by Newton's iteration (Ben-Israel, Math. Comp. 19, 1965, equation 1), and one
    step of iterative refinement.

    Args:
        gram: ``(..., n, n)``.
        target: ``(..., n, m)``.

    Returns:
        ``(..., n, m)``.
    """
    if not _iterates(gram):
        return torch.linalg.solve_ex(gram, target)[0]  # which does not wait for a GPU
    size = gram.shape[-1]
    many, wanted = gram.reshape(-1, size, size), target.reshape(-1, size, target.shape[-1])
    # The largest sum of a row is no less than the largest eigenvalue.
    bound = many.abs().sum(-1).amax(-1)[:, None, None]
    inverse = torch.eye(size, dtype=gram.dtype, device=gram.device) / bound
    for _ in range(ITERATIONS):
        inverse = torch.baddbmm(inverse, inverse, many @ inverse, beta=2, alpha=-1)
    solved = inverse @ wanted
    solved = torch.baddbmm(solved, inverse, torch.baddbmm(wanted, many, solved, alpha=-1))
    return solved.view(target.shape)


def _iterates(gram: Tensor) -> bool:
    return gram.is_cuda and not torch.is_grad_enabled()
