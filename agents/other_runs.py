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
            for places, env, episodes in self._found(folder, ("val",), source, problem, paths)[0]:
                left -= {paths[place] for place in places}
                yield torch.tensor(places, device=videos.device), env.problem, episodes
        if left:
            raise UserError(
                f"{min(left)} is in the validation list of none of the runs {', '.join(self.folders)}; name a run of "
                "every other fold"
            )

    def episodes(
        self, source: FeatureSource, problem: DecisionProblem, videos: Tensor
    ) -> list[tuple[Tensor, DecisionProblem, EpisodeFeatures]]:
        """Return the problems of all runs with their features of the same videos, found by their paths in the lists.

        The training videos of a fold are partly validation videos of another, so a run may appear twice.

        Args:
            source: the features whose rows ``videos`` are.
            problem: the decision problem on them.
            videos: (B,) int64.

        Returns:
            Indices (R,) int64 into ``videos``, the run's problem, and features of these R videos. Each run has each
            video once; the run that the features come from is left out: if both read one bank, or have the same f_C.

        Raises:
            UserError: the list of the source is not known, a run cannot be opened, lacks a video, or has other frames
                or patches, or no run is left.
        """
        index = _index(source)
        paths = [_path(index, video) for video in videos.tolist()]
        found: list[tuple[Tensor, DecisionProblem, EpisodeFeatures]] = []
        for folder in self.folders:
            parts, missing = self._found(folder, SPLITS, source, problem, paths)
            if missing:
                raise UserError(
                    f"{folder} has no {missing[0]} in its lists; name a run with the videos that are measured"
                )
            found += [
                (torch.tensor(places, device=videos.device), env.problem, episodes) for places, env, episodes in parts
            ]
        if not found:
            raise UserError(
                f"the runs {', '.join(self.folders)} are the one that is measured; name a run of another fold or seed"
            )
        return found

    def _found(
        self,
        folder: str,
        splits: Sequence[Literal["val", "train"]],
        source: FeatureSource,
        problem: DecisionProblem,
        paths: Sequence[str],
    ) -> tuple[list[tuple[list[int], PatchSelectionVectorEnv, EpisodeFeatures]], list[str]]:
        """Return, for each list of a run, the videos that no list before it has, and the paths that are in none.

        Videos are their indices into the paths, the list's environment, and its features. Both are empty for the run
        that is measured.
        """
        left, found = [*range(len(paths))], []
        for split in splits:
            if not left:
                break
            env, known = self._open(folder, split)
            places = [place for place in left if paths[place] in known]
            if not places:
                continue
            if _same(env, source, problem):
                return [], []
            _check(folder, env.source, source, _index(source))
            episodes = env.source.episodes(torch.tensor([known[paths[place]] for place in places]))
            found.append((places, env, env.problem.prepare(episodes)))
            left = [place for place in left if paths[place] not in known]
        return found, [paths[place] for place in left]

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
