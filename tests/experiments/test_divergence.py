"""Training that diverges stops in the epoch where it happens, and leaves what was there before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adafocus_rl.checkpoint import load, load_into, not_finite, save
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.terminal.progress import Ticker
from adafocus_rl.experiments.training.divergence import UNREAD, Watch
from adafocus_rl.experiments.training.trainer import RunTrainer

Cli = Any
Look = Any


@pytest.mark.parametrize(
    ("stages", "stage", "options", "rate"),
    [
        ("1", "stage1", ["--stage1.focus_learning_rate=1e30"], "stage1.focus_learning_rate"),
        ("2", "stage2", ["--agent.learning_rate=1e30"], "agent.learning_rate"),
        ("2", "stage2", ["--agent=SB3Agent", "--agent.learning_rate=1e30"], "agent.learning_rate"),
        ("2", "stage2.skip0.1", ["--skip.lambdas=[0.1]", "--skip.options={learning_rate: 1e30}", "--skip.epochs=3"],
         "skip.options.learning_rate"),
        ("3", "stage3", ["--stage3.learning_rate=1e30"], "stage3.learning_rate"),
    ],
)  # fmt: skip
def test_the_stage_that_diverges_ends_the_run(
    cli: Cli, run: Path, recipe: Path, look: Look, stages: str, stage: str, options: list[str], rate: str
) -> None:
    epochs = [f"--stage{number}.epochs=3" for number in stages]
    done = cli("train", recipe, "--out", run, "--stages", stages, *epochs, *options)
    assert done.code == 2
    assert f"adafocus: {stage} of {run} has diverged in" in done.err
    assert f"lower {rate}" in done.err
    if stage == "stage1":
        assert re.search(r"epoch 1: the loss of batch \d+ \((\S+\.mp4, ){2}\S+\.mp4 and \d+ more\) is not", done.err)
    assert f"train again with --stages {stages}" in done.err
    assert not (run / "checkpoints" / f"{stage}.safetensors").exists()
    for path in (run / "checkpoints").iterdir():
        assert not_finite(load(path)[0]) is None, path
    assert all(line["stage"] != stage or line.get("train/loss") is not None for line in look.metrics(run))
    assert look.results(run)["rows"] == []


def test_stage_0_ends_the_run(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    done = cli("train", recipe, "--out", tmp_path / "run", "--stage0.learning_rate=1e30", "--stage0.epochs=3")
    assert done.code == 2
    assert "stage0 of" in done.err
    assert "lower stage0.learning_rate, train again with --overwrite" in done.err
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [
        "stage0.stills.resume.step00001.safetensors"
    ]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_wherever_they_come_from(bad: float, tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    tensors = {name: value.clone() for name, value in network.state_dict().items()}
    tensors["weight"][1, 2] = bad
    assert not_finite(tensors) == "weight"
    assert not_finite(network.state_dict()) is None
    assert not_finite({"n": torch.ones(2, dtype=torch.int64), "empty": torch.zeros(0)}) is None
    save(tmp_path / "x.safetensors", tensors=tensors, manifest={})
    with pytest.raises(UserError, match=r"x\.safetensors holds numbers that are NaN or infinite in weight"):
        load_into(network, load(tmp_path / "x.safetensors")[0], prefix="", what="x.safetensors")


def test_the_first_bad_batch_is_named_without_waiting_for_each(recipe: Path, tmp_path: Path) -> None:
    """Losses are read in blocks, and the block's first one that is not finite is reported, with its videos."""
    settings = parse_settings("test", ["--config", str(recipe)])
    run = Run(RunFolder(tmp_path / "run"), settings.config)
    with Ticker("stage1", 100) as ticker:
        watch = Watch(run, "stage1", 2, ticker)
        for step in range(UNREAD - 1):
            bad = step in (40, 50)
            watch(loss=torch.tensor(float("inf") if bad else 1.0), rows=torch.tensor([step % 12, 3, 4, 5]))
        names = [run.clips.train.index[row].path for row in (4, 3, 4)]
        expected = (
            f"stage1 of {run.folder.path} has diverged in epoch 3: the loss of batch 41 ({', '.join(names)} and 1 more)"
        )
        with pytest.raises(UserError, match=re.escape(expected)):
            watch(loss=torch.tensor(1.0), rows=torch.tensor([0]))
        assert ticker.count == UNREAD


def test_an_error_is_explained_by_a_loss_that_was_not_read_yet(recipe: Path, tmp_path: Path) -> None:
    settings = parse_settings("test", ["--config", str(recipe)])
    run = Run(RunFolder(tmp_path / "run"), settings.config)

    class Broken:
        def train_epoch(self, epoch: int, tick: Any) -> dict[str, float]:
            tick(loss=torch.tensor(float("nan")))
            raise ValueError("Expected parameter logits to satisfy the constraint")

        def training_state(self) -> Any:
            return {"x": torch.zeros(1)}, {}

        def load_training_state(self, tensors: Any, plain: Any, *, what: str) -> None:
            raise AssertionError

    with pytest.raises(UserError, match=r"mine of .* has diverged in epoch 1: the loss of batch 1 is not finite"):
        RunTrainer(run).fit("mine", Broken(), epochs=2, ticks=1)
    assert not list(run.folder.checkpoints.glob("*"))
