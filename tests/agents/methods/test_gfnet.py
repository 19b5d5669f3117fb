"""GFNet within a clip against a plain computation, one clip and one frame at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adafocus_rl.agents import PPOOptions
from adafocus_rl.agents.methods import GFNet, GFNetOptions, Visit
from adafocus_rl.agents.methods.gfnet import Progress
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.errors import UserError
from adafocus_rl.models import Recognizer
from tests.agents.methods.conftest import LabelledClips, PlainTrainer, saved_and_loaded

POLICY = PPOOptions(hidden=8, learning_rate=0.01)
FROZEN = ClassifierTraining(epochs=0)


def _plain(method: GFNet, tiny: Recognizer, clip: Tensor, thresholds: list[float]) -> tuple[list[int], Tensor]:
    """Actions until the exit, and logits there, of one clip (T, 3, S, S)."""
    frames = tiny.prepare(clip)
    small = torch.nn.functional.interpolate(frames, size=(16, 16), mode="bilinear", antialias=True)
    policy = method.agent.network
    memory, state = policy.initial_state(1), torch.zeros(1, 16)
    local, place, actions = torch.zeros(1, 128), torch.zeros(1, 9), []
    logits = torch.zeros(5)
    for frame in range(len(clip)):
        vector = tiny.glance(small[frame][None])
        observed = torch.cat((vector if frame == 0 else torch.zeros_like(vector), local, place), -1)
        outputs, _, memory = policy.step(observed, memory)
        actions.append(int(outputs.argmax()))
        place = torch.eye(9)[actions[-1:]]
        # 3×3 patches of side 16 on a frame of side 32: origins 0, 8, 16.
        top, left = actions[-1] // 3 * 8, actions[-1] % 3 * 8
        local = tiny.focus(frames[frame][None, :, top : top + 16, left : left + 16])
        state = tiny.classifier.cell(torch.cat((vector, local), -1), state)
        logits = tiny.classifier.logits(state)[0]
        if float(logits.softmax(-1).max()) >= thresholds[frame]:
            break
    return actions, logits


@pytest.fixture
def method(tiny: Recognizer, ten_clips: LabelledClips) -> GFNet:
    """Thresholds of an untrained policy."""
    found = GFNet(tiny, GFNetOptions(budgets=(0.5, 1.0), epochs=0, policy=POLICY, fine_tuning=FROZEN), seed=2)
    found.fit(ten_clips, ten_clips, trainer=PlainTrainer())
    assert found.thresholds is not None
    assert found.random_thresholds is not None
    # They are confidences of these very clips, which differ by rounding from those of other batches.
    found.thresholds -= 1e-5
    found.random_thresholds -= 1e-5
    return found


@pytest.mark.parametrize("knob", [0.5, 1.0])
def test_it_goes_patch_by_patch_until_the_exit(
    tiny: Recognizer, ten_clips: LabelledClips, count_images: dict[tuple[str, int], int], method: GFNet, knob: float
) -> None:
    count_images.clear()
    outcome = method.run(ten_clips.episodes(ten_clips.videos), knob=knob, visit=Visit(rewards=True, probabilities=True))
    steps, looks = outcome.trace, int(outcome.trace.looks.sum())
    assert count_images == {("glance", 16): looks, ("focus", 16): looks}
    assert (looks < 60) == (knob < 1)
    each = method.costs.glance + method.costs.focus_patch + method.costs.classifier + method.agent.macs_per_step()
    assert method.thresholds is not None
    thresholds = method.thresholds[method.knobs.index(knob)].tolist()
    assert steps.reward is not None
    assert steps.probabilities is not None
    assert steps.probabilities.shape == (10, 6, 9)
    with torch.no_grad():
        start = tiny.classifier.logits(torch.zeros(1, 16))[0].softmax(-1)
        for clip in range(10):
            actions, logits = _plain(method, tiny, ten_clips.clips[clip], thresholds)
            assert steps.looks[clip].tolist() == [t < len(actions) for t in range(6)]
            boxes = [[a // 3 * 8, a % 3 * 8, 16, 16] for a in actions]
            assert steps.boxes[clip, : len(actions)].tolist() == boxes
            torch.testing.assert_close(outcome.logits[clip], logits, rtol=1e-4, atol=1e-5)
            assert int(outcome.macs[clip]) == each * len(actions)
            label = int(ten_clips.labels[clip])
            gain = float(logits.softmax(-1)[label] - start[label])
            assert float(steps.reward[clip].sum()) == pytest.approx(gain, abs=1e-5)


def test_the_exit_is_that_of_whole_clips(ten_clips: LabelledClips, method: GFNet) -> None:
    batch = ten_clips.episodes(ten_clips.videos)
    half, whole = method.run(batch, knob=0.5), method.run(batch, knob=1.0)
    mean = float(half.macs.double().mean() / whole.macs.double().mean())
    assert 0.3 < mean <= 0.5
    found = Progress.of(whole, batch.multi_hot)
    assert torch.equal(found.macs.gather(1, half.trace.looks.sum(1, keepdim=True) - 1)[:, 0], half.macs)


def test_it_learns_ten_clips(tiny: Recognizer, ten_clips: LabelledClips, tmp_path: Path) -> None:
    """The policy finds patches with which f_C, not fine-tuned, is better than with random ones."""
    options = GFNetOptions(budgets=(0.5, 1.0), epochs=60, batch_size=10, policy=POLICY, fine_tuning=FROZEN)
    method, trainer = GFNet(tiny, options), PlainTrainer()
    method.fit(ten_clips, ten_clips, trainer=trainer)
    returns = [scalars["rollout/ep_rew_mean"] for scalars in trainer.scalars]
    assert sum(returns[-5:]) > sum(returns[:5])
    batch = ten_clips.episodes(ten_clips.videos)

    def certainty(one: GFNet, visit: int = 0) -> float:
        logits = one.run(batch, knob=1.0, visit=Visit(number=visit)).logits
        return float(logits.softmax(-1).gather(1, batch.labels[:, None]).mean())

    random = method.random_counterpart()
    assert certainty(method) > sum(certainty(random, visit) for visit in range(5)) / 5
    loaded = saved_and_loaded(method, tmp_path)
    assert torch.equal(loaded.run(batch, knob=0.5).logits, method.run(batch, knob=0.5).logits)


def test_a_copy_of_the_classifier_is_fine_tuned_on_the_policys_patches(
    tiny: Recognizer, ten_clips: LabelledClips, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in tiny.classifier.state_dict().items()}
    training = ClassifierTraining(epochs=100, learning_rate=0.1)
    options = GFNetOptions(budgets=(1.0,), epochs=0, policy=POLICY, fine_tuning=training)
    method = GFNet(tiny, options)
    method.fit(ten_clips, ten_clips, trainer=PlainTrainer())
    batch = ten_clips.episodes(ten_clips.videos)
    outcome, random = method.run(batch, knob=1.0), method.random_counterpart().run(batch, knob=1.0)
    assert torch.equal(outcome.logits.argmax(-1), batch.labels)
    assert not torch.equal(random.logits, outcome.logits)
    assert all(torch.equal(before[name], value) for name, value in tiny.classifier.state_dict().items())
    assert torch.equal(saved_and_loaded(method, tmp_path).run(batch, knob=1.0).logits, outcome.logits)


def test_patches_can_be_sampled(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = GFNet(tiny, GFNetOptions(budgets=(1.0,), policy=POLICY, deterministic=False))
    best = GFNet(tiny, GFNetOptions(budgets=(1.0,), policy=POLICY))
    batch = ten_clips.episodes(ten_clips.videos)
    boxes, again, other = (method.run(batch, knob=1.0, visit=Visit(number=v)).trace.boxes for v in (0, 0, 1))
    assert torch.equal(boxes, again)
    assert not torch.equal(boxes, other)
    assert not torch.equal(boxes, best.run(batch, knob=1.0).trace.boxes)
    assert (method.stochastic, best.stochastic) == (True, False)
    assert method.random_counterpart().stochastic
    assert best.random_counterpart().stochastic


def test_random_patches_have_the_same_budget(ten_clips: LabelledClips, method: GFNet) -> None:
    other = method.random_counterpart()
    batch = ten_clips.episodes(ten_clips.videos)
    own, random = method.run(batch, knob=1.0), other.run(batch, knob=1.0)
    assert torch.equal(own.macs, random.macs)
    assert not torch.equal(own.trace.boxes, random.trace.boxes)
    assert float(other.run(batch, knob=0.5).macs.double().mean()) <= float(own.macs.double().mean()) / 2
    again = other.run(batch, knob=1.0, visit=Visit(number=1))
    assert not torch.equal(again.trace.boxes, random.trace.boxes)
    assert (other.label, other.variant, other.stochastic) == ("gfnet", "random decisions", True)


def test_without_thresholds_only_whole_clips_are_recognised(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = GFNet(tiny, GFNetOptions(policy=POLICY))
    batch = ten_clips.episodes(ten_clips.videos)
    assert bool(method.run(batch, knob=1.0).trace.looks.all())
    with pytest.raises(UserError, match="gfnet has no thresholds, and these clips have 6; train it"):
        method.run(batch, knob=0.5)
    method.thresholds = torch.zeros(4, 3)
    with pytest.raises(UserError, match="thresholds for clips of 3 frames, and these clips have 6"):
        method.run(batch, knob=0.5)


def test_budgets_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="shares above 0 and at most 1"):
        GFNetOptions(budgets=(0.5, 1.5))
