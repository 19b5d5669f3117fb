"""Two processes train and evaluate as one does, with the same minibatches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from adafocus_rl import ranks
from adafocus_rl.agents import CenterAgent, RandomAgent
from adafocus_rl.agents.learner import no_tick
from adafocus_rl.agents.methods import AdaFocus
from adafocus_rl.agents.parallel import average_statistics
from adafocus_rl.agents.supervised import SupervisedLearner
from adafocus_rl.agents.training_options import PrecisionConfig, SGDConfig
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.evaluation.measure import acting, measure
from adafocus_rl.experiments.evaluation.recording import Recorder, make_record
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.metrics_log import read_metrics
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.runtime import find_device
from adafocus_rl.experiments.training.stage0 import train_encoders
from adafocus_rl.experiments.training.stage1 import train_on_random_patches
from adafocus_rl.experiments.training.stage3 import finetune_classifier
from adafocus_rl.features import FeatureSource, LiveFeatures
from adafocus_rl.features.shares import own_parts
from tests.experiments.test_supervised import without_batch_norm
from tests.two_ranks import on_ranks

Arrays = dict[str, Any]


def make_run(recipe: Path, folder: Path, lists: Path, *more: str) -> Run:
    data = recipe.parent / "data"
    given = {
        "data.embedded": "null", "data.root": data, "data.train_list": lists / "train.csv",
        "data.val_list": data / "val.csv", "stage0.dropout": 0, "stage0.sgd.batch_size": 4, "stage1.sgd.batch_size": 4,
        "stage3.sgd.batch_size": 4, "model.classifier.dropout": 0, "model.num_classes": 10,
    }  # fmt: skip
    arguments = [f"--{name}={value}" for name, value in given.items()]
    settings = parse_settings("test", ["--config", str(recipe), *arguments, *more])
    return Run(RunFolder(folder), settings.config)


def all_stages(recipe: Path, folder: Path, lists: Path) -> Arrays:
    """Weights after stages 0, I and III, logs, and what an evaluation finds before any training."""
    run = make_run(recipe, folder, lists)
    recognizer = without_batch_norm(run.new_recognizer())
    live = LiveFeatures(recognizer, run.clips.val, device=run.device)
    bank = RunFeatures(run, recognizer).validation()
    found: Arrays = {"banked": evaluated(run, bank, recognizer), "parts": parts_without_messages(bank)}
    found["live"] = evaluated(run, live, recognizer)
    train_encoders(run, recognizer)
    found["stage0"] = weights(recognizer)
    train_on_random_patches(run, recognizer)
    found["stage1"] = weights(recognizer)
    source = LiveFeatures(recognizer, run.clips.train, device=run.device)
    env = run.env(source, recognizer.classifier)
    finetune_classifier(run, recognizer.classifier, CenterAgent(env, seed=0), env)
    found["stage3"] = weights(recognizer)
    return {**found, "failed": run.clips.failed, "usable": source.videos.tolist()}


def parts_without_messages(bank: FeatureSource) -> list[Any]:
    """Rows, share and joined rows of this rank's part of each batch of a bank, whose sizes all ranks know."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(ranks, "counts")
        for part in own_parts(bank, 4, epoch=3):
            found.append((part.videos.tolist(), part.share, part.join(torch.cat([part.videos] * 2)).tolist()))
    return found


def weights(module: nn.Module) -> Arrays:
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


def evaluated(run: Run, source: Any, recognizer: Any) -> Arrays:
    env = run.env(source, recognizer.classifier)
    method = AdaFocus(recognizer, env=env, agent=RandomAgent(env, seed=0))
    recorder = Recorder(name="random")
    found = measure(acting(method), source, batch_size=4, visits=2, recorder=recorder)
    trace = make_record(run.clips.val, "val", [recorder]).traces[0]
    return {**vars(found), "confidence": trace.confidence.tolist(), "boxes": trace.boxes.tolist()}


@pytest.fixture
def lists(recipe: Path, tmp_path: Path) -> Path:
    """13 training videos, so that one rank has no video of the last minibatch, and one cannot be decoded."""
    data = recipe.parent / "data"
    broken = tmp_path / "broken.mp4"
    broken.write_bytes((data / "train" / "00000.mp4").read_bytes()[:500])
    head, *rows = (data / "train.csv").read_text().splitlines()
    (tmp_path / "train.csv").write_text("\n".join([head, *rows, f"{broken},3,8"]) + "\n")
    return tmp_path


def test_two_ranks_train_and_evaluate_as_one(recipe: Path, lists: Path, tmp_path: Path) -> None:
    alone = all_stages(recipe, tmp_path / "one", lists)
    both = on_ranks(all_stages, recipe, tmp_path / "two", lists, timeout=120.0)
    assert list(alone["failed"]) == [str(lists / "broken.mp4")]
    for found in both:
        assert found["failed"] == alone["failed"]
        assert found["usable"] == alone["usable"] == [*range(12)]
        assert [sorted(joined) for *_, joined in found["parts"]] == [sorted(rows * 2) for rows, *_ in alone["parts"]]
        # Each rank recognises batches as one process forms them, so these are equal to the last bit.
        assert found["banked"] == alone["banked"]
        assert found["live"] == alone["live"]
        for stage in ("stage0", "stage1", "stage3"):
            for name, value in alone[stage].items():
                np.testing.assert_allclose(found[stage][name], value, rtol=1e-4, atol=1e-6, err_msg=f"{stage} {name}")
                np.testing.assert_array_equal(found[stage][name], both[0][stage][name])
    for (rows, share, _), first, second in zip(alone["parts"], *(found["parts"] for found in both), strict=True):
        own = [part[0] if part[1] else [] for part in (first, second)]
        assert (own[0] + own[1], share) == (rows, 1.0)
        assert [first[1], second[1]] == [len(part) / len(rows) for part in own]
    assert np.abs(alone["stage3"]["classifier.fc.weight"] - alone["stage1"]["classifier.fc.weight"]).max() > 1e-4
    one, two = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert [entry["stage"] for entry in one] == ["stage0", "stage1", "stage3"]
    for single, shared in zip(one, two, strict=True):
        assert single.pop("stage") == shared.pop("stage")
        assert single == pytest.approx(shared, rel=1e-4, abs=1e-5)
    names = [sorted(path.name for path in (tmp_path / name / "checkpoints").iterdir()) for name in ("one", "two")]
    assert names[0] == names[1]


