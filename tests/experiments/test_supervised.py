"""A minibatch in parts, in half precision, with recomputed activations: the update it gives."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adafocus_rl import checkpoint
from adafocus_rl.agents.learner import no_tick
from adafocus_rl.agents.supervised import SupervisedLearner
from adafocus_rl.agents.training_options import PrecisionConfig, SGDConfig
from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.training.stage0 import train_encoders
from adafocus_rl.experiments.training.stage1 import PatchBatch, random_patch_loss, train_on_random_patches
from adafocus_rl.models import ModelConfig, Recognizer

CPU = torch.device("cpu")


def make(recipe: Path, folder: Path, *arguments: str) -> Run:
    settings = parse_settings("test", ["--config", str(recipe), *arguments])
    return Run(RunFolder(folder), settings.config)


def without_batch_norm(recognizer: Recognizer) -> Recognizer:
    for encoder in (recognizer.glance, recognizer.focus):
        for parent in encoder.modules():
            for name, module in list(parent.named_children()):
                if isinstance(module, nn.BatchNorm2d):
                    setattr(parent, name, nn.Identity())
    return recognizer


def stage_1(recipe: Path, folder: Path, *arguments: str, batch_norm: bool = True) -> dict[str, Tensor]:
    """Parameters and statistics after two epochs of stage I; 12 videos, 5 in a batch, and so 5, 5 and 2."""
    run = make(recipe, folder, "--stage1.epochs=2", "--model.classifier.dropout=0", *arguments)
    recognizer = run.new_recognizer()
    if not batch_norm:
        without_batch_norm(recognizer)
    train_on_random_patches(run, recognizer)
    return {name: value.clone() for name, value in recognizer.state_dict().items()}


def test_accumulation_is_the_big_batch(recipe: Path, tmp_path: Path) -> None:
    """To rounding, where no layer looks at the batch as a whole; in uneven parts (2, 2 and 1 videos), too."""
    whole = stage_1(recipe, tmp_path / "whole", batch_norm=False)
    parts = stage_1(recipe, tmp_path / "parts", "--stage1.compute.accumulate=3", batch_norm=False)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6)
    untrained = without_batch_norm(make(recipe, tmp_path / "none").new_recognizer()).state_dict()
    assert not torch.allclose(whole["classifier.fc.weight"], untrained["classifier.fc.weight"], rtol=1e-2)


def test_accumulation_in_stage_0_is_the_big_batch(recipe: Path, tmp_path: Path) -> None:
    """To rounding, for both encoders and their heads; 5, 5 and 2 videos in three parts each."""
    states = []
    for accumulate in (1, 3):
        arguments = ["--stage0.stills.epochs=0", f"--stage0.compute.accumulate={accumulate}"]
        run = make(recipe, tmp_path / str(accumulate), *arguments)
        recognizer = without_batch_norm(run.new_recognizer())
        states.append({name: value.clone() for name, value in recognizer.state_dict().items()})
        train_encoders(run, recognizer)
        states.append(recognizer.state_dict())
    untrained, whole, _, parts = states
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6)
    changed = [name for name, value in whole.items() if not torch.equal(value, untrained[name])]
    assert {name.split(".")[0] for name in changed} == {"glance", "focus"}


def test_batch_norm_sees_the_parts(recipe: Path, tmp_path: Path) -> None:
    """It is not frozen: statistics are those of a part, and the running ones move with each."""
    whole = stage_1(recipe, tmp_path / "whole")
    parts = stage_1(recipe, tmp_path / "parts", "--stage1.compute.accumulate=5")
    counts = [name for name in whole if name.startswith("focus") and name.endswith("num_batches_tracked")]
    # Two epochs of three batches; in parts of one video, of 5, 5 and 2.
    assert {int(whole[name]) for name in counts} == {6}
    assert {int(parts[name]) for name in counts} == {24}


def test_recomputation_is_exact(recipe: Path, tmp_path: Path) -> None:
    plain = stage_1(recipe, tmp_path / "plain")
    recomputed = stage_1(recipe, tmp_path / "recomputed", "--stage1.compute.recompute=true")
    assert all(torch.equal(plain[name], value) for name, value in recomputed.items())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near(recipe: Path, tmp_path: Path, precision: str) -> None:
    plain = stage_1(recipe, tmp_path / "plain")
    half = stage_1(recipe, tmp_path / "half", f"--stage1.compute.precision={precision}")
    differences = []
    for name, value in plain.items():
        assert half[name].dtype == value.dtype
        if value.is_floating_point():
            torch.testing.assert_close(half[name], value, rtol=0.1, atol=0.05)
            differences.append(float((half[name] - value).abs().max()))
    assert max(differences) > 0


def test_encoders_compute_in_the_precision_and_losses_do_not(recipe: Path, tmp_path: Path) -> None:
    run = make(recipe, tmp_path, "--stage0.stills.epochs=0", "--stage0.compute.precision=bfloat16")
    recognizer = run.new_recognizer()
    seen = set()
    recognizer.focus.register_forward_hook(lambda _, __, out: seen.add(out.dtype))
    train_encoders(run, recognizer)
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in recognizer.parameters()} == {torch.float32}


@dataclasses.dataclass
class Slopes:
    """Two videos whose loss falls with a weight."""

    slope: float
    rows: Tensor = dataclasses.field(default_factory=lambda: torch.arange(2))

    def __len__(self) -> int:
        return 2


def test_float16_scales_the_loss_and_skips_overflow() -> None:
    """A gradient that is not finite is no step, and halves the scale; the next step is as in float32."""
    weight = nn.Linear(1, 1, bias=False)
    nn.init.ones_(weight.weight)
    sgd = SGDConfig(momentum=0, nesterov=False, weight_decay=0, max_grad_norm=0.5, schedule="steps", milestones=[9])
    learner = SupervisedLearner(
        {"weight": weight},
        [(weight, 0.1)],
        lambda epoch: [Slopes(float("inf") if epoch == 0 else 2.0)],
        lambda batch, part: (weight.weight.sum() * batch.slope, {"loss": torch.zeros(())}),
        sgd=sgd,
        steps=1,
        epochs=2,
        device=CPU,
        compute=PrecisionConfig(precision="float16"),
    )
    scale = learner.scaler.get_scale()
    for epoch, expected in enumerate((1.0, 0.95)):
        # The norm is clipped at 0.5 after the loss was scaled back: 1 − 0.1 · 0.5.
        learner.train_epoch(epoch, no_tick)
        assert weight.weight.item() == pytest.approx(expected)
        assert learner.scaler.get_scale() == scale * 0.5


def test_the_scale_is_part_of_what_a_stage_resumes_from(recipe: Path, tmp_path: Path) -> None:
    run = make(recipe, tmp_path, "--stage1.compute.precision=float16")
    train_on_random_patches(run, run.new_recognizer())
    (path,) = run.folder.checkpoints.glob("stage1.resume.*")
    _, manifest = checkpoint.load(path)
    assert manifest["training"]["scaler"]["scale"] == 2**16
    assert manifest["training"]["scaler"]["_growth_tracker"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "steps"}, r"^milestones is \[\]; give the epochs"),
        ({"milestones": [3]}, "the schedule is a cosine"),
        ({"max_grad_norm": -1.0}, r"^max_grad_norm is -1\.0; give at least 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SGDConfig(**options)  # type: ignore[arg-type]


def test_frames_that_do_not_add_up_are_refused() -> None:
    settings = parse_settings("test", ["--config", str(find_recipe("something_v1"))])
    config = settings.config
    with pytest.raises(UserError, match=r"num_frames is 16, but f_G looks at 8 .* 12 others; give data\.num_frames=20"):
        dataclasses.replace(config, data=dataclasses.replace(config.data, num_frames=16))
    with pytest.raises(UserError, match=r"look at clips as a whole, but stage3\.features is 'bank'"):
        dataclasses.replace(
            config,
            env=dataclasses.replace(config.env, action_space="grid"),
            stage3=dataclasses.replace(config.stage3, features="bank"),
        )


@pytest.mark.slow
def test_two_videos_train_at_full_size() -> None:
    """MobileNet-V2 on 16 frames of 224 pixels, ResNet-50 on 16 patches of 128, as stage I has them; one step."""
    torch.manual_seed(0)
    recognizer = Recognizer(ModelConfig(patch_size=128))
    compute = PrecisionConfig(precision="float32", accumulate=2, recompute=True)
    recognizer.glance.recompute = recognizer.focus.recompute = True
    clips = ClipBatch(
        clips=torch.randint(256, (2, 16, 3, 224, 224), dtype=torch.uint8), labels=torch.tensor([3, 199]),
        multi_hot=torch.zeros(2, 200), true_boxes=torch.zeros(2, 16, 4), frames=torch.zeros(2, 16, dtype=torch.long),
        rows=torch.arange(2), failed=[],
    )  # fmt: skip
    batch = PatchBatch(
        clips=clips,
        origin=recognizer.grid.uniform_origin(torch.rand(2, 16, 2)),
        kept=torch.ones(2, 16, dtype=torch.bool),
    )
    learner = SupervisedLearner(
        {"recognizer": recognizer},
        [(recognizer.focus, 5e-4), (recognizer.classifier, 0.05)],
        lambda epoch: [batch],
        partial(random_patch_loss, recognizer, compute),
        sgd=SGDConfig(),
        steps=1,
        epochs=1,
        device=CPU,
        compute=compute,
    )
    before = {name: value.clone() for name, value in recognizer.state_dict().items()}
    with recognizer.freeze("glance"):
        loss = learner.train_epoch(0, no_tick)["train/loss"]
    # Nothing is known yet: the loss is about log 200.
    assert 4.5 < loss < 6.5
    after = recognizer.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if name.startswith("glance"))
    weights = dict(recognizer.named_parameters())
    moved = {name for name in weights if not torch.equal(after[name], before[name])}
    assert moved == {name for name in weights if not name.startswith("glance")}
