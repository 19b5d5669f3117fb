"""What each stage trains, what it leaves alone, and at which learning rate."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adafocus_rl.agents.methods import WholeFrames
from adafocus_rl.agents.sgd import make_optimizer, set_rate
from adafocus_rl.agents.training_options import ClassifierTraining, SGDConfig
from adafocus_rl.checkpoint import tensors_hash
from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.evaluation.measure import Measured
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.training.methods import other_methods
from adafocus_rl.experiments.training.stage0 import train_encoders
from adafocus_rl.experiments.training.stage1 import kept_frames, random_origins, train_on_random_patches
from adafocus_rl.experiments.training.stage2 import classifier_report, train_policy
from adafocus_rl.experiments.training.stage3 import finetune_classifier
from adafocus_rl.experiments.training.trainer import RunTrainer
from adafocus_rl.features import FeatureSource, LiveFeatures
from adafocus_rl.geometry import PatchGrid
from adafocus_rl.models import Recognizer

Rates = list[list[float]]

CLIPS = (
    "--data.num_frames=5", "--model.glance.num_frames=2", "--model.focus.num_frames=3",
    "--model.classifier.name=average", "--env.action_space=continuous", "--stage2.features=live",
    "--stage3.features=live", "--agent.batch_norm=true",
)  # fmt: skip
"""AdaFocus-TSM: a clip is one step."""


def make(recipe: Path, folder: Path, *arguments: str) -> Run:
    settings = parse_settings("test", ["--config", str(recipe), *arguments])
    return Run(RunFolder(folder), settings.config)


@pytest.fixture
def run(recipe: Path, tmp_path: Path) -> Run:
    return make(recipe, tmp_path)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Rates:
    """Learning rates of the parameter groups at every step of SGD."""
    seen: Rates = []
    step = torch.optim.SGD.step

    def recorded(self: torch.optim.SGD, *args: Any, **kwargs: Any) -> Any:
        seen.append([group["lr"] for group in self.param_groups])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", recorded)
    return seen


def parts(recognizer: Recognizer) -> dict[str, str]:
    """Hashes of everything in each part, batch statistics included."""
    return {name: tensors_hash(module) for name, module in recognizer.parts().items()}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def watch(module: nn.Module) -> list[tuple[bool, bool]]:
    """(training, any parameter wants a gradient) of every submodule at every use."""
    seen: list[tuple[bool, bool]] = []
    for part in module.modules():
        part.register_forward_pre_hook(
            lambda used, _: seen.append((used.training, any(value.requires_grad for value in used.parameters())))
        )
    return seen


def cosine(initial: float, total: int) -> list[float]:
    return [initial * 0.5 * (1 + math.cos(math.pi * step / total)) for step in range(total)]


def test_the_schedule_in_closed_form() -> None:
    layer = nn.Linear(2, 2)
    optimizer = make_optimizer([(layer, 0.4)], SGDConfig())
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 1e-4)
    for step, expected in ((0, 0.4), (25, 0.2 * (1 + math.sqrt(0.5))), (50, 0.2), (100, 0.0)):
        set_rate(optimizer, SGDConfig(), step, steps=10, epochs=10)
        assert math.isclose(group["lr"], expected, abs_tol=1e-12)


def test_steps_in_closed_form() -> None:
    """TSM's: a tenth after 20 and after 40 epochs, plain momentum."""
    config = SGDConfig(schedule="steps", milestones=[20, 40], nesterov=False, weight_decay=5e-4)
    optimizer = make_optimizer([(nn.Linear(2, 2), 0.01)], config)
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, False, 5e-4)
    for step, expected in ((0, 0.01), (59, 0.01), (60, 0.001), (119, 0.001), (120, 1e-4), (149, 1e-4)):
        set_rate(optimizer, config, step, steps=3, epochs=50)
        assert math.isclose(group["lr"], expected)


def test_adam_in_closed_form() -> None:
    layer = nn.Linear(2, 2, bias=False)
    config = SGDConfig(optimizer="adam", momentum=0.8, weight_decay=0.0)
    optimizer = make_optimizer([(layer, 0.1)], config)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.999)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.tensor([[3.0, -0.01], [100.0, -5.0]])
    optimizer.step()
    # Adam's first step is the learning rate against the sign of the gradient, whatever its size.
    torch.testing.assert_close(before - layer.weight.detach(), 0.1 * layer.weight.grad.sign(), atol=1e-5, rtol=1e-4)
    set_rate(optimizer, config, 10, steps=10, epochs=2)
    assert math.isclose(optimizer.param_groups[0]["lr"], 0.05)


