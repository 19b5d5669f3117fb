"""``adafocus bench recognise``: recognition at the paper's size, beside f_L on whole frames treated alike."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from adafocus_rl.agents import PPOAgent
from adafocus_rl.agents.methods import AdaFocus
from adafocus_rl.agents.policies.networks import RecurrentActorCritic
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.data.decode import decode_frames
from adafocus_rl.data.transforms import apply_transform, build_transform
from adafocus_rl.experiments.bench.decode_loops import clip_indices, made_video
from adafocus_rl.experiments.bench.recognise_loops import FrameClassifier, published_loop
from adafocus_rl.experiments.bench.timing import VideoTiming, in_turn
from adafocus_rl.experiments.config.clips import transform_of
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.experiments.evaluation.live import LiveMethod
from adafocus_rl.experiments.run.handover import blank_env
from adafocus_rl.features.deployed import deployed
from adafocus_rl.features.options import Precision
from adafocus_rl.models.captured import CapturedCall
from adafocus_rl.models.encoders import create_encoder
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.seeding import seed_all

GLANCES = (224, 128)
"""Sides in pixels of f_G's input."""

TSM_FRAMES = 8
"""Frames of TSM+'s clips."""

WHOLE = "f_L on whole frames"


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """What is done to networks before they recognise."""

    name: str
    precision: Precision | None
    """None for the networks as they are trained."""
    compile: bool = False

    def of(self, recognizer: Recognizer) -> Recognizer:
        """Return the recognizer under this treatment."""
        if self.precision is None:
            return recognizer
        return deployed(recognizer, precision=self.precision, compile=self.compile)


PLAIN = Treatment(name="plain", precision=None)
FLOAT32 = Treatment(name="deployed float32", precision="float32")
BFLOAT16 = Treatment(name="deployed bfloat16", precision="bfloat16")
COMPILED = Treatment(name="compiled bfloat16", precision="bfloat16", compile=True)


def paper_config() -> ExperimentConfig:
    """Return the configuration for ActivityNet, without published weights: speed does not depend on them."""
    config = load_settings(find_recipe("activitynet")).config
    parts = {part: dataclasses.replace(getattr(config.model, part), weights="none") for part in ("glance", "focus")}
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **parts))


def bench_recognise(device: torch.device) -> Iterator[VideoTiming]:
    """Recognise clips of T frames with random weights, from decoded frames and once from a video file.

    On CPU nothing is compiled, because that takes longer than the rest of the benchmark.
    """
    config = paper_config()
    systems = {glance: System(config, glance, device) for glance in GLANCES}
    on_gpu = device.type == "cuda"
    for batch in (1, 8, 64) if on_gpu else (1, 8):
        for treatment in (PLAIN, FLOAT32, BFLOAT16, *([COMPILED] if on_gpu else [])):
            # At larger batches, the plain form is timed at one size only, to save minutes on CPU.
            glances = GLANCES[:1] if treatment is PLAIN and batch > 1 else GLANCES
            yield from _side_by_side([systems[glance] for glance in glances], treatment, batch)
    yield from _others(systems[GLANCES[0]])
    yield from _with_decoding(systems[GLANCES[0]])


