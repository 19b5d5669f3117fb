"""GFNet within a clip: patch by patch, from what was processed last, until the class is certain enough."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents.methods.adafocus import patch_cost
from adafocus_rl.agents.methods.agent_learner import AgentLearner
from adafocus_rl.agents.methods.base import FIRST_VISIT, Method, check_knob
from adafocus_rl.agents.methods.classifier import chosen_features, train_classifier
from adafocus_rl.agents.methods.early_exit import Progress, confidence, solve_thresholds
from adafocus_rl.agents.methods.gfnet_options import GFNetOptions
from adafocus_rl.agents.methods.outcome import Outcome, Steps, Visit
from adafocus_rl.agents.methods.stream import Stream, check_single_frames
from adafocus_rl.agents.methods.trainer import Trainer
from adafocus_rl.agents.ppo import PPOAgent
from adafocus_rl.envs import LastCropVectorEnv, PolicyOutput
from adafocus_rl.errors import UserError
from adafocus_rl.features import GLANCE_VECTORS, EpisodeFeatures, FeatureSource, GivenClips
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.record import RANDOM_DECISIONS
from adafocus_rl.seeding import derive_seed, hash_randint


@dataclass(kw_only=True)
class _Running:
    """What is kept from frame to frame.

    Attributes:
        state: (B, H), f_C's.
        seen: (B, D_L), f_L's vectors of the last patches.
        last: (B, 2 or 3), their positions, as observed.
        active: (B,) bool, False after the exit.
        memory: the policy's.
        frame: number of the next frame.
    """

    state: Tensor
    seen: Tensor
    last: Tensor
    active: Tensor
    memory: Tensor | None = None
    frame: int = 0


class GFNet(Method):
    """GFNet (Wang et al. 2020) on the frames of a clip: AdaFocus's predecessor, with early exit.

    In each frame, a recurrent policy selects a patch for f_L. It observes only what was processed last: f_G's vector of
    the first frame, and then f_L's vector of the last patch, with its place. The reward is p_t − p_{t−1}, and PPO has
    the published settings. f_C is then fine-tuned on the policy's patches. A clip stops when f_C's highest class
    probability reaches a threshold, which is solved for a budget on the training clips (``solve_thresholds``); nothing
    is computed after that.

    Our choices: GFNet processes patches of one image, and this method one patch of each frame. Positions are those of
    the grid, with a softmax instead of a normal distribution. The policy reads pooled vectors, because a bank has no
    maps of patches. f_C begins as the run's f_C of random patches, which also reads f_G's vector of each frame; so f_G
    runs on each frame until the exit, and only the policy does not see it. f_G and f_L stay frozen.

    Args:
        recognizer: frozen f_G and f_L, and the f_C that is rewarded and then fine-tuned as a copy.
        options: budgets, and the training of the policy and of f_C.
        seed: seed of the policy's initial weights and samples.
    """

    label = "gfnet"
    Options = GFNetOptions
    options: GFNetOptions
    knob_name = "budget"
    learns = True

    def __init__(self, recognizer: Recognizer, options: GFNetOptions | None = None, *, seed: int = 0) -> None:
        super().__init__(recognizer, options, seed=seed)
        self.knobs = self.options.budgets
        self.stochastic = not self.options.deterministic
        side = recognizer.grid.frame_size
        clip = torch.zeros(1, sum(recognizer.clip_frames or (1,)), 3, side, side, dtype=torch.uint8)
        self.classifier = copy.deepcopy(recognizer.classifier)
        # It defines shapes only; the policy learns in another one.
        env = LastCropVectorEnv(GivenClips(recognizer, clip), self.classifier, num_envs=1)
        self.problem = env.problem
        self.agent = PPOAgent(env, self.options.policy, seed=derive_seed(seed, self.label))
        self.thresholds: Tensor | None = None
        self.random_thresholds: Tensor | None = None
        self._cost = patch_cost(self, self.agent.macs_per_step())

    def fit(self, train: FeatureSource, val: FeatureSource, *, trainer: Trainer) -> None:
        """Train the policy with PPO, then f_C on its patches, and solve the thresholds on the training clips.

        Random patches have thresholds of their own.

        Raises:
            UserError: if the training diverges.
        """
        options = self.options
        env = LastCropVectorEnv(train, self.recognizer.classifier, num_envs=options.batch_size, seed=self.seed)
        learner = AgentLearner(agent=self.agent, env=env, epochs=options.epochs)
        trainer.fit(self.stem, learner, epochs=options.epochs, ticks=-(-len(train.videos) // options.batch_size))
        chosen = chosen_features(self.agent, env, deterministic=options.deterministic)
        train_classifier(
            trainer, f"{self.stem}.classifier", self.classifier, train, chosen, training=options.fine_tuning
        )
        self.thresholds = self._solved(train)
        self.random_thresholds = self.random_counterpart()._solved(train)

    def _solved(self, source: FeatureSource) -> Tensor:
        """Return the thresholds (budgets, T)."""
        found = Progress.measure(
            lambda batch: self._recognise(batch, None, FIRST_VISIT), source, batch_size=self.options.batch_size
        )
        first, whole = (found.anytime[step].gmacs for step in (0, -1))
        return torch.stack(
            [
                solve_thresholds(found.confidence, found.macs, max(first, share * whole)).thresholds
                for share in self.knobs
            ]
        )

    @torch.no_grad()
    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        """Recognise B videos, each until its exit.

        Raises:
            UserError: if there is no such budget, or the thresholds are missing or those of longer or shorter clips.
        """
        check_knob(self, knob)
        assert knob is not None
        return self._recognise(batch, self._exits(knob, batch.num_steps), visit)

    def _exits(self, knob: float, steps: int) -> Tensor | None:
        """Return the thresholds (T,) of a budget; None if clips are processed as a whole."""
        if knob == 1:
            return None
        known = self._known_thresholds()
        if known is None or known.shape[1] != steps:
            have = "no thresholds" if known is None else f"thresholds for clips of {known.shape[1]} frames"
            raise UserError(f"{self.label} has {have}, and these clips have {steps}; train it on such clips first")
        return known[self.knobs.index(knob)]

    def _known_thresholds(self) -> Tensor | None:
        return self.thresholds

    @torch.no_grad()
    def _recognise(self, batch: EpisodeFeatures, thresholds: Tensor | None, visit: Visit) -> Outcome:
        """Process frame by frame, and in each frame only the clips that have not reached their exit."""
        info = {"video": batch.videos, "visit": torch.full_like(batch.videos, visit.number)}
        running, outputs, ran = self._begin(len(batch)), [], []
        states = [running.state]
        for frame in range(batch.num_steps):
            ran.append(running.active)
            outputs.append(self._advance(running, batch, frame, info, thresholds))
            states.append(running.state)
            if thresholds is not None and not bool(running.active.any()):
                break
        return self._outcome(batch, outputs, states, torch.stack(ran, dim=1), visit)

    def _begin(self, count: int) -> _Running:
        state, seen = self.problem.initial_state(count), self.problem.initial_seen(count)
        last = self.problem.spaces.nowhere(count, device=seen.device)
        active = torch.ones(count, dtype=torch.bool, device=seen.device)
        return _Running(state=state, seen=seen, last=last, active=active)

    def _advance(
        self, running: _Running, batch: EpisodeFeatures, place: int, info: dict[str, Tensor], thresholds: Tensor | None
    ) -> PolicyOutput:
        """Process the next frame, which is at a place of the batch, in the clips that have not reached their exit."""
        problem, keep = self.problem, running.active[:, None]
        at = torch.full_like(batch.videos, place)[:, None]
        vector = batch.table_at(GLANCE_VECTORS, at, keep)[:, 0]
        # Of the time step, only whether the frame is the first is observed.
        later = torch.full_like(at[:, 0], running.frame > 0)
        observation = problem.observe(vector, running.last, later, running.seen)
        output, running.memory = self._choose(observation, running.memory, info, running.frame)
        running.seen = batch.kept_local_at(at, output.action[:, None], keep)[:, 0]
        running.last = problem.spaces.position(output.action)
        after = problem.classifier.cell(problem.inputs(vector, running.seen), running.state)
        running.state = torch.where(keep, after, running.state)
        if thresholds is not None:
            threshold = thresholds[min(running.frame, len(thresholds) - 1)].to(after.device)
            running.active = running.active & (confidence(problem.classifier.logits(running.state)) < threshold)
        running.frame += 1
        return output

    def stream(self, *, knob: float | None = None, count: int = 1) -> Stream:
        """Begin to recognise streams online; they stop by the budget's thresholds, after T frames at the latest.

        With a budget of 1, no stream stops.
        """
        check_knob(self, knob)
        assert knob is not None
        check_single_frames(self.recognizer, self.label)
        known = self._known_thresholds()
        return _GFNetStream(self, self._exits(knob, 0 if known is None else known.shape[1]), count)

    def _choose(
        self, observation: Tensor, memory: Tensor | None, info: dict[str, Tensor], frame: int
    ) -> tuple[PolicyOutput, Tensor | None]:
        """Return the policy's actions in one frame, and its memory."""
        return self.agent.act_step(observation, memory, info, deterministic=self.options.deterministic)

    def _outcome(
        self, batch: EpisodeFeatures, outputs: list[PolicyOutput], states: list[Tensor], ran: Tensor, visit: Visit
    ) -> Outcome:
        """Return the outcome of the frames that were processed; the others repeat the last one."""
        grid, classifier = self.recognizer.grid, self.problem.classifier
        missing = batch.num_steps - len(outputs)
        outputs, states = outputs + outputs[-1:] * missing, states + states[-1:] * missing
        action = torch.stack([output.action for output in outputs], dim=1)
        logits = classifier.logits(torch.stack(states, dim=1))
        ran = torch.nn.functional.pad(ran, (0, missing))
        reward, probabilities = None, [output.probabilities for output in outputs]
        if visit.rewards:
            labels = batch.labels[:, None, None].expand(-1, len(states), 1)
            reward = logits.float().softmax(-1).gather(-1, labels)[..., 0].diff(dim=1)
        shown = [one for one in probabilities if one is not None] if visit.probabilities else []
        return Outcome.after(
            Steps.of_patches(
                grid,
                logits=logits[:, 1:],
                boxes=grid.action_box(action),
                kept=ran,
                ran=ran,
                cost=self._cost,
                reward=reward,
                probabilities=torch.stack(shown, dim=1) if shown else None,
            )
        )

    def random_counterpart(self) -> GFNet:
        """Return the same system with random patches, and thresholds for the same budgets.

        It still pays for the policy, for equal compute.
        """
        return _RandomPatches(self)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the policy and of f_C, and the thresholds."""
        known = {"thresholds": self.thresholds, "random_thresholds": self.random_thresholds}
        agent = {f"agent.{name}": value for name, value in self.agent.tensors().items()}
        classifier = {f"classifier.{name}": value for name, value in self.classifier.state_dict().items()}
        return {**agent, **classifier, **{name: value for name, value in known.items() if value is not None}}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        """Restore the weights of the policy and of f_C, and the thresholds."""
        checkpoint.load_into(self.classifier, tensors, prefix="classifier.", what=what)
        own = {name.removeprefix("agent."): value for name, value in tensors.items() if name.startswith("agent.")}
        self.agent.load_tensors(own, what=what)
        self.thresholds, self.random_thresholds = tensors.get("thresholds"), tensors.get("random_thresholds")


class _RandomPatches(GFNet):
    """GFNet with random patches."""

    variant = RANDOM_DECISIONS
    learns = False

    def __init__(self, method: GFNet) -> None:
        vars(self).update(vars(method))
        self.stochastic = True

    def _choose(
        self, observation: Tensor, memory: Tensor | None, info: dict[str, Tensor], frame: int
    ) -> tuple[PolicyOutput, Tensor | None]:
        seed, actions = derive_seed(self.seed, self.label, "random patches"), self.recognizer.num_actions
        at = torch.full_like(info["video"], frame)
        return PolicyOutput(action=hash_randint(actions, seed, info["video"], at, info["visit"])), None

    def _known_thresholds(self) -> Tensor | None:
        return self.random_thresholds


class _GFNetStream(Stream):
    def __init__(self, method: GFNet, thresholds: Tensor | None, count: int) -> None:
        self.method = method
        self.thresholds = thresholds
        self.running = method._begin(count)

    @property
    def over(self) -> Tensor:
        """(B,) bool, where the exit is reached."""
        return ~self.running.active

    @torch.no_grad()
    def step(self, frame: EpisodeFeatures) -> Steps:
        """Process the next frame; nothing is computed after the exit."""
        before = self.running.state
        ran = self.running.active[:, None]
        info = {"video": frame.videos, "visit": torch.zeros_like(frame.videos)}
        output = self.method._advance(self.running, frame, 0, info, self.thresholds)
        return self.method._outcome(frame, [output], [before, self.running.state], ran, FIRST_VISIT).trace