def test_stage_0_in_tsms_way(recipe: Path, tmp_path: Path, rates: Rates) -> None:
    """Heads have a rate of their own, and an averaging f_C begins with them."""
    run = make(
        recipe, tmp_path, "--stage0.epochs=3", "--stage0.stills.epochs=0", "--stage0.head_learning_rate=0.5",
        "--stage0.dropout=0.5", "--stage0.sgd.schedule=steps", "--stage0.sgd.milestones=[1]",
        "--model.classifier.name=average",
    )  # fmt: skip
    recognizer = run.new_recognizer()
    before = parts(recognizer)
    train_encoders(run, recognizer)
    # 12 videos, 5 in a batch: three steps an epoch.
    assert rates == [[pytest.approx(0.03), pytest.approx(0.5)]] * 3 + [[pytest.approx(0.003), pytest.approx(0.05)]] * 6
    assert changed(before, parts(recognizer)) == {"glance", "focus", "classifier"}


def test_stage_0_trains_both_encoders_and_nothing_else(run: Run, rates: Rates) -> None:
    recognizer = run.new_recognizer()
    before = parts(recognizer)
    train_encoders(run, recognizer)
    assert changed(before, parts(recognizer)) == {"glance", "focus"}
    assert not any(module.training for module in recognizer.modules())
    # One stage of stills and one of clips, each from its own initial rate; 5 and 12 videos, 5 in a batch.
    expected = cosine(0.03, 1) + cosine(0.03, 3)
    assert rates == [[pytest.approx(rate), pytest.approx(rate)] for rate in expected]


def test_stage_0_without_epochs_leaves_the_encoders_alone(recipe: Path, tmp_path: Path) -> None:
    run = make(recipe, tmp_path, "--stage0.epochs=0", "--stage0.stills.epochs=0")
    assert run.clips.stills is None
    recognizer = run.new_recognizer()
    before = parts(recognizer)
    train_encoders(run, recognizer)
    assert parts(recognizer) == before


@pytest.mark.parametrize("more", [(), CLIPS], ids=["frames", "clips"])
def test_stage_1_freezes_the_glance(recipe: Path, tmp_path: Path, rates: Rates, more: tuple[str, ...]) -> None:
    run = make(recipe, tmp_path, "--stage1.epochs=4", "--stage1.classifier_learning_rate=0.2", *more)
    recognizer = run.new_recognizer()
    before = parts(recognizer)
    glance, focus = watch(recognizer.glance), watch(recognizer.focus)
    train_on_random_patches(run, recognizer)
    assert changed(before, parts(recognizer)) == {"focus", "classifier"}
    assert {training for training, _ in glance} == {False}
    assert {gradient for _, gradient in glance} == {False}
    assert {training for training, _ in focus} == {True}
    # Four epochs of three steps; two rates, one cosine, and no epoch that trains nothing.
    pairs = list(zip(cosine(0.03, 12), cosine(0.2, 12), strict=True))
    assert rates == [[pytest.approx(one), pytest.approx(other)] for one, other in pairs]
    assert rates[0] == [0.03, 0.2]
    assert min(min(pair) for pair in rates) > 0


def test_stage_1_without_a_rate_for_the_focus_trains_the_classifier_alone(recipe: Path, tmp_path: Path) -> None:
    run = make(recipe, tmp_path, "--stage1.focus_learning_rate=0")
    recognizer = run.new_recognizer()
    # One of small_focus's buffers is a count of batches, which batch normalisation in training mode would raise.
    assert any(name.endswith("num_batches_tracked") for name in recognizer.focus.state_dict())
    before = parts(recognizer)
    focus = watch(recognizer.focus)
    train_on_random_patches(run, recognizer)
    assert changed(before, parts(recognizer)) == {"classifier"}
    assert set(focus) == {(False, False)}
    # Afterwards it can be trained again.
    assert all(value.requires_grad for value in recognizer.focus.parameters())


