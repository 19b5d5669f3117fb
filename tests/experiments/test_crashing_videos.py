"""Videos that crash their decoder, through a whole run: named, counted, left out."""

from __future__ import annotations

import faulthandler
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adafocus_rl.data import dataset, loader
from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run

Cli = Any
decode_frames = dataset.decode_frames


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a decoder plugged in here is inherited by fork only")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_goes_on_without_them(
    look: Any, cli: Cli, videos: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first of both lists, which are also tried before the run and timed after it.
    crash = {"train/00000.mp4", "val/00000.mp4"}
    tests = os.getpid()

    def decode(path: Path, indices: NDArray[np.int64], **_: Any) -> NDArray[np.uint8]:
        if f"{path.parent.name}/{path.name}" in crash:
            assert os.getpid() != tests, "decoded in the main process"
            faulthandler.disable()
            os.abort()
        return decode_frames(path, indices)

    monkeypatch.setattr(dataset, "decode_frames", decode)
    monkeypatch.setattr(loader, "POLL_SECONDS", 0.1)
    done = cli("train", recipe, "--out", tmp_path / "run", "--data.workers=1", *look.own_videos(videos))
    assert done.code == 0, done.err
    for name in crash:
        assert done.err.count(f"left out {name}: decoding it crashes (SIGABRT)") == 1
    failed = json.loads((tmp_path / "run" / "results.json").read_text())["failed"]
    assert {entry["path"] for entry in failed} == crash
    # And once more from the banks that are there.
    again = cli("evaluate", tmp_path / "run")
    assert again.code == 0, again.err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a decoder plugged in here is inherited by fork only")
def test_the_look_before_a_run_leaves_nothing_under_way(
    videos: Path, recipe: Path, look: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is ended while it sends a clip nobody waits for ends badly where it is no fork."""
    decoded = tmp_path / "decoded"
    decoded.mkdir()
    bad = videos / "train" / "00000.mp4"
    bad.write_bytes(b"no video")

    def decode(path: Path, indices: NDArray[np.int64], **options: Any) -> NDArray[np.uint8]:
        (decoded / f"{path.parent.name}-{path.stem}").touch()
        return decode_frames(path, indices, **options)

    monkeypatch.setattr(dataset, "decode_frames", decode)
    arguments = ["--config", str(recipe), "--data.workers=1", *look.own_videos(videos)]
    settings = parse_settings("test", arguments)
    run = Run(RunFolder(tmp_path / "run"), settings.config)
    run.check_videos()
    assert list(run.clips.failed) == ["train/00000.mp4"]
    seen = sorted(path.name for path in decoded.iterdir())
    assert seen == ["train-00000", "train-00001", "val-00000"]
    # Where it was done just now it is not done again.
    Run(RunFolder(tmp_path / "run"), settings.config)
    assert sorted(path.name for path in decoded.iterdir()) == seen