class Rows:
    """A minibatch of some rows."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values
        self.rows = torch.arange(len(values))

    def __len__(self) -> int:
        return len(self.values)


def partly_used(accumulate: int, overlapped: bool) -> Arrays:
    """Weights after steps in which a weight is used by no rank, by one rank, and by both; and batch statistics."""
    torch.manual_seed(0)
    used, sometimes, never = (nn.Linear(3, 1) for _ in range(3))
    whole = torch.arange(15.0).view(5, 3) / 10
    whole[3:] *= -1

    def batches(epoch: int) -> list[Rows | None]:
        steps = (whole, whole[:1], whole[3:])
        own = [step[ranks.own_part(len(step))] for step in steps]
        return [Rows(part) if len(part) else None for part in own]

    def losses(batch: Rows, part: slice) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        values = batch.values[part]
        loss = used(values).square().mean()
        if (values < 0).any():
            loss = loss + (sometimes(values) * (values[:, :1] < 0)).square().mean()
        return loss, {"loss": loss}

    modules = {"used": used, "sometimes": sometimes, "never": never}
    learner = SupervisedLearner(
        modules, [(module, 0.1) for module in modules.values()], batches, losses,
        sgd=SGDConfig(weight_decay=0.1, max_grad_norm=0.5), steps=3, epochs=2, device=torch.device("cpu"),
        compute=PrecisionConfig(accumulate=accumulate),
    )  # fmt: skip
    learner.overlapped = overlapped
    scalars = [learner.train_epoch(epoch, no_tick) for epoch in range(2)]
    norm = nn.BatchNorm1d(2)
    norm(torch.full((4, 2), 1.0 + ranks.rank()))
    average_statistics([norm])
    found = {name: weights(module) for name, module in modules.items()}
    return {**found, "loss": [entry["train/loss"] for entry in scalars], "mean": norm.running_mean.tolist()}  # type: ignore[union-attr]


@pytest.mark.parametrize(("accumulate", "overlapped"), [(1, False), (2, False), (1, True), (2, True)])
def test_unused_weights_stay_and_empty_parts_count_nothing(accumulate: int, overlapped: bool) -> None:
    alone = partly_used(accumulate, overlapped)
    for found in on_ranks(partly_used, accumulate, overlapped):
        assert found["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        for name in ("used", "sometimes", "never"):
            for key, value in alone[name].items():
                np.testing.assert_allclose(found[name][key], value, rtol=1e-5, atol=1e-7, err_msg=name)
        assert found["mean"] == pytest.approx([0.15, 0.15])  # ranks saw 1 and 2; momentum 0.1
    assert alone["mean"] == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("auto", "this machine has 1 GPU(s) for 2 processes; give torchrun --nproc-per-node=gpu, or add --device=cpu"),
        ("cuda:0", "device is 'cuda:0', which all ranks would share; set device to cuda or auto"),
        ("mps", "device is 'mps', but several processes train on cpu or cuda only; set device to auto"),
    ],
)
def test_each_rank_needs_a_gpu_of_its_own(device: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"TORCHELASTIC_RUN_ID": "test", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as error:
        find_device(device)
    assert str(error.value) == message
    assert find_device("cpu").type == "cpu"


def normalised() -> Arrays:
    """Weights and statistics after steps of a small encoder, the last of which a rank has no video of."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))
    whole = torch.rand(7, 3, 8, 8)

    def batches(epoch: int) -> list[Rows | None]:
        own = [step[ranks.own_part(len(step))] for step in (whole, whole[:4], whole[:1])[: 3 - (ranks.world() == 1)]]
        return [Rows(part) if len(part) else None for part in own]

    def losses(batch: Rows, part: slice) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        values = batch.values[part]
        loss = (encoder(values) - values.mean((1, 2, 3), keepdim=True)).square().mean()
        return loss, {"loss": loss}

    learner = SupervisedLearner(
        {"encoder": encoder}, [(encoder, 0.1)], batches, losses,
        sgd=SGDConfig(), steps=3, epochs=2, device=torch.device("cpu"),
        compute=PrecisionConfig(sync_batch_norm=True),
    )  # fmt: skip
    found = [learner.train_epoch(epoch, no_tick) for epoch in range(2)]
    return {**weights(encoder), "loss": np.array([entry["train/loss"] for entry in found])}


def test_synchronised_batch_norm_sees_the_whole_minibatch() -> None:
    """The minibatch of one video is left out on two ranks; one process is not given it."""
    alone = normalised()
    for found in on_ranks(normalised):
        for name, value in alone.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    with pytest.raises(UserError, match="accumulate is 2, but with sync_batch_norm"):
        PrecisionConfig(sync_batch_norm=True, accumulate=2)
