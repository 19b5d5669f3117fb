"""What a run relies on is flushed, and in an order of which every beginning can be gone on from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from adafocus_rl import checkpoint
from adafocus_rl.experiments.run import handover
from adafocus_rl.experiments.run.folder import RunFolder


def test_progress_stays_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that has its results does not look for it any more."""
    flushed: list[list[str]] = []
    monkeypatch.setattr(
        handover, "sync_folder", lambda folder: flushed.append([path.name for path in folder.iterdir()])
    )
    folder = RunFolder(tmp_path)
    for name in ("stage1.resume.step00002", "stage2.resume.step00001"):
        checkpoint.save(folder.checkpoints / f"{name}.safetensors", tensors={}, manifest={})
    handover.forget_progress(SimpleNamespace(folder=folder), "stage1")
    assert flushed == [["stage2.resume.step00001.safetensors"]]


def test_the_configuration_is_written_last(tmp_path: Path) -> None:
    """Only a folder with a configuration is a run."""
    folder = RunFolder(tmp_path)
    folder.config.mkdir()  # a file of this name cannot be written
    with pytest.raises(OSError, match=r"config\.yaml"):
        folder.describe(config_text="a", command="b")
    assert (tmp_path / "environment.json").is_file()
    assert (tmp_path / "command.txt").read_text() == "b\n"
