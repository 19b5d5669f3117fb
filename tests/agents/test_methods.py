"""Methods: what they predict and spend, by plain computation on the same features."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl import checkpoint
from adafocus_rl.agents import CenterAgent, PPOAgent, PPOOptions, RandomAgent
from adafocus_rl.agents.methods import (
    METHODS,
    AdaFocus,
    AdaFocusPlus,
    Method,
    OperatingPoint,
    Outcome,
    ScheduledSkipping,
    Visit,
    WholeFrames,
)
from adafocus_rl.agents.skipping import RandomSkipAgent, RandomSkipOptions
from adafocus_rl.envs import FrameSkippingVectorEnv, PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.features import EpisodeFeatures, GivenClips
from adafocus_rl.models import ClassifierConfig, EncoderConfig, ModelConfig, Recognizer

FRAMES, VIDEOS = 4, 3


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    config = ModelConfig(
        glance=EncoderConfig(name="small_glance"),
        focus=EncoderConfig(name="small_focus"),
        classifier=ClassifierConfig(hidden=16),
        frame_size=32,
        glance_size=16,
        patch_size=16,
        grid=3,
        num_classes=5,
    )
    torch.manual_seed(0)
    return Recognizer(config).eval()


@pytest.fixture(scope="module")
def source(recognizer: Recognizer) -> GivenClips:
    clips = torch.randint(
        256, (VIDEOS, FRAMES, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    return GivenClips(recognizer, clips)


@pytest.fixture
def batch(source: GivenClips) -> EpisodeFeatures:
    return source.episodes(source.videos)


@pytest.fixture
def env(source: GivenClips, recognizer: Recognizer) -> PatchSelectionVectorEnv:
    return PatchSelectionVectorEnv(source, recognizer.classifier, num_envs=VIDEOS)


def _skipping(env: PatchSelectionVectorEnv, recognizer: Recognizer) -> AdaFocusPlus:
    policy = PPOAgent(env, PPOOptions(hidden=8, reduced_channels=2))
    points = {}
    for knob, share in ((0.1, 0.0), (0.2, 1.0), (0.3, 0.5)):
        skipping = FrameSkippingVectorEnv(env, policy, lambda_=knob)
        points[knob] = OperatingPoint(
            env=skipping, agent=RandomSkipAgent(skipping, RandomSkipOptions(share=share), seed=3)
        )
    return AdaFocusPlus(recognizer, policy=policy, points=points)


def _belief(recognizer: Recognizer, batch: EpisodeFeatures, local: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = recognizer.classifier(torch.cat((batch.global_vector, local), dim=-1))
    return logits


def test_adafocus_recognises_by_the_agents_patches(
    env: PatchSelectionVectorEnv, recognizer: Recognizer, batch: EpisodeFeatures
) -> None:
    agent = PPOAgent(env, PPOOptions(hidden=8, reduced_channels=2))
    outcome = AdaFocus(recognizer, env=env, agent=agent).run(batch, visit=Visit(rewards=True, probabilities=True))
    rollout = env.rollout(agent, episodes=batch, deterministic=True)
    action, steps = rollout.output.action, outcome.trace
    # 3×3 patches of side 16 on a frame of side 32: origins 0, 8, 16.
    assert torch.equal(
        steps.boxes, torch.stack((action // 3 * 8, action % 3 * 8, *[torch.full_like(action, 16)] * 2), -1)
    )
    assert torch.allclose(steps.logits, _belief(recognizer, batch, batch.local(action)), atol=1e-5)
    assert torch.equal(outcome.logits, steps.logits[:, -1])
    assert steps.kept is None
    assert steps.probabilities is not None
    assert torch.equal(steps.probabilities.argmax(-1), action)
    assert steps.patch_size == 16
    assert steps.reward is not None
    assert torch.equal(steps.reward, rollout.reward)


def test_the_compute_of_a_video_is_that_of_its_steps(
    env: PatchSelectionVectorEnv, recognizer: Recognizer, batch: EpisodeFeatures
) -> None:
    agent = PPOAgent(env, PPOOptions(hidden=8, reduced_channels=2))
    costs = AdaFocus(recognizer, env=env, agent=agent).costs
    every = costs.glance + costs.classifier
    patches = AdaFocus(recognizer, env=env, agent=agent).run(batch)
    whole = WholeFrames(recognizer).run(batch)
    assert patches.macs.tolist() == [FRAMES * (every + agent.macs_per_step() + costs.focus_patch)] * VIDEOS
    assert whole.macs.tolist() == [FRAMES * (every + costs.focus_full)] * VIDEOS
    assert whole.trace.local_macs.sum(1).tolist() == [FRAMES * costs.focus_full] * VIDEOS


def test_whole_frames_look_at_all(recognizer: Recognizer, batch: EpisodeFeatures) -> None:
    outcome = WholeFrames(recognizer).run(batch)
    assert torch.equal(outcome.trace.logits, _belief(recognizer, batch, batch.full()))
    assert (outcome.trace.boxes == torch.tensor([0, 0, 32, 32])).all()


def test_a_knob_decides_what_is_skipped(
    env: PatchSelectionVectorEnv, recognizer: Recognizer, batch: EpisodeFeatures
) -> None:
    method = _skipping(env, recognizer)
    assert method.knobs == (0.1, 0.2, 0.3)
    outcomes: dict[float, Outcome] = {knob: method.run(batch, knob=knob) for knob in method.knobs}
    kept = {knob: outcome.trace.kept for knob, outcome in outcomes.items()}
    assert kept[0.3] is not None
    shares = {knob: one.float().mean().item() for knob, one in kept.items() if one is not None}
    assert (shares[0.1], shares[0.2]) == (0, 1)
    assert 0 < shares[0.3] < 1
    always = FRAMES * (method.costs.glance + method.costs.classifier + method.policy.macs_per_step())
    for knob, outcome in outcomes.items():
        spent = always + kept[knob].sum(1) * method.costs.focus_patch  # type: ignore[union-attr]
        assert torch.equal(outcome.macs, spent), knob
    alone = env.rollout(method.policy, episodes=batch, deterministic=True).output.action
    local = torch.where(kept[0.3][..., None], batch.local(alone), 0.0)
    assert torch.allclose(outcomes[0.3].trace.logits, _belief(recognizer, batch, local), atol=1e-5)


def test_no_compute_is_counted_while_a_video_is_recognised(
    env: PatchSelectionVectorEnv, recognizer: Recognizer, batch: EpisodeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a call is reported as the method's; to count a policy's compute takes longer than to run it."""
    methods: list[Method] = [_skipping(env, recognizer), AdaFocus(recognizer, env=env, agent=CenterAgent(env))]
    assert all(method.costs.glance for method in methods)
    for kind in (PPOAgent, RandomSkipAgent, CenterAgent):
        monkeypatch.setattr(kind, "macs_per_step", None)
    for method in methods:
        method.run(batch, knob=method.knobs[0] if method.knobs else None)


