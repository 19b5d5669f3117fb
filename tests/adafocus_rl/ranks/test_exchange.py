"""What the processes of one job compute together equals what one process computes alone."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import torch

from adafocus_rl import ranks
from adafocus_rl.errors import UserError
from tests.two_ranks import on_ranks


def together() -> dict[str, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    unused, of_one = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    inputs = torch.randn(7, 3)
    part = ranks.own_part(len(inputs))
    mine = inputs[part]
    (model(mine).square().sum(1).mean() * len(mine) / len(inputs)).backward()
    if ranks.rank() == ranks.world() - 1:
        of_one.grad = torch.tensor([3.0, 4.0])
    ranks.sum_gradients([*model.parameters(), unused, of_one])
    drifted = torch.nn.Linear(2, 1)
    with torch.no_grad():
        drifted.weight.fill_(5.0 + ranks.rank())
    ranks.copy_first(drifted.parameters())
    rows = torch.arange(ranks.part_sizes(7)[ranks.rank()]) + 10 * ranks.rank()
    return {
        "rank": (ranks.rank(), ranks.local_rank(), ranks.world(), ranks.is_first()),
        "own": list(ranks.own(range(7))),
        "total": ranks.total(torch.tensor([1.0, ranks.rank()])).tolist(),
        "gather": ranks.gather(("rank", ranks.rank())),
        "first": ranks.from_first(10 + ranks.rank()),
        "gradient": model.weight.grad.tolist(),  # type: ignore[union-attr]
        "unused": unused.grad,
        "of one": of_one.grad.tolist(),  # type: ignore[union-attr]
        "copied": drifted.weight.tolist(),
        "counts": ranks.counts(ranks.rank() + 5),
        "joined": [ranks.join(rows, lengths).tolist() for lengths in (None, ranks.part_sizes(7))],
    }


def test_alone_nothing_is_communicated() -> None:
    alone = together()
    assert alone["rank"] == (0, 0, 1, True)
    assert alone["own"] == [*range(7)]
    assert alone["total"] == [1.0, 0.0]
    assert alone["gather"] == [("rank", 0)]
    assert alone["first"] == 10
    assert alone["counts"] == [5]
    assert alone["joined"] == [[*range(7)]] * 2


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
        assert found["unused"] is None
        assert found["of one"] == [3.0, 4.0]
        assert found["copied"] == [[5.0, 5.0]]
        assert found["counts"] == [5, 6]
        assert found["joined"] == [[0, 1, 2, 10, 11, 12, 13]] * 2


def alone_and_slow() -> tuple[int, list[int], str]:
    """What the first rank does alone for longer than the timeout, while the others wait."""

    def work() -> tuple[int, list[int]]:
        time.sleep(3.5)
        ranks.wait()  # communicates with nobody
        return ranks.world(), ranks.gather(7)

    world, gathered = ranks.first(work)
    for _ in range(5):
        if not ranks.is_first():
            time.sleep(0.7)
            ranks.beat()
    ranks.wait()
    return world, gathered, "waited"


@pytest.mark.long
@pytest.mark.slow
def test_a_slow_rank_is_waited_for_as_long_as_it_goes_on() -> None:
    assert on_ranks(alone_and_slow, timeout=2.0) == [(1, [7], "waited")] * 2


def late() -> None:
    if not ranks.is_first():
        time.sleep(100)
    ranks.wait()


@pytest.mark.filterwarnings("ignore")
def test_a_rank_that_hangs_ends_the_job() -> None:
    with pytest.raises(Exception, match="RankError: rank 1 of 2 has given no sign of life for 2 s"):
        on_ranks(late, timeout=2.0)


def gone() -> None:
    if not ranks.is_first():
        os._exit(0)
    ranks.wait()


@pytest.mark.filterwarnings("ignore")
def test_a_rank_that_ends_without_a_word_is_named() -> None:
    with pytest.raises(Exception, match=r"RankError: (rank 1|another rank) of 2 has ended without a message"):
        on_ranks(gone)


def mistaken() -> None:
    """Each rank raises an error of its own, at its own time; the first of them is reported."""
    if not ranks.is_first():
        raise UserError("the mistake")
    try:
        ranks.wait()
    except UserError as error:
        raise UserError("a consequence") from error


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_first_error_is_the_one_that_is_reported() -> None:
    with pytest.raises(Exception, match="UserError: the mistake"):
        on_ranks(mistaken)
