"""Find the patch: a decision problem for debugging agents, without videos and networks, whose best action is known.

One cell of a g×g map is lit, and choosing the patch there pays 1; any other pays 0. Everything else is as in patch
selection, whose code this is: an agent that learns there runs here unchanged, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.envs.patch_selection import PatchSelectionVectorEnv
from adafocus_rl.envs.rewards import RewardConfig
from adafocus_rl.envs.single import PatchSelectionEnv, RenderMode
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures, video_order
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.classifiers import Classifier
from adafocus_rl.seeding import derive_seed

CELL_SIDE = 8
"""Side of a cell, and of a patch, in pixels of the made-up frames."""

_CERTAIN = 1000.0
"""A difference of logits whose softmax is exactly 0 and 1 in float32."""


class FindThePatchEpisodes(EpisodeFeatures):
    """Rows of a :class:`FindThePatchSource`; a patch's feature is 1 where it pays and 0 elsewhere."""

    def __init__(self, source: FindThePatchSource, videos: Tensor) -> None:
        self.videos = videos.to(source.device)
        self.cells = source.cells[self.videos]
        self.labels = torch.ones_like(self.videos)
        self.multi_hot = torch.nn.functional.one_hot(self.labels, source.num_classes).float()
        self.true_boxes = source.grid.box(source.grid.action_origin(self.cells)).float()
        lit = torch.nn.functional.one_hot(self.cells, source.grid.num_actions).float()
        self.global_vector = lit * source.shown[:, None]
        self.global_map = self.global_vector.unflatten(-1, source.map_shape)
        self.pays = source.pays.expand_as(self.cells).contiguous()
        self._grid = source.grid

    def local_at(self, step: Tensor, action: Tensor) -> Tensor:
        """(B, M, 1) or (B, M, K, 1): whether the actions (B, M) or (B, M, K) are right in the frames (B, M)."""
        right, pays = self.cells.gather(1, step), self.pays.gather(1, step)
        if action.ndim > step.ndim:
            right, pays = right[..., None], pays[..., None]
        return ((action == right) * pays)[..., None].float()

    def local_at_position(self, step: Tensor, position: Tensor) -> Tensor:
        """As :meth:`local_at`, for the grid position nearest to each (B, M, 2) or (B, M, K, 2)."""
        return self.local_at(step, self._grid.action(position))

    def full(self) -> Tensor:
        """(B, T, 1): a whole frame holds the right patch wherever there is one."""
        return self.pays[..., None].float()


