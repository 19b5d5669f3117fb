"""A run that was stopped and goes on ends exactly where one ends that was never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl import checkpoint
from adafocus_rl.experiments.run import folder as folder_module
from adafocus_rl.experiments.run.metrics_log import MetricsLog
from adafocus_rl.models.recognizer import Recognizer
from adafocus_rl.rotation import CheckpointRotation

Cli = Any
Look = Any

EPOCHS = [
    "--stage0.stills.epochs=2", "--stage0.epochs=3", "--stage1.epochs=3", "--stage2.epochs=3", "--stage3.epochs=3",
    "--evaluation.full_frame_epochs=3", "--agent.n_epochs=2", "--agent.n_minibatches=2",
]  # fmt: skip
LIVE = ["--stage2.features=live", "--stage3.features=live", "--data.crop=multiscale"]


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that were never stopped, by the kind of their features."""
    from adafocus_rl.experiments.cli.entry import main

    runs = {"bank": tmp_path_factory.mktemp("bank"), "live": tmp_path_factory.mktemp("live")}
    for kind, run in runs.items():
        arguments = ["train", str(recipe), "--out", str(run), *EPOCHS, *(LIVE if kind == "live" else [])]
        assert main(arguments) == 0
    return runs


def stop_after_checkpoint(patch: pytest.MonkeyPatch, stem: str, epoch: int) -> None:
    """Ctrl-C just after the checkpoint of an epoch is written."""
    save = CheckpointRotation.save

    def interrupted(self: CheckpointRotation, step: int, *args: Any, **kwargs: Any) -> Path:
        path = save(self, step, *args, **kwargs)
        if (self.stem, step) == (f"{stem}.resume", epoch):
            raise KeyboardInterrupt
        return path

    patch.setattr(CheckpointRotation, "save", interrupted)


def stop_before_checkpoint(patch: pytest.MonkeyPatch, stem: str, epoch: int) -> None:
    """Ctrl-C when an epoch is trained and logged, but not saved."""
    write = MetricsLog.write

    def interrupted(self: MetricsLog, stage: str, step: int, scalars: Any) -> None:
        write(self, stage, step, scalars)
        if (stage, step) == (stem, epoch):
            raise KeyboardInterrupt

    patch.setattr(MetricsLog, "write", interrupted)


@pytest.mark.parametrize(
    ("stop", "stage"),
    [
        *((stop_after_checkpoint, name) for name in ("stage0.stills", "stage0", "stage1", "stage2", "stage3")),
        (stop_after_checkpoint, "full_frame"),
        (stop_before_checkpoint, "stage1"),
        (stop_before_checkpoint, "stage2"),
    ],
)
def test_stopped_in_the_middle_of_a_stage(
    cli: Cli, whole: dict[str, Path], recipe: Path, tmp_path: Path, look: Look, stop: Any, stage: str
) -> None:
    arguments = ["train", recipe, "--out", tmp_path, *EPOCHS]
    with pytest.MonkeyPatch.context() as patch:
        stop(patch, stage, 2)
        done = cli(*arguments)
    assert done.code == 130
    assert done.err.rstrip().endswith("adafocus: interrupted; the same command with --resume goes on")
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["epoch"] == 2
    done = cli(*arguments, "--resume")
    assert done.code == 0, done.err
    assert look.checkpoints(tmp_path) == look.checkpoints(whole["bank"])
    assert look.metrics(tmp_path) == look.metrics(whole["bank"])
    assert look.results(tmp_path) == look.results(whole["bank"])


@pytest.mark.parametrize("stage", ["stage2", "stage3"])
def test_stopped_on_live_augmented_features(
    cli: Cli, whole: dict[str, Path], recipe: Path, tmp_path: Path, look: Look, stage: str
) -> None:
    arguments = ["train", recipe, "--out", tmp_path, *EPOCHS, *LIVE]
    with pytest.MonkeyPatch.context() as patch:
        stop_after_checkpoint(patch, stage, 1)
        assert cli(*arguments).code == 130
    assert cli(*arguments, "--resume").code == 0
    assert look.checkpoints(tmp_path) == look.checkpoints(whole["live"])
    assert look.checkpoints(tmp_path) != look.checkpoints(whole["bank"])
    assert look.results(tmp_path) == look.results(whole["live"])


def test_stopped_between_the_last_epoch_and_the_end_of_a_stage(
    cli: Cli, whole: dict[str, Path], recipe: Path, tmp_path: Path, look: Look
) -> None:
    """The work of a stage is not lost when its last epoch is saved and its final checkpoint is not."""
    arguments = ["train", recipe, "--out", tmp_path, *EPOCHS]
    with pytest.MonkeyPatch.context() as patch:
        stop_after_checkpoint(patch, "stage1", 3)
        assert cli(*arguments).code == 130
    with pytest.MonkeyPatch.context() as patch:
        # Training one more step in stage I would crop again.
        patch.setattr(Recognizer, "focus_features", None)
        assert cli(*arguments, "--resume", "--stages", "1").code == 0
    assert cli(*arguments, "--resume").code == 0
    assert look.checkpoints(tmp_path) == look.checkpoints(whole["bank"])


