"""The networks of other runs, on the videos of an environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import gymnasium as gym
import torch
from torch import Tensor

from adafocus_rl.checkpoint import tensors_hash
from adafocus_rl.data.index import VideoIndex
from adafocus_rl.envs import DecisionProblem, PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.features import EpisodeFeatures, FeatureBank, FeatureSource, index_of

ENVIRONMENT = "adafocus_rl:AdaFocus/PatchSelection-v0"
"""Opens the recogniser, the features and the decision problem of a run folder."""

SPLITS: tuple[Literal["val", "train"], ...] = ("val", "train")
"""Where the videos are looked for, in order."""


class OtherRuns:
    """The decision problems of other runs, which are opened when they are first needed.

    Args:
        folders: run folders.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = list(folders)
        self._opened: dict[tuple[str, str], tuple[PatchSelectionVectorEnv, dict[str, int]]] = {}

    def held_out(
        self, source: FeatureSource, problem: DecisionProblem, videos: Tensor
    ) -> Iterator[tuple[Tensor, DecisionProblem, EpisodeFeatures]]:
        """Yield, for each run, which of the videos its validation list has, its problem, and its features of these.

        The networks of a run were not trained on its validation videos.

        Args:
            source: the features whose rows ``videos`` are.
            problem: the decision problem on them.
            videos: (B,) int64.

        Yields:
            Indices (R,) int64 into ``videos``, the run's problem, and features of these R videos.

        Raises:
            UserError: as ``episodes``, or a video is in no run's validation list.
        """
        index = _index(source)
        paths = [_path(index, video) for video in videos.tolist()]
        left = {*paths}
        for folder in self.folders:
            env, known = self._open(folder, "val")
            places = [place for place, path in enumerate(paths) if path in known]
            if not places or _same(env, source, problem):
                continue
            _check(folder, env.source, source, index)
            episodes = env.source.episodes(torch.tensor([known[paths[place]] for place in places]))
            left -= {paths[place] for place in places}
            yield torch.tensor(places, device=videos.device), env.problem, env.problem.prepare(episodes)
        if left:
            raise UserError(
                f"{min(left)} is in the validation list of none of the runs {', '.join(self.folders)}; name a run of "
                "every other fold"
            )

    def episodes(
        self, source: FeatureSource, problem: DecisionProblem, videos: Tensor
    ) -> list[tuple[DecisionProblem, EpisodeFeatures]]:
        """Return each run's problem and its features of the same videos, found by their paths in the run's lists.

        A run is left out if it is the one that the features come from: if both read one bank, or have the same f_C.

        Args:
            source: the features whose rows ``videos`` are.
            problem: the decision problem on them.
            videos: (B,) int64.

        Raises:
            UserError: the list of the source is not known, a run cannot be opened, lacks a video, or has other frames
                or patches, or no run is left.
        """
        index = _index(source)
        found: list[tuple[DecisionProblem, EpisodeFeatures]] = []
        for folder in self.folders:
            env, rows = self._lookup(folder, index, videos.tolist())
            if not _same(env, source, problem):
                _check(folder, env.source, source, index)
                episodes = env.source.episodes(torch.tensor(rows))
                found.append((env.problem, env.problem.prepare(episodes)))
        if not found:
            raise UserError(
                f"the runs {', '.join(self.folders)} are the one that is measured; name a run of another fold or seed"
            )
        return found

    def _lookup(
        self, folder: str, index: VideoIndex, videos: Sequence[int]
    ) -> tuple[PatchSelectionVectorEnv, list[int]]:
        wanted = [_path(index, video) for video in videos]
        missing = ""
        for split in SPLITS:
            env, known = self._open(folder, split)
            missing = next((path for path in wanted if path not in known), "")
            if not missing:
                return env, [known[path] for path in wanted]
        raise UserError(f"{folder} has no {missing} in its lists; name a run with the videos that are measured")

    def _open(self, folder: str, split: str) -> tuple[PatchSelectionVectorEnv, dict[str, int]]:
        """Return the run's environment on a split, and the row of each video by its path."""
        if (folder, split) not in self._opened:
            threads = torch.get_num_threads()
            env = gym.make_vec(ENVIRONMENT, num_envs=1, run=folder, split=split)
            torch.set_num_threads(threads)  # opening a run sets its own number
            assert isinstance(env, PatchSelectionVectorEnv)
            index = index_of(env.source)
            assert index is not None  # the source of a run is made from its list
            self._opened[folder, split] = env, {_path(index, row): row for row in env.source.videos.tolist()}
        return self._opened[folder, split]


def _index(source: FeatureSource) -> VideoIndex:
    index = index_of(source)
    if index is None:
        raise UserError(
            "other runs find videos by their paths, but these features come from no list; leave the agent's option "
            "runs out"
        )
    return index


def _path(index: VideoIndex, row: int) -> str:
    return str(index.full_path(row).resolve())


def _same(env: PatchSelectionVectorEnv, source: FeatureSource, problem: DecisionProblem) -> bool:
    """Whether a run's problem is the one that is measured, perhaps with an f_C that was fine-tuned since."""
    theirs, one_bank = env.source, False
    if isinstance(theirs, FeatureBank) and isinstance(source, FeatureBank):
        # In a shared store, several runs have the same folder.
        one_bank = not theirs.store.shared and theirs.folder.resolve() == source.folder.resolve()
    return one_bank or tensors_hash(env.classifier) == tensors_hash(problem.classifier)


def _check(folder: str, theirs: FeatureSource, ours: FeatureSource, index: VideoIndex) -> None:
    """Refuse a run with other steps, actions or classes.

    Raises:
        UserError: if the number of frames, the patches or the classes differ.
    """
    other = index_of(theirs)
    assert other is not None
    for what, there, here in (
        ("frames in a clip", theirs.num_steps, ours.num_steps),
        ("patches", repr(theirs.grid), repr(ours.grid)),
        ("classes", other.class_names or theirs.num_classes, index.class_names or ours.num_classes),
    ):
        if there != here:
            raise UserError(f"{folder} has other {what}: {there}, where the run that is measured has {here}")
