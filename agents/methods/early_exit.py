"""Early exit: a method stops a clip once it is confident enough, so that the mean compute meets a budget (GFNet)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adafocus_rl.agents.methods.base import FIRST_VISIT, Method, check_knob
from adafocus_rl.agents.methods.outcome import Outcome, Steps, Visit
from adafocus_rl.errors import UserError
from adafocus_rl.features import EpisodeFeatures, FeatureSource
from adafocus_rl.features.shares import own_parts

HALVINGS = 60
"""Steps of the bisection."""

MOST_LOG_Q = 40.0
"""Bound of |log q|; there, all clips exit after the first or after the last step."""


@dataclass(frozen=True, kw_only=True)
class Exits:
    """Exit rule for one budget."""

    thresholds: Tensor
    """(T,) float32, the lowest confidence with which a clip exits after each step; ∞ if none does, −∞ in the last."""

    gmacs: float
    """Mean GMACs per clip with these thresholds on the clips for which they were solved."""


@dataclass(frozen=True, kw_only=True)
class AnytimePoint:
    """Mean results of a method if it stops all clips after the same step."""

    steps: int
    """Number of steps, from 1."""

    top1: float
    """Share of the clips that are recognised, in [0, 1]."""

    gmacs: float
    """Mean GMACs per clip."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Confidence, compute and success of a method on N clips after each of T steps."""

    confidence: Tensor
    """(N, T) float32, the highest class probability."""

    macs: Tensor
    """(N, T) int64, MACs spent so far."""

    correct: Tensor
    """(N, T) bool, whether the most likely class is a true one."""

    @classmethod
    def of(cls, outcome: Outcome, multi_hot: Tensor) -> Progress:
        """Return the progress of the method behind an outcome.

        Args:
            outcome: result on N clips.
            multi_hot: (N, K), the true classes.
        """
        logits = outcome.trace.logits
        return cls(
            confidence=confidence(logits),
            macs=outcome.macs_so_far,
            correct=multi_hot.gather(1, logits.argmax(-1)) > 0,
        )

    @classmethod
    @torch.no_grad()
    def measure(cls, run: Callable[[EpisodeFeatures], Outcome], source: FeatureSource, *, batch_size: int) -> Progress:
        """Run a method on all clips of a source and return its progress, on CPU.

        Each rank runs it on its part of the clips, and returns the progress on all.

        Args:
            run: the method as a function of a batch.
            source: features of N clips.
            batch_size: clips per batch; does not change the result.
        """
        parts = [
            {name: batch.join(value).cpu() for name, value in vars(cls.of(run(batch), batch.multi_hot)).items()}
            for batch in own_parts(source, batch_size)
        ]
        return cls(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    @property
    def anytime(self) -> list[AnytimePoint]:
        """The anytime curve: accuracy and compute after each of the T steps."""
        top1, gmacs = self.correct.double().mean(0).tolist(), (self.macs.double().mean(0) / 1e9).tolist()
        return [
            AnytimePoint(steps=step, top1=share, gmacs=spent)
            for step, (share, spent) in enumerate(zip(top1, gmacs, strict=True), 1)
        ]


def confidence(logits: Tensor) -> Tensor:
    """Return the highest class probability (…,) float32 of logits (…, K)."""
    return logits.float().softmax(-1).amax(-1)


def thresholds_of(confidences: Tensor, log_q: float) -> Tensor:
    """Return the thresholds (T,) that let shares p_k ∝ q^k of the clips exit after step k = 1 … T.

    At step k, the threshold is the ⌊N · p_k⌋-th largest confidence of the clips that remain, or the smallest if fewer
    remain. The last threshold lets all pass.

    Args:
        confidences: (N, T).
        log_q: log q; at 0, the same number of clips exits after each step.
    """
    count, steps = confidences.shape
    shares = torch.softmax(log_q * torch.arange(1, steps + 1, dtype=torch.float64), 0)
    # The small number keeps products that should be integers from being rounded down to the next lower one.
    wanted = (count * shares + 1e-9).floor().long().tolist()
    thresholds = torch.full((steps,), torch.inf, dtype=confidences.dtype)
    remaining = torch.ones(count, dtype=torch.bool)
    for step in range(steps - 1):
        found = confidences[remaining, step]
        if wanted[step] and len(found):
            thresholds[step] = found.topk(min(wanted[step], len(found))).values[-1]
            remaining &= confidences[:, step] < thresholds[step]
    thresholds[-1] = -torch.inf
    return thresholds


def exit_steps(confidences: Tensor, thresholds: Tensor) -> Tensor:
    """Return the first step (N,) int64, from 0, whose confidence (N, T) reaches its threshold (T,)."""
    return (confidences >= thresholds).int().argmax(1)


def solve_thresholds(confidences: Tensor, macs: Tensor, budget_gmacs: float) -> Exits:
    """Solve the thresholds with which the mean compute of N clips is as large as a budget allows.

    q is found by bisection: the larger it is, the later the clips exit.

    Args:
        confidences: (N, T) after each step, on CPU.
        macs: (N, T) spent until then, on CPU.
        budget_gmacs: the budget, mean GMACs per clip.

    Raises:
        UserError: if even an exit of all clips after the first step takes more.
    """
    spent = macs.double() / 1e9

    def solved(log_q: float) -> Exits:
        thresholds = thresholds_of(confidences, log_q)
        exits = exit_steps(confidences, thresholds)
        return Exits(thresholds=thresholds, gmacs=float(spent.gather(1, exits[:, None]).mean()))

    low, high = -MOST_LOG_Q, MOST_LOG_Q
    best = solved(low)
    if best.gmacs > budget_gmacs:
        raise UserError(
            f"a budget of {budget_gmacs:g} GMACs is not enough for the first step of a clip, which takes "
            f"{best.gmacs:.4g}; give more, up to {float(spent[:, -1].mean()):.4g} for whole clips"
        )
    whole = solved(high)
    if whole.gmacs <= budget_gmacs:
        return whole
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = solved(middle)
        if found.gmacs <= budget_gmacs:
            low, best = middle, found
        else:
            high = middle
    return best


def stop_at(outcome: Outcome, last: Tensor) -> Outcome:
    """Return the outcome of a method that stops each clip after a step, given its outcome on whole clips.

    Args:
        outcome: result on B clips.
        last: (B,) int64, the last step of each clip, from 0.
    """
    steps = outcome.trace
    step = torch.arange(steps.logits.shape[1], device=last.device).expand(len(last), -1)
    ran = step <= last[:, None]
    held = step.minimum(last[:, None])[..., None].expand_as(steps.logits)

    def until(value: Tensor | None, otherwise: int) -> Tensor | None:
        return None if value is None else torch.where(ran, value, otherwise)

    trace = dataclasses.replace(
        steps,
        logits=steps.logits.gather(1, held),
        kept=steps.looks & ran,
        ran=ran if steps.ran is None else ran & steps.ran,
        order=until(steps.order, -1),
        sizes=until(steps.sizes, 0),
        focus_macs=until(steps.focus_macs, 0),
        reward=until(steps.reward, 0),
    )
    return Outcome(
        # A method may combine its steps' logits otherwise in the end.
        logits=torch.where(ran[:, -1:], outcome.logits, trace.logits[:, -1]),
        macs=outcome.macs_so_far.gather(1, last[:, None])[:, 0],
        trace=trace,
    )


class EarlyExit(Method):
    """Another method that stops each clip once its confidence reaches a threshold.

    A knob is a budget in GMACs per clip. The confidence is the highest class probability, and the thresholds are solved
    on training clips (``for_budgets``), where exit shares are p_k ∝ q^k as in GFNet.

    The wrapped method runs on whole clips and the exit is applied to its trace: reported predictions and MACs are those
    up to the exit, but measured time is that of the whole clip. A method that looks at frames in another order than the
    clip's exits in the order of its trace.

    Args:
        method: the method, trained.
        thresholds: thresholds (T,) by budget.
        knob: operating point of the method.
    """

    knob_name = "budget"

    def __init__(self, method: Method, thresholds: Mapping[float, Tensor], *, knob: float | None = None) -> None:
        super().__init__(method.recognizer, seed=method.seed)
        check_knob(method, knob)
        self.method = method
        self.method_knob = knob
        self.thresholds = dict(thresholds)
        self.knobs = tuple(self.thresholds)
        self.label = f"{method.label}+exit" if knob is None else f"{method.label}+exit of {knob:g}"
        self.variant = method.variant
        self.stochastic = method.stochastic
        self.privileged = method.privileged

    @classmethod
    def for_budgets(
        cls,
        method: Method,
        source: FeatureSource,
        budgets: Sequence[float],
        *,
        batch_size: int,
        knob: float | None = None,
    ) -> EarlyExit:
        """Solve the thresholds for some budgets.

        Args:
            method: the method, trained.
            source: features of the training clips.
            budgets: mean GMACs per clip.
            batch_size: clips per batch; does not change the result.
            knob: operating point of the method.

        Raises:
            UserError: if a budget is too small for the first step.
        """
        found = Progress.measure(lambda batch: method.run(batch, knob=knob), source, batch_size=batch_size)
        solved = {budget: solve_thresholds(found.confidence, found.macs, budget) for budget in budgets}
        return cls(method, {budget: exits.thresholds for budget, exits in solved.items()}, knob=knob)

    @torch.no_grad()
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B clips with a budget's thresholds."""
        check_knob(self, knob)
        assert knob is not None
        outcome = self.method.run(batch, knob=self.method_knob, visit=visit)
        return stop_at(outcome, exit_steps(confidence(outcome.trace.logits), self._thresholds(knob, outcome.trace)))

    def _thresholds(self, knob: float, steps: Steps) -> Tensor:
        thresholds = self.thresholds[knob].to(steps.logits.device)
        if len(thresholds) != steps.logits.shape[1]:
            raise UserError(
                f"{self.label} has thresholds for clips of {len(thresholds)} steps, and these have "
                f"{steps.logits.shape[1]}; give clips of the same length"
            )
        return thresholds

    def tensors(self) -> dict[str, Tensor]:
        """Return the thresholds by budget; the wrapped method is saved on its own."""
        return {f"thresholds.{budget}": values for budget, values in self.thresholds.items()}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        """Restore the thresholds."""
        for budget in self.thresholds:
            self.thresholds[budget] = tensors[f"thresholds.{budget}"]
