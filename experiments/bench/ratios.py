"""``adafocus bench``: what the project claims to be fast against plain implementations, as ratios of paired timings."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from adafocus_rl.agents import PPOAgent
from adafocus_rl.data.decode import decode_frames
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.experiments.bench.decode_loops import (
    clip_indices,
    made_avi,
    made_folder,
    made_video,
    opencv_loop,
    pillow_loop,
    pyav_loop,
)
from adafocus_rl.experiments.bench.synthetic import paper_bank
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.experiments.config.stages import StillsConfig
from adafocus_rl.experiments.run.features import open_bank
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.features import FeatureSource, LiveFeatures
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models.classifiers import create_classifier
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.seeding import seed_all

VIDEOS = 32
"""Number of videos in the benchmarks that need some."""

PAPER_VIDEOS = 16
"""Number of videos in benchmarks at the paper's sizes."""

Reader = Callable[[Path, Sequence[int]], object]
"""Reads the frames of a video that have the given numbers."""

BUDGET = 2.0
"""Minimum seconds of measuring for each benchmark; every side runs at least three times."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Timings of two implementations that compute the same numbers."""

    name: str
    """Name of the benchmark."""
    fast: str
    """Name of the project's implementation."""
    slow: str
    """Name of the implementation that it is compared with."""
    fast_ms: float
    """Median milliseconds of the project's implementation."""
    slow_ms: float
    """Median milliseconds of the other."""
    ratio: float
    """slow / fast: median over the rounds, each of which runs both."""


def timings_of(name: str, device: torch.device) -> list[Timing]:
    """Run a benchmark.

    Args:
        name: one of ``BENCHMARKS``.
        device: device to run on.
    """
    found = BENCHMARKS[name](device)
    return found if isinstance(found, list) else [found]


def compare(
    name: str, fast: tuple[str, Callable[[], object]], slow: tuple[str, Callable[[], object]], device: torch.device
) -> Timing:
    """Time two functions alternately, after a warm-up round, so that a busy machine slows both down alike."""
    rounds: list[tuple[float, float]] = []
    began = time.perf_counter()
    while len(rounds) < 4 or time.perf_counter() - began < BUDGET:
        rounds.append((_seconds(fast[1], device), _seconds(slow[1], device)))
    kept = rounds[1:]
    return Timing(
        name=name,
        fast=fast[0],
        slow=slow[0],
        fast_ms=1000 * statistics.median(one for one, _ in kept),
        slow_ms=1000 * statistics.median(other for _, other in kept),
        ratio=statistics.median(other / one for one, other in kept),
    )


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    _synchronize(device)
    began = time.perf_counter()
    function()
    _synchronize(device)
    return time.perf_counter() - began


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bench_crops(device: torch.device) -> Timing:
    """Crop patches of 128 from 64 frames of 224: one gather, against a loop that reads each origin from the device."""
    grid = PatchGrid(grid=7, frame_size=224, patch_size=128)
    seed_all("bench crops")
    frames = torch.rand(64, 3, 224, 224, device=device)
    origin = grid.uniform_origin(torch.rand(64, 2, device=device))

    def loop() -> Tensor:
        patches = []
        for frame, place in zip(frames, origin, strict=True):
            top, left = (int(value) for value in place)
            patches.append(frame[:, top : top + grid.patch_size, left : left + grid.patch_size])
        return torch.stack(patches).contiguous(memory_format=torch.channels_last)

    return compare("crops", ("batched", lambda: grid.crop(frames, origin)), ("loop", loop), device)


def bench_rollout(device: torch.device) -> Timing:
    """Run whole episodes by ``rollout``, against the same by ``step``; features in a bank, the published reward."""
    with tempfile.TemporaryDirectory() as folder:
        run, recognizer = _tiny_run(Path(folder), device)
        env, agent = _env_and_agent(run, recognizer, open_bank(run, recognizer, "val"))
        videos = env.source.videos

        def stepped() -> None:
            observation, info = env.reset(options={"videos": videos})
            agent.begin(info)
            state = None
            for _ in range(env.source.num_steps):
                action, state = agent.predict(observation, state)
                observation, *_ = env.step(action)

        def whole() -> None:
            env.rollout(agent, episodes=env.source.episodes(videos))

        return compare("rollout", ("rollout", whole), ("step by step", stepped), device)


def bench_bank(device: torch.device) -> Timing:
    """Make one pass of rollouts with features from the bank, against those from the encoders, decoding included."""
    with tempfile.TemporaryDirectory() as folder:
        run, recognizer = _tiny_run(Path(folder), device)
        live = LiveFeatures(recognizer, run.clips.val, device=device)
        bank = open_bank(run, recognizer, "val")

        def one_pass(source: FeatureSource) -> Callable[[], None]:
            env, agent = _env_and_agent(run, recognizer, source)

            def train() -> None:
                for _ in env.rollouts(agent, epoch=0):
                    pass

            return train

        return compare("bank", ("bank", one_pass(bank)), ("live", one_pass(live)), device)


