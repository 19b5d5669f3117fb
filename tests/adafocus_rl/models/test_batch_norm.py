"""Batch normalisation over the rows of all ranks is that of one process with all rows."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from adafocus_rl import ranks
from adafocus_rl.models.batch_norm import BatchNorm, VectorNorm, statistics_of_all_ranks

EXACT = {"rtol": 1e-4, "atol": 1e-5}


class _Job:
    """Ranks as threads of this process: sums go through a list."""

    def __init__(self, world: int) -> None:
        self.world = world
        self.barrier = threading.Barrier(world, timeout=30)
        self.values: list[Tensor] = []

    def total(self, value: Tensor) -> Tensor:
        self.barrier.wait()
        self.values.append(value.detach())
        self.barrier.wait()
        found = torch.stack(sorted(self.values, key=lambda one: one.sum().item())).sum(0)
        if self.barrier.wait() == 0:
            self.values.clear()
        self.barrier.wait()
        return found


@pytest.fixture
def on_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Tensor, Tensor, BatchNorm]]]:
    """Normalise rows and go back from weighted sums of the results, each rank in a thread."""

    def run(
        norm: BatchNorm, rows: Sequence[Tensor], upstream: Sequence[Tensor], shares: Sequence[float]
    ) -> list[tuple[Tensor, Tensor, BatchNorm]]:
        job = _Job(len(rows))
        monkeypatch.setattr(ranks, "world", lambda: job.world)
        monkeypatch.setattr(ranks, "total", job.total)

        def one(own: BatchNorm, x: Tensor, weights: Tensor, share: float) -> tuple[Tensor, Tensor, BatchNorm]:
            x = x.clone().requires_grad_()
            with statistics_of_all_ranks(own, share):
                found = own(x)
            (found * weights).sum().backward()
            assert x.grad is not None
            return found.detach(), x.grad, own

        with ThreadPoolExecutor(len(rows)) as pool:
            return list(pool.map(one, [copy.deepcopy(norm) for _ in rows], rows, upstream, shares))

    return run


def _norm(kind: type[BatchNorm], **options: bool) -> BatchNorm:
    norm = kind(3, **options)
    if norm.affine:
        norm.weight.data, norm.bias.data = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0.1, 0.2, -0.3])
    return norm.train()


def _rows(count: int, seed: int, *size: int) -> Tensor:
    return 5 + 2 * torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": False}])
@pytest.mark.parametrize(
    ("kind", "size", "counts"),
    [
        (nn.BatchNorm2d, (4, 2), (3, 3)),
        (nn.BatchNorm2d, (2, 2), (5, 1)),
        (nn.BatchNorm2d, (2, 2), (4, 0)),
        (VectorNorm, (), (2, 1, 3)),
    ],
)
def test_all_ranks_make_one_batch(
    on_threads: Callable[..., list[tuple[Tensor, Tensor, BatchNorm]]], kind: type[BatchNorm], size: tuple[int, ...],
    counts: tuple[int, ...], options: dict[str, bool],
) -> None:  # fmt: skip
    norm = _norm(kind, **options)
    rows = [_rows(count, seed, *size) for seed, count in enumerate(counts)]
    upstream = [_rows(count, 10 + seed, *size) for seed, count in enumerate(counts)]
    found = on_threads(norm, rows, upstream, [1.0] * len(rows))
    ((expected, of_x, alone),) = on_threads(norm, [torch.cat(rows)], [torch.cat(upstream)], [1.0])
    torch.testing.assert_close(torch.cat([part for part, _, _ in found]), expected, **EXACT)
    torch.testing.assert_close(torch.cat([part for _, part, _ in found]), of_x, **EXACT)
    if norm.affine:
        for name in ("weight", "bias"):
            parts = [own.get_parameter(name).grad for _, _, own in found]
            torch.testing.assert_close(torch.stack(parts).sum(0), alone.get_parameter(name).grad, **EXACT)
    for _, _, own in found:
        for name, value in alone.named_buffers():
            torch.testing.assert_close(own.get_buffer(name), value, **EXACT)
    plain = copy.deepcopy(norm)
    x = torch.cat(rows).requires_grad_()
    assert torch.allclose(plain(x), expected, **EXACT)
    for name, value in plain.named_buffers():
        torch.testing.assert_close(alone.get_buffer(name), value, **EXACT)


def test_rows_without_a_share_are_normalised_and_do_not_count(
    on_threads: Callable[..., list[tuple[Tensor, Tensor, BatchNorm]]],
) -> None:
    norm, rows = _norm(nn.BatchNorm2d), [_rows(4, 0, 2, 2), _rows(4, 1, 2, 2)]
    upstream = [torch.ones_like(rows[0]), torch.zeros_like(rows[1])]
    (one, of_one, own), (other, of_other, _) = on_threads(norm, rows, upstream, [1.0, 0.0])
    ((expected, of_x, alone),) = on_threads(norm, rows[:1], upstream[:1], [1.0])
    torch.testing.assert_close(one, expected, **EXACT)
    torch.testing.assert_close(of_one, of_x, **EXACT)
    torch.testing.assert_close(own.running_var, alone.running_var, **EXACT)
    scale = norm.weight / (rows[0].var((0, 2, 3), correction=0) + norm.eps).sqrt()
    centred = rows[1] - rows[0].mean((0, 2, 3), keepdim=True)
    torch.testing.assert_close(other, centred * scale[:, None, None] + norm.bias[:, None, None], **EXACT)
    assert torch.equal(of_other, torch.zeros_like(of_other))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_single_row_is_normalised_by_running_statistics(
    on_threads: Callable[..., list[tuple[Tensor, Tensor, BatchNorm]]], momentum: float | None
) -> None:
    norm = _norm(VectorNorm)
    norm.momentum = momentum
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.fill_(4.0)
    norm.running_var.fill_(9.0)
    row = _rows(1, 0)
    found = on_threads(norm, [row, row[:0]], [torch.ones_like(row), row[:0]], [1.0, 1.0])
    scale = norm.weight / (9 + norm.eps) ** 0.5
    torch.testing.assert_close(found[0][0], (row - 4) * scale + norm.bias, **EXACT)
    torch.testing.assert_close(found[0][1], scale[None], **EXACT)
    for _, _, own in found:
        assert torch.equal(own.running_mean, norm.running_mean)
        assert torch.equal(own.running_var, norm.running_var)
        assert own.num_batches_tracked == 0
