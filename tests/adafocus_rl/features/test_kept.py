"""Kept patches alone: the same features, and f_L sees nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.features import LiveFeatures
from adafocus_rl.features.live import LiveEpisodes
from adafocus_rl.models.recognizer import Recognizer

MakeDataset = Callable[..., ClipDataset]
MakeRecognizer = Callable[..., Recognizer]
Seen = tuple[LiveEpisodes, list[int]]


@pytest.fixture
def seen(shared_list: Path, make_dataset: MakeDataset, make_recognizer: MakeRecognizer) -> Seen:
    """Four videos of three frames, and the number of patches in each call of f_L."""
    recognizer = make_recognizer()
    live = LiveFeatures(recognizer, make_dataset(shared_list), device=torch.device("cpu"))
    episodes = live.episodes(torch.tensor([4, 0, 3, 1]))
    rows: list[int] = []

    def spy(_: Any, inputs: tuple[Tensor, ...]) -> None:
        rows.append(len(inputs[0]))

    recognizer.focus.register_forward_pre_hook(spy)
    return episodes, rows


KEEP = torch.tensor([[True, False, True], [False, False, False], [False, True, False], [True, True, True]])


@pytest.mark.parametrize("continuous", [False, True])
def test_f_l_runs_on_the_kept_patches_alone(seen: Seen, continuous: bool) -> None:
    episodes, rows = seen
    steps = torch.tensor([0, 2, 1]).expand(4, -1)
    patch = torch.rand(4, 3, 2) if continuous else torch.randint(9, (4, 3))
    found = episodes.kept_local_at(steps, patch, KEEP)
    assert rows == [6]
    everything = episodes.local_at_position(steps, patch) if continuous else episodes.local_at(steps, patch)
    assert rows == [6, 12]
    torch.testing.assert_close(found[KEEP], everything[KEEP])
    assert found[~KEEP].eq(0).all()
    assert everything[~KEEP].ne(0).any()


def test_f_l_is_not_called_where_nothing_is_kept(seen: Seen) -> None:
    episodes, rows = seen
    steps = torch.arange(3).expand(4, -1)
    found = episodes.kept_local_at(steps, torch.zeros_like(steps), torch.zeros_like(steps, dtype=torch.bool))
    assert rows == []
    assert found.shape == (4, 3, episodes.recognizer.focus.vector_dim)
    assert not found.any()