def bench_counterfactuals(device: torch.device) -> list[Timing]:
    """Compute the outcomes of all 49 actions in whole episodes, at the paper's sizes with random features.

    Against the same by f_C's ordinary step for every action, and against π's forward pass and its update, with the
    backward pass.
    """
    seed_all("bench counterfactuals")
    classifier = create_classifier("gru", input_dim=1280 + 2048, num_classes=200, hidden=1024, dropout=0.0)
    classifier = classifier.to(device).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        bank = paper_bank(Path(folder), videos=PAPER_VIDEOS, device=device)
        env = PatchSelectionVectorEnv(
            bank, classifier, num_envs=PAPER_VIDEOS, shuffle=False, autoreset_mode=AutoresetMode.DISABLED
        )
        agent = PPOAgent(env)
        episodes = bank.episodes(bank.videos)
        rollout = env.rollout(agent, episodes=episodes, with_reward=False)
        # Any states do for the plain side.
        history = rollout.states

        @torch.no_grad()
        def every_step() -> Tensor:
            # As ``counterfactuals``, one frame at a time: the inputs of all frames take 2.6 GB.
            probabilities = []
            for frame in range(bank.num_steps):
                when = torch.full((len(episodes), 1), frame, device=device)
                every = torch.arange(bank.grid.num_actions, device=device).expand(len(episodes), 1, -1)
                local = episodes.local_at(when, every)[:, 0]
                vector = episodes.global_vector[:, frame, None].expand(-1, local.shape[1], -1)
                state = history[:, frame, None].expand(-1, local.shape[1], -1).flatten(0, 1)
                logits = classifier.logits(classifier.cell(torch.cat((vector, local), dim=-1).flatten(0, 1), state))
                probabilities.append(logits.softmax(-1))
            return torch.cat(probabilities)

        def all_outcomes() -> object:
            return env.counterfactuals(rollout)

        @torch.no_grad()
        def policy() -> object:
            return agent.network.sequence(rollout.observation)

        def update() -> None:
            outputs, states = agent.network.sequence(rollout.observation)
            (outputs.mean() + states.mean()).backward()

        return [
            compare("counterfactuals", ("projected f_C", all_outcomes), ("a step for each action", every_step), device),
            compare("counterfactuals", ("all actions' outcomes", all_outcomes), ("π's forward pass", policy), device),
            compare("counterfactuals", ("all actions' outcomes", all_outcomes), ("π's update", update), device),
        ]


def bench_decode(device: torch.device) -> list[Timing]:
    """Read 16 of 300 frames of 320×240 in one thread: ours against plain loops, a JPEG folder against the video."""
    with tempfile.TemporaryDirectory() as made:
        video, avi, folder = (Path(made) / name for name in ("video.mp4", "video.avi", "frames"))
        made_video(video)
        made_avi(avi, video)
        made_folder(folder, video)
        wanted = clip_indices()

        def timing(case: str, reader: Reader, path: Path, other: str, plain: Reader, plain_path: Path) -> Timing:
            fast, slow = ("ours", lambda: reader(path, wanted)), (other, lambda: plain(plain_path, wanted))
            return compare(f"decode, {case}", fast, slow, device)

        return [
            timing("H.264", decode_frames, video, "OpenCV loop", opencv_loop, video),
            timing("H.264", decode_frames, video, "PyAV loop", pyav_loop, video),
            timing("MPEG-4 in AVI", decode_frames, avi, "OpenCV loop", opencv_loop, avi),
            timing("MPEG-4 in AVI", decode_frames, avi, "PyAV loop", pyav_loop, avi),
            timing("frame folder", decode_frames, folder, "Pillow loop", pillow_loop, folder),
            timing("frame folder", decode_frames, folder, "H.264, ours", decode_frames, video),
        ]


def _tiny_run(folder: Path, device: torch.device) -> tuple[Run, Recognizer]:
    """Return an untrained run of the moving digits recipe on a few new videos: speed does not depend on the weights."""
    settings = load_settings(find_recipe("moving_digits"))
    config = settings.config
    options = {**config.data.embedded_options, "train_videos": 1, "val_videos": VIDEOS, "still_videos": 0}
    data = dataclasses.replace(config.data, root=str(folder / "data"), embedded_options=options, workers=0)
    config = dataclasses.replace(
        config,
        device=str(device),
        data=data,
        model=dataclasses.replace(config.model, num_classes=10),
        stage0=dataclasses.replace(config.stage0, stills=StillsConfig()),
    )
    run = Run(RunFolder(folder / "run"), config)
    return run, run.new_recognizer().eval()


def _env_and_agent(run: Run, recognizer: Recognizer, source: FeatureSource) -> tuple[PatchSelectionVectorEnv, PPOAgent]:
    env = PatchSelectionVectorEnv(
        source, recognizer.classifier, num_envs=len(source.videos), shuffle=False,
        autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip
    agent = run.new_agent(env)
    assert isinstance(agent, PPOAgent)
    return env, agent


BENCHMARKS: dict[str, Callable[[torch.device], Timing | list[Timing]]] = {
    "crops": bench_crops,
    "rollout": bench_rollout,
    "bank": bench_bank,
    "counterfactuals": bench_counterfactuals,
    "decode": bench_decode,
}