def test_stage_1_crops_every_offset(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random patches reach the first and the last offset; 12 videos × 4 frames × 2 axes × 20 passes over 17 offsets."""
    run = make(recipe, tmp_path, "--stage1.epochs=20", "--stage1.sgd.batch_size=12")
    origins: list[torch.Tensor] = []
    crop = PatchGrid.crop

    def recorded(
        self: PatchGrid, frames: torch.Tensor, origin: torch.Tensor, *more: torch.Tensor | None, **rows: torch.Tensor
    ) -> torch.Tensor:
        origins.append(origin)
        return crop(self, frames, origin, *more, **rows)

    monkeypatch.setattr(PatchGrid, "crop", recorded)
    train_on_random_patches(run, run.new_recognizer())
    drawn = torch.cat(origins)
    assert drawn.shape == (20 * 12 * 4, 2)
    for axis in range(2):
        counts = drawn[:, axis].bincount(minlength=17).float()
        assert len(counts) == 17
        # χ² with 16 degrees of freedom is above 39 in one of a thousand draws.
        assert float(((counts - 960 / 17) ** 2 / (960 / 17)).sum()) < 39


@pytest.mark.parametrize(("kind", "more"), [("bank", ()), ("live", ()), ("live", CLIPS)])
def test_stages_2_and_3_freeze_the_recognizer(
    recipe: Path, tmp_path: Path, kind: Any, more: tuple[str, ...], rates: Rates
) -> None:
    run = make(recipe, tmp_path, *more)
    recognizer = run.new_recognizer().eval()
    features = RunFeatures(run, recognizer)
    source = features.training(kind)
    assert isinstance(source, LiveFeatures) == (kind == "live")
    validation = features.validation()
    tuned = copy.deepcopy(recognizer.classifier)
    uses = watch(recognizer)
    env = run.env(source, recognizer.classifier)
    agent = run.new_agent(env)
    before, policy = parts(recognizer), tensors_hash(agent.tensors())
    train_policy(run, agent, env, validation)
    assert parts(recognizer) == before
    assert tensors_hash(agent.tensors()) != policy
    assert rates == []

    policy = tensors_hash(agent.tensors())
    training = watch(tuned)
    finetune_classifier(run, tuned, agent, env)
    assert {mode for mode, _ in training} == {True}
    assert tensors_hash(tuned) != before["classifier"]
    assert parts(recognizer) == before
    assert tensors_hash(agent.tensors()) == policy
    assert rates == [[pytest.approx(rate)] for rate in cosine(0.003, 3)]

    assert {training for training, _ in uses} == {False}
    assert all(value.grad is None for value in recognizer.parameters())
    assert not tuned.training


def test_the_whole_frame_row_has_its_own_classifier(run: Run, rates: Rates) -> None:
    recognizer = run.new_recognizer().eval()
    source: FeatureSource = RunFeatures(run, recognizer).training("bank")
    before = parts(recognizer)
    training = ClassifierTraining(epochs=2, learning_rate=0.5, sgd=SGDConfig(batch_size=6))
    method = WholeFrames(recognizer, training=training)
    method.fit(source, source, trainer=RunTrainer(run))
    assert parts(recognizer) == before
    assert tensors_hash(method.classifier) != before["classifier"]
    assert not method.classifier.training
    assert rates == [[pytest.approx(rate)] for rate in cosine(0.5, 4)]


def test_random_patches_belong_to_videos_and_epochs(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of a batch changes none of them; each video, step, axis and epoch has its own."""
    seen: dict[str, dict[tuple[int, int], list[list[int]]]] = {}
    for size in ("5", "3"):
        run = make(recipe, tmp_path / size, "--stage1.epochs=2", f"--stage1.sgd.batch_size={size}")
        recognizer, found, epochs = run.new_recognizer(), seen.setdefault(size, {}), list[int]()

        def spy(
            grid: PatchGrid,
            rows: Tensor,
            steps: int,
            *,
            seed: int,
            found: Any = found,
            epochs: Any = epochs,
            **more: Any,
        ) -> Tensor:
            origins = random_origins(grid, rows, steps, seed=seed, **more)
            if seed not in epochs:
                epochs.append(seed)
            found.update(
                {(epochs.index(seed), row): place.tolist() for row, place in zip(rows.tolist(), origins, strict=True)}
            )
            return origins

        monkeypatch.setattr("adafocus_rl.experiments.training.stage1.random_origins", spy)
        train_on_random_patches(run, recognizer)
    assert seen["5"] == seen["3"]
    assert {*seen["5"]} == {(epoch, row) for epoch in range(2) for row in range(12)}
    assert len({str(places) for places in seen["5"].values()}) == 24
    places = torch.tensor([*seen["5"].values()])
    assert not torch.equal(places[..., 0], places[..., 1])
    assert places.min() == 0
    assert places.max() == recognizer.grid.last_offset


def test_dropped_frames_belong_to_videos_and_epochs() -> None:
    rows = torch.arange(500)
    kept = kept_frames(rows, 8, 0.3, seed=1)
    # Five standard deviations of 4000 independent frames.
    assert abs(float(kept.float().mean()) - 0.7) <= 5 * (0.3 * 0.7 / 4000) ** 0.5
    assert torch.equal(kept[7:9], kept_frames(rows[7:9], 8, 0.3, seed=1))
    assert not torch.equal(kept, kept_frames(rows, 8, 0.3, seed=2))
    assert kept_frames(rows, 8, 0.0, seed=1).all()


def test_f_c_gets_zeros_for_dropped_frames(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What f_L has computed for a dropped frame reaches neither f_C nor f_L's gradient."""
    run = make(recipe, tmp_path, "--stage1.epochs=1", "--stage1.drop_frames=0.4")
    recognizer = run.new_recognizer()
    glance, seen = recognizer.glance.vector_dim, []
    sequence = type(recognizer.classifier).sequence

    def spy(self: Any, x: Tensor, state: Tensor | None = None) -> Tensor:
        seen.append((x[..., glance:] != 0).any(-1))
        return sequence(self, x, state)

    masks: list[Tensor] = []

    def mask(*args: Any, **kwargs: Any) -> Tensor:
        masks.append(kept_frames(*args, **kwargs))
        return masks[-1]

    monkeypatch.setattr(type(recognizer.classifier), "sequence", spy)
    monkeypatch.setattr("adafocus_rl.experiments.training.stage1.kept_frames", mask)
    train_on_random_patches(run, recognizer)
    assert torch.equal(torch.cat(seen), torch.cat(masks))
    assert 0 < torch.cat(masks).float().mean() < 1


def test_whole_frames_are_trained_again_when_something_they_depend_on_has_changed(
    recipe: Path, tmp_path: Path, rates: Rates
) -> None:
    """Once; again for another learning rate."""
    run = make(recipe, tmp_path)
    recognizer = run.new_recognizer().eval()
    features = RunFeatures(run, recognizer)

    def trained(run: Run) -> tuple[str, int]:
        (method,) = other_methods(run, features)
        assert isinstance(method, WholeFrames)
        updates, _ = len(rates), rates.clear()
        return tensors_hash(method.classifier), updates

    first, updates = trained(run)
    assert updates > 0
    assert trained(run) == (first, 0)
    other, again = trained(make(recipe, tmp_path, "--stage1.classifier_learning_rate=0.011"))
    assert again == updates
    assert other != first


def _found(top1: float, labels: list[int]) -> Measured:
    hits = [int(i < top1 * len(labels)) for i in range(len(labels))]
    return Measured(
        top1=top1, map=0.0, macs=0.0, local_macs=0.0, rows=[*range(len(labels))], labels=labels, visits=1, hits=hits
    )


def test_a_classifier_at_chance_is_warned_of_before_stage_2() -> None:
    """60 of 100 videos are of one class: 70 % right is 2.2 standard errors (4.6 %) above it, 68 % is 1.7."""
    labels = [0] * 60 + [1] * 40
    said, *warnings = classifier_report(_found(0.7, labels), 0.046)
    assert said == (
        "stage I: f_C recognises 70.0% ± 4.6% of the validation videos on random patches; the most frequent class "
        "alone is 60.0%"
    )
    assert not warnings
    assert classifier_report(_found(0.68, labels), 0.047)[1].startswith("warning: f_C is not clearly better")
    assert len(classifier_report(_found(0.6, labels), 0.0)) == 2


def test_the_accuracy_of_stage_1_is_printed_before_stage_2(finished: Path) -> None:
    printed = (finished.parent / "stderr.txt").read_text()
    assert printed.index("stage I: f_C recognises") < printed.index("stage2:")
    assert "of the validation videos on random patches" in printed
