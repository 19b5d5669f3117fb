"""Online recognition: frame by frame the same as the clip, with a state of constant size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from adafocus_rl.agents import (
    Agent,
    CenterAgent,
    GaussianAgent,
    HeuristicAgent,
    MostConfidentAgent,
    MotionAgent,
    PPOAgent,
    PPOOptions,
    RandomAgent,
)
from adafocus_rl.agents.methods import (
    AdaFocus,
    AdaFocusPlus,
    ARNet,
    ARNetOptions,
    GFNet,
    GFNetOptions,
    LiteEval,
    LiteEvalOptions,
    Method,
    OperatingPoint,
    Outcome,
    SCSampler,
    SCSamplerOptions,
    Steps,
    UniformFrames,
    WholeFrames,
)
from adafocus_rl.agents.skipping import RandomSkipAgent
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.envs import FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.features.live import LiveEpisodes
from adafocus_rl.models import Recognizer
from adafocus_rl.models.classifiers import create_classifier
from tests.agents.methods.conftest import PlainTrainer
from tests.agents.methods.test_arnet import with_an_undecided_policy
from tests.agents.methods.test_liteeval import with_an_undecided_gate

VIDEOS = 4


def frames_of(source: Any) -> Iterator[LiveEpisodes]:
    """The frames of the first clips, one at a time."""
    before = None
    for frame in range(source.num_steps):
        batch = ClipBatch.unlabelled(
            source.clips[:VIDEOS, frame : frame + 1], source.num_classes, rows=torch.arange(VIDEOS)
        )
        before = LiveEpisodes(source.recognizer, batch, device=source.device, before=before)
        yield before


def streamed(method: Method, source: Any, knob: float | None) -> list[Steps]:
    stream = method.stream(knob=knob, count=VIDEOS)
    return [stream.step(frame) for frame in frames_of(source)]


def check_same(method: Method, source: Any, knob: float | None = None) -> Outcome:
    """Hold the steps of a stream against the trace of the clips."""
    expected = method.run(source.episodes(torch.arange(VIDEOS)), knob=knob)
    steps = streamed(method, source, knob)

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(one, name) for one in steps], dim=1)

    torch.testing.assert_close(joined("logits"), expected.trace.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(joined("logits")[:, -1], expected.logits, rtol=1e-4, atol=1e-5)
    for name in ("looks", "macs"):
        assert torch.equal(joined(name), getattr(expected.trace, name)), name
    # A clip that has stopped need not say where it would have looked.
    ran = torch.ones_like(expected.trace.looks) if expected.trace.ran is None else expected.trace.ran
    assert torch.equal(joined("boxes")[ran], expected.trace.boxes[ran])
    return expected


@pytest.fixture(params=["gru", "average", "max_pool"])
def env(request: Any, tiny: Recognizer, ten_clips: Any) -> PatchSelectionVectorEnv:
    torch.manual_seed(1)
    classifier = create_classifier(
        request.param,
        input_dim=tiny.classifier.input_dim,
        num_classes=ten_clips.num_classes,
        hidden=16,
        dropout=0.5,
    )
    return PatchSelectionVectorEnv(ten_clips, classifier, num_envs=VIDEOS)


def adafocus(env: PatchSelectionVectorEnv, agent: Agent) -> AdaFocus:
    return AdaFocus(env.source.recognizer, env=env, agent=agent)


@pytest.mark.parametrize("kind", [RandomAgent, CenterAgent, GaussianAgent, MotionAgent, HeuristicAgent])
def test_agents_without_a_network(env: PatchSelectionVectorEnv, ten_clips: Any, kind: type[Agent]) -> None:
    outcome = check_same(adafocus(env, kind(env, seed=3)), ten_clips)
    if kind in (RandomAgent, MotionAgent):
        assert len(outcome.trace.boxes.unique(dim=1)[0]) > 1  # they move


@pytest.mark.parametrize("cell", ["gru", "lstm", "none"])
@pytest.mark.parametrize(
    "spaces",
    [{}, {"observation": "vector", "time_step": True}, {"last_action": True, "motion": True}],
    ids=["map", "vector", "feedback"],
)
def test_pi(tiny: Recognizer, ten_clips: Any, cell: Any, spaces: dict[str, Any]) -> None:
    env = PatchSelectionVectorEnv(ten_clips, tiny.classifier, num_envs=VIDEOS, **spaces)
    options = PPOOptions(hidden=8, reduced_channels=4, cell=cell)
    check_same(adafocus(env, PPOAgent(env, options, seed=5)), ten_clips)


@pytest.mark.parametrize("skipper", ["exogenous", "observing", "random"])
def test_pi_prime(env: PatchSelectionVectorEnv, ten_clips: Any, tiny: Recognizer, skipper: str) -> None:
    options = PPOOptions(hidden=8, reduced_channels=4)
    policy = PPOAgent(env, options, seed=5)
    skipping = FrameSkippingVectorEnv(env, policy, lambda_=0.1, observe_classifier=skipper == "observing")
    agent = RandomSkipAgent(skipping) if skipper == "random" else PPOAgent(skipping, options, seed=6)
    method = AdaFocusPlus(tiny, policy=policy, points={0.1: OperatingPoint(env=skipping, agent=agent)})
    outcome = check_same(method, ten_clips, 0.1)
    if skipper == "random":
        assert len(outcome.trace.looks.unique()) == 2
    with pytest.raises(UserError, match=r"λ of 0\.1; there is no 0\.2"):
        method.stream(knob=0.2)


def test_whole_frames(env: PatchSelectionVectorEnv, ten_clips: Any, tiny: Recognizer) -> None:
    check_same(WholeFrames(tiny, classifier=env.classifier), ten_clips)


def test_gated_methods(ten_clips: Any, tiny: Recognizer) -> None:
    lite = LiteEval(tiny, LiteEvalOptions(skip_rates=(0.5,), coarse_width=12, fine_width=20), seed=3)
    with_an_undecided_gate(lite, 0.5)
    resolutions = ARNet(tiny, ARNetOptions(hidden=12), seed=3)
    with_an_undecided_policy(resolutions, ten_clips.episodes(ten_clips.videos).global_vector)
    assert len(check_same(lite, ten_clips, 0.5).trace.looks.unique()) == 2
    found = check_same(resolutions, ten_clips, 0.05)
    sizes = torch.cat([step.sizes for step in streamed(resolutions, ten_clips, 0.05) if step.sizes is not None], dim=1)
    assert torch.equal(sizes, found.trace.sizes)
    assert len(sizes.unique()) > 2
    with pytest.raises(UserError, match="cannot recognise frame by frame"):
        lite.random_counterpart().stream(knob=0.5)


@pytest.mark.parametrize("budget", [0.5, 1.0])
def test_gfnet_stops(ten_clips: Any, tiny: Recognizer, budget: float) -> None:
    method = GFNet(tiny, GFNetOptions(budgets=(0.5, 1.0), epochs=0, fine_tuning=ClassifierTraining(epochs=0)), seed=1)
    with pytest.raises(UserError, match="no thresholds"):
        method.stream(knob=0.5)
    method.fit(ten_clips, ten_clips, trainer=PlainTrainer())
    expected = check_same(method, ten_clips, budget).trace
    assert expected.ran is not None
    stream = method.stream(knob=budget, count=VIDEOS)
    for number, frame in enumerate(frames_of(ten_clips)):
        stream.step(frame)
        assert stream.over is not None
        last = number + 1 == ten_clips.num_steps
        if budget == 1:
            assert not stream.over.any()
        else:
            assert torch.equal(
                ~stream.over, torch.zeros(VIDEOS, dtype=torch.bool) if last else expected.ran[:, number + 1]
            )


def test_f_l_runs_once_per_frame(tiny: Recognizer, ten_clips: Any, count_images: dict[tuple[str, int], int]) -> None:
    env = PatchSelectionVectorEnv(ten_clips, tiny.classifier, num_envs=VIDEOS)
    method = adafocus(env, CenterAgent(env))
    count_images.clear()
    streamed(method, ten_clips, None)
    assert count_images == {("glance", 16): VIDEOS * ten_clips.num_steps, ("focus", 16): VIDEOS * ten_clips.num_steps}


def test_a_stream_outlives_a_clip(tiny: Recognizer, ten_clips: Any) -> None:
    """Also with a time step, which stays at 1."""
    env = PatchSelectionVectorEnv(ten_clips, tiny.classifier, num_envs=VIDEOS, time_step=True)
    stream = adafocus(env, PPOAgent(env, PPOOptions(hidden=8, reduced_channels=4))).stream(count=VIDEOS)
    for _ in range(2):
        for frame in frames_of(ten_clips):
            steps = stream.step(frame)
    assert steps.logits.shape == (VIDEOS, 1, ten_clips.num_classes)


def test_what_needs_clips_is_refused(tiny: Recognizer, ten_clips: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    env = PatchSelectionVectorEnv(ten_clips, tiny.classifier, num_envs=VIDEOS)
    for method in (UniformFrames(tiny), SCSampler(tiny, SCSamplerOptions(frames=(2,)))):
        with pytest.raises(UserError, match="cannot recognise frame by frame, because it chooses among the frames"):
            method.stream(knob=method.knobs[0])
    stream = adafocus(env, MostConfidentAgent(env)).stream(count=VIDEOS)
    with pytest.raises(UserError, match="MostConfidentAgent tries the patches of whole clips"):
        stream.step(next(frames_of(ten_clips)))
    monkeypatch.setattr(tiny, "clip_frames", (2, 4))
    for whole in (adafocus(env, CenterAgent(env)), WholeFrames(tiny)):
        with pytest.raises(UserError, match="the encoders of this run process the frames of a whole clip together"):
            whole.stream()
