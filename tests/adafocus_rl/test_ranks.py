"""What the processes of one job compute together equals what one process computes alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adafocus_rl import ranks
from tests.two_ranks import on_ranks


def together() -> dict[str, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    unused = torch.nn.Parameter(torch.ones(2))
    inputs = torch.randn(7, 3)
    part = ranks.own_part(len(inputs))
    mine = inputs[part]
    (model(mine).square().sum(1).mean() * len(mine) / len(inputs)).backward()
    ranks.sum_gradients([*model.parameters(), unused])
    return {
        "rank": (ranks.rank(), ranks.local_rank(), ranks.world(), ranks.is_first()),
        "own": list(ranks.own(range(7))),
        "total": ranks.total(torch.tensor([1.0, ranks.rank()])).tolist(),
        "gather": ranks.gather(("rank", ranks.rank())),
        "first": ranks.from_first(10 + ranks.rank()),
        "gradient": model.weight.grad.tolist(),  # type: ignore[union-attr]
        "unused": None if unused.grad is None else unused.grad.tolist(),
    }


def test_alone_nothing_is_communicated() -> None:
    alone = together()
    assert alone["rank"] == (0, 0, 1, True)
    assert alone["own"] == [*range(7)]
    assert alone["total"] == [1.0, 0.0]
    assert alone["gather"] == [("rank", 0)]
    assert alone["first"] == 10


def test_two_ranks_compute_what_one_does() -> None:
    alone = together()
    first, second = on_ranks(together)
    assert first["rank"] == (0, 0, 2, True)
    assert second["rank"] == (1, 1, 2, False)
    assert first["own"] + second["own"] == alone["own"]
    assert len(first["own"]) == 3
    for found in (first, second):
        assert found["total"] == [2.0, 1.0]
        assert found["gather"] == [("rank", 0), ("rank", 1)]
        assert found["first"] == 10
        assert torch.allclose(torch.tensor(found["gradient"]), torch.tensor(alone["gradient"]), atol=1e-6)
        assert found["unused"] == [0.0, 0.0]


@pytest.mark.filterwarnings("ignore")
def test_a_rank_that_waits_in_vain_raises() -> None:
    with pytest.raises(Exception, match=r"(?i)timed out|timeout|closed"):
        on_ranks(late, timeout=2.0)


def late() -> None:
    import time

    if not ranks.is_first():
        time.sleep(10)
    ranks.wait()