def test_resuming_a_finished_run_trains_nothing(
    cli: Cli, whole: dict[str, Path], recipe: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, results = look.checkpoints(whole["bank"]), look.results(whole["bank"])
    monkeypatch.setattr(torch.optim.SGD, "step", None)
    monkeypatch.setattr(torch.optim.Adam, "step", None)
    done = cli("train", recipe, "--out", whole["bank"], *EPOCHS, "--resume")
    assert done.code == 0, done.err
    assert look.checkpoints(whole["bank"]) == before
    assert look.results(whole["bank"]) == results


def test_a_stage_done_anew_forgets_what_came_after(cli: Cli, run: Path, recipe: Path, look: Look) -> None:
    """No later stage may resume from what an earlier version of its predecessor left."""
    arguments = ["train", recipe, "--out", run]
    with pytest.MonkeyPatch.context() as patch:
        stop_after_checkpoint(patch, "stage3", 1)
        assert cli(*arguments, "--stages", "3").code == 130
    assert (run / "checkpoints" / "stage3.resume.step00001.safetensors").is_file()
    assert cli(*arguments, "--stages", "1").code == 0
    assert sorted(look.checkpoints(run)) == ["stage0.safetensors", "stage1.safetensors"]
    assert {line["stage"] for line in look.metrics(run)} == {"stage0.stills", "stage0", "stage1"}
    assert sorted(path.name for path in (run / "tensorboard").iterdir()) == ["stage0", "stage0.stills", "stage1"]
    assert json.loads((run / "results.json").read_text())["rows"] == []
    assert not (run / "features").exists()
    assert not (run / "patches.png").exists()


def test_an_overwritten_run_is_not_mixed_with_the_new_one(
    cli: Cli, run: Path, recipe: Path, tmp_path: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while it is discarded, the run has no configuration any more: none of the rest may be used."""
    remove, removed = folder_module._remove, []

    def interrupted(path: Path) -> None:
        removed.append(path)
        if path.name == "checkpoints":
            raise KeyboardInterrupt
        remove(path)

    monkeypatch.setattr(folder_module, "_remove", interrupted)
    done = cli("train", recipe, "--out", run, "--seed=5", "--overwrite")
    assert done.code == 130
    assert "with --resume in the place of --overwrite" in done.err
    assert removed[0] == run / "config.yaml"
    monkeypatch.setattr(folder_module, "_remove", remove)
    assert cli("train", recipe, "--out", run, "--seed=5", "--resume").code == 0
    assert cli("train", recipe, "--out", tmp_path / "new", "--seed=5").code == 0
    assert look.checkpoints(run) == look.checkpoints(tmp_path / "new")
    assert look.metrics(run) == look.metrics(tmp_path / "new")


@pytest.mark.parametrize("stage", ["stage1", "full_frame"])
def test_progress_of_a_finished_stage_is_forgotten(cli: Cli, run: Path, recipe: Path, look: Look, stage: str) -> None:
    """A process was killed after it had written the final checkpoint."""
    before = look.checkpoints(run)
    checkpoint.save(run / "checkpoints" / f"{stage}.resume.step00001.safetensors", tensors={}, manifest={})
    assert cli("train", recipe, "--out", run, "--resume").code == 0
    assert look.checkpoints(run) == before


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_process(cli: Cli, whole: dict[str, Path], recipe: Path, tmp_path: Path, look: Look) -> None:
    """Not even a chance to say goodbye: SIGKILL, as soon as stage I has saved an epoch."""
    arguments = ["train", str(recipe), "--out", str(tmp_path / "run"), *EPOCHS]
    command = [sys.executable, "-m", "adafocus_rl", *arguments]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        begun = time.monotonic()
        while not list((tmp_path / "run" / "checkpoints").glob("stage1.resume.*")):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() - begun < 120
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert cli(*arguments, "--resume").code == 0
    assert look.checkpoints(tmp_path / "run") == look.checkpoints(whole["bank"])
    assert look.metrics(tmp_path / "run") == look.metrics(whole["bank"])
    assert look.results(tmp_path / "run") == look.results(whole["bank"])


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_checkpoint_of_before_there_was_one_trainer_is_gone_on_from(
    cli: Cli, whole: dict[str, Path], recipe: Path, tmp_path: Path, look: Look, stage: str
) -> None:
    """Supervised stages kept the optimiser's plain values beside the others, and all kept an empty metric."""
    arguments = ["train", recipe, "--out", tmp_path, *EPOCHS]
    with pytest.MonkeyPatch.context() as patch:
        stop_after_checkpoint(patch, stage, 2)
        assert cli(*arguments).code == 130
    (path,) = (tmp_path / "checkpoints").glob(f"{stage}.resume.*")
    tensors, manifest = checkpoint.load(path)
    if stage == "stage1":
        manifest.update(manifest.pop("training"))
    checkpoint.save(path, tensors=tensors, manifest={**manifest, "metric": None})
    assert cli(*arguments, "--resume").code == 0
    assert look.checkpoints(tmp_path) == look.checkpoints(whole["bank"])
