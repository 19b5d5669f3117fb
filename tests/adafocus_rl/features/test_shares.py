"""Every rank has its part of each training batch, and the parts together are the batches of one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.errors import UserError
from adafocus_rl.features.shares import own_parts
from adafocus_rl.features.source import Share, own_share
from tests.conftest import MadeUpEpisodes, MadeUpFeatures
from tests.two_ranks import on_ranks

UNDECODABLE = [0, 1, 5, 6, 7]
"""Videos that turn out to be undecodable when they are read."""


class SomeUndecodable(MadeUpFeatures):
    """Leaves out undecodable videos, as live features do."""

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> MadeUpEpisodes:
        if {*videos.tolist()} & {*UNDECODABLE}:
            raise UserError("cannot decode")
        return super().episodes(videos, epoch=epoch)

    def batches(
        self, batch_size: int, *, epoch: int | None = None, share: Share | None = None
    ) -> Iterator[MadeUpEpisodes]:
        for rows in own_share(self.videos.split(batch_size), share):
            usable = [row for row in rows.tolist() if row not in UNDECODABLE]
            yield MadeUpEpisodes(self, torch.tensor(usable, dtype=torch.int64))


def parts() -> dict[str, Any]:
    """Return what a rank gets, and what the ranks compute of it together."""
    found: dict[str, Any] = {}
    for name, source in (("all", MadeUpFeatures(videos=8)), ("some", SomeUndecodable(videos=11))):
        parts = [*own_parts(source, {"all": 7, "some": 2}[name])]
        found[name] = [(part.videos.tolist(), part.share) for part in parts]
        found[f"{name} joined"] = [part.join(part.videos).tolist() for part in parts]
    whole = MadeUpFeatures(videos=4).episodes(torch.arange(4))
    found["whole"] = whole.share
    found["joined"] = ranks.join(torch.arange(3)[:, None] + 10 * ranks.rank())[:, 0].tolist()
    found["bool"] = ranks.join(torch.ones(ranks.rank(), dtype=torch.bool)).tolist()
    value = torch.tensor(1.0 + ranks.rank(), requires_grad=True)
    ranks.added(value).square().mul(0.5 / ranks.world()).backward()
    found["gradient"] = value.grad.item() if value.grad is not None else None
    return found


def test_one_process_has_the_batches() -> None:
    alone = parts()
    assert alone["all"] == [([*range(7)], 1.0), ([7], 1.0)]
    assert alone["all joined"] == [[*range(7)], [7]]
    assert alone["whole"] == 1
    assert alone["joined"] == [0, 1, 2]
    assert alone["gradient"] == 1.0


def test_two_ranks_have_parts_with_shares() -> None:
    first, second = on_ranks(parts)
    # Of the last batch, the first rank has no video: another one stands in for it.
    assert first["all"] == [([0, 1, 2], 3 / 7), ([0], 0.0)]
    assert second["all"] == [([3, 4, 5, 6], 4 / 7), ([7], 1.0)]
    # Nothing is left of the batches (0, 1) and (6, 7), and one video of (4, 5) and of (10,).
    assert first["some"] == [([2], 0.5), ([4], 1.0), ([8], 0.5), ([8], 0.0)]
    assert second["some"] == [([3], 0.5), ([3], 0.0), ([9], 0.5), ([10], 1.0)]
    for found in (first, second):
        assert found["all joined"] == [[*range(7)], [7]]
        assert found["some joined"] == [[2, 3], [4], [8, 9], [10]]
        assert found["whole"] == 0.5
        assert found["joined"] == [0, 1, 2, 10, 11, 12]
        assert found["bool"] == [True]
        # The sum is 3; both ranks' losses depend on each value, and together they are the half of its square.
        assert found["gradient"] == 3.0
