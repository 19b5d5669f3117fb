"""Early exit: thresholds in closed form and against GFNet's procedure, and what a stopped clip costs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adafocus_rl.agents import CenterAgent
from adafocus_rl.agents.methods import AdaFocus, EarlyExit, SCSampler, SCSamplerOptions
from adafocus_rl.agents.methods.early_exit import Progress, exit_steps, solve_thresholds, stop_at, thresholds_of
from adafocus_rl.agents.methods.outcome import Cost, Outcome, Steps
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.models import Recognizer
from tests.agents.methods.conftest import LabelledClips

GIGA = 10**9


def _gfnet(confidences: list[list[float]], q: float) -> list[float]:
    """The thresholds, clip by clip."""
    steps, count = len(confidences[0]), len(confidences)
    weights = [q**k for k in range(1, steps + 1)]
    gone = [False] * count
    thresholds = [math.inf] * (steps - 1) + [-math.inf]
    for k in range(steps - 1):
        wanted, seen = math.floor(count * weights[k] / sum(weights) + 1e-9), 0
        for clip in sorted(range(count), key=lambda clip: -confidences[clip][k]):
            if not gone[clip] and seen < wanted:
                seen += 1
                thresholds[k] = confidences[clip][k]
        for clip in range(count):
            gone[clip] |= confidences[clip][k] >= thresholds[k]
    return thresholds


@given(seed=st.integers(0, 10_000), clips=st.integers(1, 30), steps=st.integers(1, 6), log_q=st.floats(-3, 3))
def test_the_thresholds_are_those_of_gfnets_procedure(seed: int, clips: int, steps: int, log_q: float) -> None:
    # Few different values, so that some are equal.
    found = torch.randint(8, (clips, steps), generator=torch.Generator().manual_seed(seed)) / 8
    assert thresholds_of(found, log_q).tolist() == _gfnet(found.tolist(), math.exp(log_q))


def test_equal_shares_in_closed_form() -> None:
    found = torch.tensor([[0.9, 0.9, 0.9, 0.9], [0.1, 0.8, 0.9, 0.9], [0.2, 0.3, 0.7, 0.9], [0.3, 0.2, 0.1, 0.4]])
    thresholds = thresholds_of(found, 0.0)
    assert thresholds.tolist() == pytest.approx([0.9, 0.8, 0.7, -math.inf])
    assert exit_steps(found, thresholds).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("budget", "exits", "spent"), [(1.5, 4, 1.5), (1.6, 4, 1.5), (1.0, 8, 1.0), (1.99, 1, 1.875), (2.0, 0, 2.0)]
)
def test_as_much_compute_as_the_budget_allows(budget: float, exits: int, spent: float) -> None:
    first = torch.tensor([0.1, 0.8, 0.3, 0.4, 0.7, 0.6, 0.5, 0.2])
    found = torch.stack((first, first), dim=1)
    macs = torch.tensor([[GIGA, 2 * GIGA]]).expand(8, 2)
    solved = solve_thresholds(found, macs, budget)
    assert solved.gmacs == pytest.approx(spent)
    assert int((first >= solved.thresholds[0]).sum()) == exits


@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_the_budget_is_met(seed: int, share: float) -> None:
    random = torch.Generator().manual_seed(seed)
    found = torch.rand(200, 5, generator=random).cumsum(1)
    macs = torch.randint(1, GIGA, (200, 5), generator=random).cumsum(1)
    least, most = (float(macs[:, step].double().mean()) / GIGA for step in (0, -1))
    budget = least + share * (most - least)
    solved = solve_thresholds(found, macs, budget + 1e-9)
    spent = macs.gather(1, exit_steps(found, solved.thresholds)[:, None]).double().mean() / GIGA
    assert float(spent) == pytest.approx(solved.gmacs)
    assert budget - 0.1 * most < solved.gmacs <= budget + 1e-9


def test_a_budget_below_the_first_step_is_refused() -> None:
    macs = torch.tensor([[GIGA, 2 * GIGA]])
    with pytest.raises(UserError, match=r"a budget of 0.5 GMACs is not enough .* takes 1; give more, up to 2 for"):
        solve_thresholds(torch.rand(1, 2), macs, 0.5)


def _outcome(logits: Tensor, *, kept: Tensor | None = None, ahead: int = 0) -> Outcome:
    boxes = torch.zeros(*logits.shape[:2], 4, dtype=torch.long)
    steps = Steps(logits=logits, boxes=boxes, kept=kept, cost=Cost(always=10, local=100, ahead=ahead))
    return Outcome.after(steps)


def test_what_a_stopped_clip_costs() -> None:
    logits = torch.arange(12.0).view(2, 3, 2)
    kept = torch.tensor([[True, False, True], [False, True, True]])
    outcome = _outcome(logits, kept=kept)
    assert outcome.macs_so_far.tolist() == [[110, 120, 230], [10, 120, 230]]
    stopped = stop_at(outcome, torch.tensor([0, 2]))
    assert stopped.macs.tolist() == [110, 230]
    assert stopped.trace.macs.tolist() == [[110, 0, 0], [10, 110, 110]]
    assert stopped.trace.looks.tolist() == [[True, False, False], [False, True, True]]
    assert torch.equal(stopped.trace.logits[0], logits[0, :1].expand(3, 2))
    assert torch.equal(stopped.logits, torch.stack((logits[0, 0], logits[1, 2])))


def test_a_preview_of_the_clip_is_paid_before_the_first_step() -> None:
    outcome = _outcome(torch.zeros(1, 3, 2), ahead=8)
    assert outcome.macs_so_far.tolist() == [[126, 228, 330]]
    stopped = stop_at(outcome, torch.tensor([1]))
    assert stopped.macs.tolist() == [228]
    assert stopped.trace.macs.tolist() == [[110, 110, 8]]
    beside = Outcome(logits=outcome.logits, macs=outcome.macs + 5, trace=outcome.trace)
    assert beside.macs_so_far.tolist() == [[131, 233, 335]]


def test_the_anytime_curve() -> None:
    logits = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [0.0, 3.0]]])
    found = Progress.of(_outcome(logits), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert [(point.steps, point.top1, point.gmacs) for point in found.anytime] == [(1, 0.5, 1.1e-7), (2, 1.0, 2.2e-7)]
    assert found.confidence[0].tolist() == pytest.approx([1 / (1 + math.exp(-1))] * 2)


def test_any_method_stops_early(tiny: Recognizer, ten_clips: LabelledClips, tmp_path: Path) -> None:
    env = PatchSelectionVectorEnv(ten_clips, tiny.classifier, num_envs=10)
    method = AdaFocus(tiny, env=env, agent=CenterAgent(env))
    batch = ten_clips.episodes(ten_clips.videos)
    whole = method.run(batch)
    gmacs = float(whole.macs[0]) / 1e9
    stopping = EarlyExit.for_budgets(method, ten_clips, [gmacs / 2, gmacs], batch_size=4)
    assert (stopping.label, stopping.variant, stopping.knobs) == ("center+exit", None, (gmacs / 2, gmacs))
    half = stopping.run(batch, knob=gmacs / 2)
    assert 0.3 * gmacs < float(half.macs.double().mean()) / 1e9 <= gmacs / 2
    belief = whole.trace.logits.softmax(-1).amax(-1)
    for clip, per_frame in enumerate(whole.trace.macs.tolist()):
        frames = range(len(per_frame))
        last = next(t for t in frames if belief[clip, t] >= stopping.thresholds[gmacs / 2][t])
        assert int(half.macs[clip]) == sum(per_frame[: last + 1]) == int(half.trace.macs[clip].sum())
        assert torch.equal(half.logits[clip], whole.trace.logits[clip, last])
        assert half.trace.looks[clip].tolist() == [t <= last for t in frames]
    assert torch.equal(stopping.run(batch, knob=gmacs).logits, whole.logits)
    other = EarlyExit(method, {gmacs / 2: torch.zeros(6)})
    other.load_tensors(stopping.tensors(), what="here")
    assert torch.equal(other.run(batch, knob=gmacs / 2).logits, half.logits)
    with pytest.raises(UserError, match="thresholds for clips of 2 steps, and these have 6"):
        EarlyExit(method, {1.0: torch.zeros(2)}).run(batch, knob=1.0)


def test_a_method_that_previews_the_clip_pays_for_it(tiny: Recognizer, ten_clips: LabelledClips) -> None:
    method = SCSampler(tiny, SCSamplerOptions(frames=(4,)))
    batch = ten_clips.episodes(ten_clips.videos)
    whole = method.run(batch, knob=4)
    stopping = EarlyExit(method, {1.0: torch.full((6,), -math.inf)}, knob=4)
    first = stopping.run(batch, knob=1.0)
    light = whole.trace.cost.ahead
    expected = [6 * light + int(looks) * whole.trace.cost.local for looks in whole.trace.looks[:, 0]]
    assert first.macs.tolist() == expected
    assert stopping.label == "scsampler+exit of 4"