class FindThePatchSource:
    """A :class:`~adafocus_rl.features.source.FeatureSource` of N = A · ``videos_per_patch`` made-up videos.

    In every frame each of the A positions is lit in equally many videos, so that what an agent earns without looking
    is known exactly, too.

    Args:
        grid: g, at least 2; map cells and patch positions coincide.
        num_frames: T, at least 1, and 2 with ``memory``.
        memory: light the cell in the first frame only; else another one in every frame.
        videos_per_patch: videos for each position.
        seed: of the shuffled order of :meth:`batches`.
        device: where the tensors are.

    Attributes:
        cells: (N, T) int64, the right action.
        shown: (T,) float32, 1 where the map shows it.
        pays: (T,) bool, where it is paid for: everywhere, but for the first frame with ``memory``.
    """

    def __init__(
        self,
        *,
        grid: int = 3,
        num_frames: int = 4,
        memory: bool = False,
        videos_per_patch: int = 32,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        least = 2 if memory else 1
        for name, value, minimum in (
            ("grid", grid, 2),
            ("num_frames", num_frames, least),
            ("videos_per_patch", videos_per_patch, 1),
        ):
            if value < minimum:
                raise UserError(f"FindThePatch's {name} is {value}; give at least {minimum}")
        self.device = torch.device(device)
        self.seed = seed
        self.grid = PatchGrid(grid=grid, frame_size=grid * CELL_SIDE, patch_size=CELL_SIDE)
        self.num_steps, self.num_classes = num_frames, 2
        self.map_shape, self.vector_dim, self.local_dim = (1, grid, grid), grid * grid, 1
        self.has_boxes, self.any_position = True, True
        self.failed: list[tuple[str, str]] = []
        every = torch.arange(self.grid.num_actions).repeat(videos_per_patch)
        self._videos = torch.arange(len(every))
        draw = torch.Generator().manual_seed(derive_seed("find the patch"))
        frames = [every[torch.randperm(len(every), generator=draw)] for _ in range(1 if memory else num_frames)]
        self.cells = torch.stack(frames, dim=1).expand(-1, num_frames).contiguous().to(self.device)
        first = torch.arange(num_frames, device=self.device) == 0
        self.shown = first.float() if memory else torch.ones(num_frames, device=self.device)
        self.pays = ~first if memory else torch.ones_like(first)

    @property
    def videos(self) -> Tensor:
        """(N,) int64, all rows."""
        return self._videos

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> FindThePatchEpisodes:
        """The given rows (B,), the same in every epoch."""
        return FindThePatchEpisodes(self, videos)

    def batches(self, batch_size: int, *, epoch: int | None = None) -> Iterator[FindThePatchEpisodes]:
        """All rows once."""
        for videos in video_order(self.videos, seed=self.seed, epoch=epoch).split(batch_size):
            yield self.episodes(videos)

    def frames(self, video: int) -> Tensor:
        """(T, 3, S, S) uint8 pictures of a row's maps: black, the lit cell white."""
        maps = self.episodes(torch.tensor([video])).global_map[0].mul(255).to(torch.uint8).cpu()
        large = maps.repeat_interleave(CELL_SIDE, -1).repeat_interleave(CELL_SIDE, -2)
        return large.expand(-1, 3, -1, -1).contiguous()


class FoundOrNot(Classifier):
    """The f_C of this environment: certain of class 1 (found) after the right patch, of class 0 after any other."""

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self.input_dim, self.num_classes, self.state_dim = input_dim, 2, 1

    def sequence(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """(B, T, 1), the patches' features; the past does not matter."""
        return x[..., -1:]

    def cell(self, x: Tensor, state: Tensor) -> Tensor:
        """(N, 1), the patches' features."""
        return x[..., -1:]

    def logits(self, states: Tensor) -> Tensor:
        """(…, 2) of features (…, 1) that are 0 or 1."""
        return torch.cat((torch.zeros_like(states), _CERTAIN * (2 * states - 1)), dim=-1)


class FindThePatchVectorEnv(PatchSelectionVectorEnv):
    """B episodes of T frames side by side; a :class:`~adafocus_rl.envs.PatchSelectionVectorEnv` in everything.

    Observation: the map (B, 1, g, g) float32, 1 in the lit cell and 0 elsewhere (as a vector, the same numbers
    flattened). Action: a position, (B,) int64 (continuous ones count as the nearest).
    Reward: 1 for the lit cell's position, else 0.

    - ``memory=False``: a cell is lit in every frame, independently. The best return is T, without any memory; an
      agent that does not look earns T/A.
    - ``memory=True``: the cell is lit in the first frame, which pays nothing, and must be chosen at each of the T − 1
      steps after it, when the map is dark. The best return is T − 1. Without memory all dark frames look the same,
      whichever cell was lit, and an action is right in one video out of A: whatever such an agent does, it earns
      (T − 1)/A on average over a pass. (Observing one's last action would be a memory.)

    Args:
        num_envs: B.
        grid: g; there are A = g² actions.
        num_frames: T.
        memory: which variant.
        videos_per_patch: length of a pass is A times as many episodes.
        shuffle: a new order in every pass.
        seed: of the order.
        device: where everything is.
        autoreset_mode: as in patch selection.
        **options: other keyword arguments of :class:`~adafocus_rl.envs.PatchSelectionVectorEnv`.

    Raises:
        UserError: a number out of range.
    """

    def __init__(
        self,
        *,
        num_envs: int = 64,
        grid: int = 3,
        num_frames: int = 4,
        memory: bool = False,
        videos_per_patch: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        device: torch.device | str = "cpu",
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        **options: Any,
    ) -> None:
        source = FindThePatchSource(
            grid=grid,
            num_frames=num_frames,
            memory=memory,
            videos_per_patch=videos_per_patch,
            seed=seed,
            device=device,
        )
        super().__init__(
            source,
            FoundOrNot(source.vector_dim + source.local_dim),
            num_envs=num_envs,
            reward=RewardConfig(kind="confidence"),
            shuffle=shuffle,
            seed=seed,
            autoreset_mode=autoreset_mode,
            frames=source.frames,
            **options,
        )
        self.memory = memory
        self.best_return = float(source.pays.sum())
        """T, or T − 1 with ``memory``."""
        self.best_return_without_memory = self.best_return / source.grid.num_actions if memory else self.best_return
        """T, or (T − 1)/A with ``memory``; the mean over a pass."""


class FindThePatchEnv(PatchSelectionEnv):
    """``AdaFocus/FindThePatch-v0``: :class:`FindThePatchVectorEnv` with B = 1 and NumPy.

    Args:
        render_mode: as in :class:`~adafocus_rl.envs.PatchSelectionEnv`.
        flatten: as there.
        **options: keyword arguments of :class:`FindThePatchVectorEnv`, but ``num_envs`` and ``autoreset_mode``.
    """

    def __init__(self, *, render_mode: RenderMode | None = None, flatten: bool = True, **options: Any) -> None:
        env = FindThePatchVectorEnv(num_envs=1, autoreset_mode=AutoresetMode.DISABLED, **options)
        super().__init__(env, render_mode=render_mode, flatten=flatten)