@pytest.mark.parametrize(
    ("knob", "message"), [(0.7, "at a λ of 0.1, 0.2, 0.3; there is no 0.7"), (None, "none was given")]
)
def test_another_knob_is_refused(
    env: PatchSelectionVectorEnv, recognizer: Recognizer, batch: EpisodeFeatures, knob: float | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _skipping(env, recognizer).run(batch, knob=knob)


def test_a_schedule_decides_what_is_skipped(
    env: PatchSelectionVectorEnv, recognizer: Recognizer, batch: EpisodeFeatures
) -> None:
    def scheduled(*schedule: float) -> ScheduledSkipping:
        policy = CenterAgent(env)
        return ScheduledSkipping(
            recognizer, label="set", patches=env, policy=policy, knob=0.5, schedule=schedule, knob_name="share kept"
        )

    method = scheduled(1.0, 0.0, 0.0, 1.0)
    assert (method.label, method.stem, method.knobs, method.stochastic, method.learns) == (
        "set", "set0.5", (0.5,), False, False
    )  # fmt: skip
    kept = method.run(batch, knob=0.5).trace.kept
    assert kept is not None
    assert (kept == torch.tensor([True, False, False, True])).all()
    local = torch.where(kept[..., None], batch.local(torch.full((VIDEOS, FRAMES), 4)), 0.0)
    outcome = method.run(batch, knob=0.5)
    assert torch.allclose(outcome.trace.logits, _belief(recognizer, batch, local), atol=1e-5)
    always = FRAMES * (method.costs.glance + method.costs.classifier)
    assert outcome.macs.tolist() == [always + 2 * method.costs.focus_patch] * VIDEOS
    random = scheduled(0.5, 0.5, 0.5, 0.5)
    assert random.stochastic
    first, second = (random.run(batch, knob=0.5, visit=Visit(number=number)).trace.kept for number in (0, 1))
    assert not torch.equal(first, second)  # type: ignore[arg-type]  # other lots in another visit
    with pytest.raises(UserError, match=r"set runs at a share kept of 0.5; there is no 0.6"):
        random.run(batch, knob=0.6)


def test_a_second_f_c_that_is_observed_is_counted(
    env: PatchSelectionVectorEnv, recognizer: Recognizer, batch: EpisodeFeatures
) -> None:
    spent = []
    for observer in (None, copy.deepcopy(recognizer.classifier)):
        skipping = FrameSkippingVectorEnv(
            env, CenterAgent(env), lambda_=0.0, observe_classifier=True, observer=observer
        )
        agent = RandomSkipAgent(skipping, RandomSkipOptions(share=1.0))
        points = {0.5: OperatingPoint(env=skipping, agent=agent)}
        method = AdaFocusPlus(recognizer, policy=CenterAgent(env), points=points)
        spent.append(method.run(batch, knob=0.5).macs)
    assert torch.equal(spent[1] - spent[0], torch.full((VIDEOS,), FRAMES * method.costs.classifier))


def test_a_method_says_what_its_agent_is(env: PatchSelectionVectorEnv, recognizer: Recognizer) -> None:
    random, centre = (AdaFocus(recognizer, env=env, agent=kind(env)) for kind in (RandomAgent, CenterAgent))
    assert (random.label, random.stochastic, random.privileged) == ("random", True, False)
    assert (centre.label, centre.stochastic) == ("center", False)


def test_saved_and_loaded(recognizer: Recognizer, batch: EpisodeFeatures, tmp_path: Path) -> None:
    own = copy.deepcopy(recognizer.classifier)
    for parameter in own.parameters():
        parameter.data.add_(0.1)
    method = WholeFrames(recognizer, classifier=own)
    method.save(tmp_path / "m.safetensors", facts={"index": "abc"})
    again = Method.load(tmp_path / "m.safetensors", recognizer, classifier=copy.deepcopy(recognizer.classifier))
    assert torch.equal(again.run(batch).logits, method.run(batch).logits)
    assert not torch.equal(again.run(batch).logits, WholeFrames(recognizer).run(batch).logits)
    with pytest.raises(UserError, match=r"holds a WholeFrames; load it with WholeFrames\.load or Method\.load"):
        AdaFocus.load(tmp_path / "m.safetensors", recognizer)


def test_a_trained_agent_is_saved_with_its_f_c(
    env: PatchSelectionVectorEnv, recognizer: Recognizer, batch: EpisodeFeatures, tmp_path: Path
) -> None:
    own = copy.deepcopy(recognizer.classifier)
    for parameter in own.parameters():
        parameter.data.add_(0.1)
    with_own = env.like(env.source, own)
    method = AdaFocus(recognizer, env=with_own, agent=PPOAgent(env, PPOOptions(hidden=8, reduced_channels=2), seed=4))
    method.save(tmp_path / "m.safetensors")
    fresh = env.like(env.source, copy.deepcopy(recognizer.classifier))
    untrained = PPOAgent(fresh, PPOOptions(hidden=8, reduced_channels=2), seed=5)
    again = AdaFocus.load(tmp_path / "m.safetensors", recognizer, env=fresh, agent=untrained)
    assert torch.equal(again.run(batch).trace.boxes, method.run(batch).trace.boxes)
    assert torch.equal(again.run(batch).logits, method.run(batch).logits)


def test_options_are_saved_and_read_by_name_and_type(recognizer: Recognizer, tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options:
        share: float = 0.5

    class Some(WholeFrames):
        pass

    Some.Options = Options
    assert Some(recognizer).options == Options()
    path = tmp_path / "m.safetensors"
    Some(recognizer, Options(share=0.25)).save(path)
    assert Some.load(path, recognizer).options == Options(share=0.25)
    tensors, manifest = checkpoint.load(path)
    for options, said in (({"shar": 1}, "did you mean 'Some.share'"), ({"share": "much"}, "Some.share is much")):
        checkpoint.save(path, tensors=tensors, manifest={**manifest, "options": options})
        with pytest.raises(UserError, match=said):
            Some.load(path, recognizer)


def test_whole_frames_are_registered() -> None:
    found: Any = METHODS.get("WholeFrames")
    assert found is WholeFrames
