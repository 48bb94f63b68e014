"""Linear systems by products of matrices alone, as a CUDA graph can hold them."""

from __future__ import annotations

import pytest
import torch

from c3det.open import ridge


@pytest.mark.parametrize("most", [1.0, 30.0, 3000.0])
def test_both_ways_solve(monkeypatch: pytest.MonkeyPatch, most: float) -> None:
    """Eigenvalues from 0.1, a ridge, to the most that many clicks give."""
    torch.manual_seed(0)
    turned = torch.linalg.qr(torch.randn(2, 3, 48, 48, dtype=torch.float64))[0]
    values = torch.logspace(-1, torch.tensor(most).log10(), 48, dtype=torch.float64)
    gram = (turned * values) @ turned.transpose(-1, -2)
    wanted = torch.randn(2, 3, 48, 5, dtype=torch.float64)
    exact = gram @ wanted
    for iterates in (False, True):
        monkeypatch.setattr(ridge, "_iterates", lambda gram, iterates=iterates: iterates)
        found = ridge.solve(gram.float(), exact.float())
        error = (found - wanted).norm() / wanted.norm()
        assert error < 1e-6 * most / 0.1


def test_nothing_is_wanted_of_what_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "_iterates", lambda gram: True)
    found = ridge.solve(torch.eye(7)[None] * 0.1, torch.zeros(1, 7, 2))
    assert torch.equal(found, torch.zeros(1, 7, 2))