class System:
    """AdaFocus with one size of f_G's input, and what it is compared with.

    Args:
        config: configuration of the system.
        glance: side of f_G's input in pixels.
        device: device to run on.
    """

    def __init__(self, config: ExperimentConfig, glance: int, device: torch.device) -> None:
        self.config = dataclasses.replace(config, model=dataclasses.replace(config.model, glance_size=glance))
        self.glance = glance
        self.device = device
        seed_all("bench recognise")
        self.recognizer = Recognizer(self.config.model).to(device).eval()
        env = blank_env(self.config, self.recognizer)
        self.agent = self.config.agent.make(env, seed=0)
        self.method = AdaFocus(self.recognizer, env=env, agent=self.agent)
        self.head = nn.Linear(self.recognizer.focus.vector_dim, self.config.model.num_classes).to(device)

    def clips(self, count: int) -> Tensor:
        """Return random clips (B, T, 3, S, S) uint8, in page-locked memory if a GPU copies them."""
        shape = (count, self.config.data.num_frames, 3, self.config.model.frame_size, self.config.model.frame_size)
        clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(count))
        return clips.pin_memory() if self.device.type == "cuda" else clips

    def adaptive(self, treatment: Treatment) -> Callable[[Tensor], Tensor]:
        """Return a function of clips that returns AdaFocus's logits (B, K)."""
        form = treatment.of(self.recognizer)
        live = LiveMethod(self.method, device=self.device, deployed=None if treatment.precision is None else form)
        classes = self.config.model.num_classes
        return lambda clips: live(ClipBatch.unlabelled(clips, classes, rows=torch.arange(len(clips)))).logits

    def whole(self, treatment: Treatment) -> Callable[[Tensor], Tensor]:
        """Return a function of clips that returns the logits (B, K) of f_L on whole frames, without f_G, π and f_C."""
        return self._treated(treatment, FrameClassifier(treatment.of(self.recognizer), self.head))

    def tsm_plus(self, treatment: Treatment) -> Callable[[Tensor], Tensor]:
        """Return a function of clips that returns TSM+'s logits (B, K)."""
        parts = [create_encoder(f"tsm_{part.name}") for part in (self.config.model.glance, self.config.model.focus)]
        for encoder in parts:
            encoder.set_num_frames(TSM_FRAMES)
        glance, focus = (encoder.to(self.device).eval() for encoder in parts)
        recognizer = treatment.of(self.recognizer.with_encoders(glance, focus))
        head = nn.Linear(glance.vector_dim + focus.vector_dim, self.config.model.num_classes).to(self.device)
        return self._treated(treatment, FrameClassifier(recognizer, head, frames=TSM_FRAMES, with_glance=True))

    def _treated(self, treatment: Treatment, function: FrameClassifier) -> Callable[[Tensor], Tensor]:
        device = self.device
        if treatment.precision is None:
            return lambda clips: function(clips.to(device, non_blocking=True))
        return CapturedCall(function, device=device, agree=_agree)


def _side_by_side(systems: Sequence[System], treatment: Treatment, batch: int) -> list[VideoTiming]:
    """Return one timing for each size of f_G's input; all are measured in the same rounds."""
    clips = systems[0].clips(batch)
    functions = [systems[0].whole(treatment), *(system.adaptive(treatment) for system in systems)]
    rounds = in_turn([partial(function, clips) for function in functions], systems[0].device)
    return [
        VideoTiming.of_rounds(
            name=f"recognise, {treatment.name}, batch {batch}, glance {system.glance}",
            fast="AdaFocus",
            slow=WHOLE,
            rounds=[(one[place], one[0]) for one in rounds],
            videos=batch,
        )
        for place, system in enumerate(systems, start=1)
    ]


def _others(system: System) -> list[VideoTiming]:
    """Return the timings beside the published loop, and beside TSM+ under the same treatment."""
    assert isinstance(system.agent, PPOAgent)
    assert isinstance(system.agent.network, RecurrentActorCritic)
    clips = system.clips(1)
    found = []
    for treatment in (FLOAT32, BFLOAT16):
        others = {"TSM+": system.tsm_plus(treatment)}
        if treatment is FLOAT32:
            others["the published loop"] = published_loop(system.recognizer, system.agent.network)
        functions = [system.adaptive(treatment), *others.values()]
        rounds = in_turn([partial(function, clips) for function in functions], system.device)
        found += [
            VideoTiming.of_rounds(
                name=f"recognise, {treatment.name}, batch 1, glance {system.glance}",
                fast="AdaFocus",
                slow=name,
                rounds=[(one[0], one[place]) for one in rounds],
                videos=1,
            )
            for place, name in enumerate(others, start=1)
        ]
    return found


def _with_decoding(system: System) -> list[VideoTiming]:
    """Return the timing from an H.264 file to the prediction, at batch 1."""
    transform = build_transform(transform_of(system.config), train=False)
    wanted = clip_indices()
    nowhere = torch.full((len(wanted), 4), torch.nan)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        made_video(video)

        def decoded() -> Tensor:
            pixels = torch.from_numpy(decode_frames(video, wanted)).permute(0, 3, 1, 2)
            return apply_transform(transform, pixels, nowhere)[0][None]

        adaptive, whole = system.adaptive(FLOAT32), system.whole(FLOAT32)
        rounds = in_turn([lambda: adaptive(decoded()), lambda: whole(decoded())], system.device)
    return [
        VideoTiming.of_rounds(
            name=f"recognise with decoding, {FLOAT32.name}, batch 1, glance {system.glance}",
            fast="AdaFocus",
            slow=WHOLE,
            rounds=[(one[0], one[1]) for one in rounds],
            videos=1,
        )
    ]


def _agree(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-2, atol=1e-2 * float(other.abs().max()))
