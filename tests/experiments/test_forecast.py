"""The forecast of a training: what it counts, what it leaves alone, and how near it comes to the training itself."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.forecast import output
from adafocus_rl.experiments.forecast.forecast import Forecast, forecast
from adafocus_rl.experiments.forecast.meter import FEW, Decoding, Meter
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run

Cli = Any
Look = Any

BY_OWN_TIME = """
import sys, time
time.monotonic = time.perf_counter = time.process_time
from adafocus_rl.experiments.cli.entry import process
sys.exit(process())
"""
"""Runs a command by the clock of its own computing time, which other processes do not change."""


class Clocked(Meter):
    """A meter by a clock that a test moves."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.time = 0.0

    def real(self) -> float:
        return self.time


def consumed(meter: Clocked, batches: Iterator[range], *, start: float, each: float) -> list[int]:
    """Compute on batches, each in ``start`` seconds and ``each`` more per video; return their sizes."""
    sizes = []
    for batch in batches:
        meter.time += start + each * len(batch)
        sizes.append(len(batch))
    return sizes


def batches_of(meter: Meter, total: int, size: int, **options: Any) -> Iterator[range]:
    return meter.batches("some", lambda numbers: range(len(numbers)), total=total, size=size, **options)


def test_a_pass_takes_what_its_batches_take() -> None:
    meter = Clocked()
    # A first batch of two videos, then whole ones of 1 s until 0.3 s of them have passed.
    assert consumed(meter, batches_of(meter, 1000, 16), start=0.2, each=0.05) == [FEW, 16]
    # 62.5 batches; what the first small batch took beyond its share is counted, because it came at the start.
    assert math.isclose(meter.now(), 62.5 + (0.3 - 2 / 16))
    before = meter.now()
    # The second pass of this kind begins with whole batches.
    assert consumed(meter, batches_of(meter, 1000, 16), start=0.2, each=0.05) == [16]
    assert math.isclose(meter.now() - before, 62.5)
    assert not meter.scaled
    # Three fast batches, of which the middle one counts.
    assert consumed(meter, batches_of(meter, 1000, 16), start=0.0, each=0.001) == [16] * 3


def test_a_short_pass_is_made_whole() -> None:
    meter = Clocked()
    assert consumed(meter, batches_of(meter, 5, 16), start=0.0, each=0.01) == [FEW, 3]
    assert math.isclose(meter.now(), 0.05)


def test_a_batch_that_takes_too_long_is_not_made() -> None:
    meter = Clocked()
    assert consumed(meter, batches_of(meter, 640, 64), start=0.0, each=1.0) == [FEW, FEW]
    assert math.isclose(meter.now(), 640)
    assert meter.scaled


def test_a_slow_start_is_no_slow_batch() -> None:
    """Libraries choose their kernels in the first batch."""
    meter, sizes = Clocked(), []
    for batch in batches_of(meter, 640, 64):
        meter.time += 10 if not sizes else 0.01 * len(batch)
        sizes.append(len(batch))
    assert sizes == [FEW, FEW, 64]
    assert math.isclose(meter.now(), 10 + 638 * 0.01)
    assert not meter.scaled


def test_passes_whose_results_are_put_together() -> None:
    """They see the same videos, though the first of them warms up."""
    meter = Clocked()
    for expected in (320 * 0.01 + (0.5 + 0.02 - 2 * 0.01), 320 * 0.01):
        before, sizes = meter.now(), []
        for batch in meter.same_batches("some", lambda numbers: range(len(numbers)), total=320, sizes=[FEW, 64]):
            meter.time += 0.01 * len(batch) + (0.5 if not before and not sizes else 0)
            sizes.append(len(batch))
        assert sizes == [FEW, 64]
        assert math.isclose(meter.now() - before, expected)
    short = meter.same_batches("short", lambda numbers: range(len(numbers)), total=3, sizes=[FEW, 64])
    assert [len(batch) for batch in short] == [FEW, 1]


def test_a_pass_that_is_left_early_is_not_counted() -> None:
    meter = Clocked()
    assert len(next(batches_of(meter, 640, 64))) == FEW
    assert meter.now() == 0


@pytest.mark.parametrize(
    ("workers", "cores", "seconds", "expected"),
    [
        (0, 2, 0.3, 0.3 + 0.1),  # one after the other
        (2, 8, 0.3, 0.3),  # decoding is hidden
        (2, 8, 0.05, 0.1),  # the computation is
        (2, 2, 0.1, (0.1 + 0.2) / 2),  # both want the cores: 0.1 s, and 0.1 s in each of two processes
        (4, 2, 0.1, (0.1 + 0.2) / 2),
    ],
)
def test_decoding_beside_the_computation(workers: int, cores: int, seconds: float, expected: float) -> None:
    decoding = Decoding(rate=10, workers=workers, cores=cores)
    assert math.isclose(decoding.beside(seconds, threads=1), expected)


def state_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Time of the last change and content of each file below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


def adafocus(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adafocus_rl", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env={**os.environ, **environment}
    )


def test_dry_run(recipe: Path, finished: Path, tmp_path: Path) -> None:
    """As a user calls it, before there is a run."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = adafocus("train", recipe, "--out", tmp_path / "run", "--dry-run", TMPDIR=str(scratch))
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run").exists()
    assert not list(scratch.glob("adafocus*"))
    for part in (
        "stage0.stills",
        "stage1",
        "full_frame",
        "evaluation",
        "all",
        "12 train, 6 val, 5 stills",
        "free on cpu",
    ):
        assert part in done.stdout, part
    assert "decoded per second in the main process" in done.stdout


@pytest.mark.slow
@pytest.mark.long
def test_what_is_left_of_a_run(recipe: Path, run: Path, finished: Path) -> None:
    (run / "checkpoints" / "stage3.safetensors").unlink()
    before = state_of(run)
    done = adafocus("train", recipe, "--out", run, "--resume", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert state_of(run) == before
    # What was finished is not trained again, nor is a method whose checkpoint fits; the banks are there.
    assert found["epochs"] == {"stage3": 1}
    assert set(found["seconds"]) == {"stage3", "bank", "evaluation"}
    assert found["clips"] == {"train": 12, "val": 6, "stills": 5}
    arrays = (finished / "features").rglob("*.npy")
    headers = sum(1 for _ in (finished / "features").rglob("*.npy")) * 128
    assert found["bank_bytes"] == sum(path.stat().st_size for path in arrays) - headers
    assert found["bank_in_memory"]


def test_epochs_of_an_earlier_process_are_done(recipe: Path, run: Path) -> None:
    # Stage III has no checkpoint, but one to resume from after epoch 3.
    (run / "checkpoints" / "stage3.safetensors").rename(run / "checkpoints" / "stage3.resume.step00003.safetensors")
    found = made(recipe, run, "--stage3.epochs=10", stages=[3], resume=True)
    assert found.epochs == {"stage3": 7}


def made(recipe: Path, folder: Path, *options: str, stages: list[int], resume: bool = False) -> Forecast:
    """The forecast of a run."""
    settings = parse_settings("test", ["--config", str(recipe), *options])
    run = Run(RunFolder(folder), settings.config, resume=resume)
    return forecast(run, stages)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (["--stage2.features=live", "--stage3.features=live", "--env.action_space=continuous"], ["stage2", "stage3"]),
        (["--agent=SB3Agent", "--stage2.epochs=4"], ["stage2", "stage3"]),
        (["--agent=RandomAgent"], ["stage3"]),
        (["--skip.keep=[0.5]", "--skip.epochs=2"], ["stage2", "stage2.skip.keep0.5", "stage3", "stage3.skip.keep0.5"]),
        (["--config", "METHODS"], ["stage2", "stage3", "liteeval.0.25", "liteeval.0.75"]),
    ],
)  # fmt: skip
@pytest.mark.slow
@pytest.mark.long
def test_every_kind_of_run(recipe: Path, run: Path, options: list[str], steps: list[str], tmp_path: Path) -> None:
    small = {"skip_rates": [0.25, 0.75], "coarse_width": 4, "fine_width": 8, "training": {"epochs": 1}}
    (tmp_path / "methods.yaml").write_text(yaml.safe_dump({"methods": {"LiteEval": small}}))
    options = [option.replace("METHODS", str(tmp_path / "methods.yaml")) for option in options]
    before = torch.random.get_rng_state()
    found = made(recipe, run, *options, stages=[2, 3])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {*steps} <= {*found.epochs}
    assert all(found.seconds[step] > 0 for step in steps)
    live = "--stage2.features=live" in options
    assert (found.bank_bytes == 0) == live
    assert found.total >= sum(found.seconds.values()) * 0.99


def test_a_long_training_begins_with_its_forecast(
    cli: Cli, look: Look, recipe: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forecast changes nothing in what follows."""
    monkeypatch.setattr(output, "LONG", 0.0)
    done = cli("train", recipe, "--out", tmp_path / "run", "--json")
    assert done.code == 0
    head = done.err.splitlines()
    assert head[0] == "measuring a few batches for a forecast"
    assert head[1].startswith("this takes about ")
    assert "of feature banks and " in head[2]
    assert json.loads(done.out)["rows"]
    assert look.results(tmp_path / "run") == look.results(finished)
    assert look.metrics(tmp_path / "run") == look.metrics(finished)
    assert look.checkpoints(tmp_path / "run") == look.checkpoints(finished)


def test_a_forecast_that_fails_stops_nothing(
    cli: Cli, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **options: Any) -> Forecast:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(output, "LONG", 0.0)
    monkeypatch.setattr(output, "forecast", fails)
    done = cli("train", recipe, "--out", tmp_path / "run", "--stages", "0")
    assert done.code == 0
    assert "there is no forecast: ZeroDivisionError: by zero" in done.err


def test_a_short_training_is_not_measured(finished: Path) -> None:
    said = (finished.parent / "stderr.txt").read_text()
    assert "forecast" not in said


def test_undecodable_videos_are_left_out(look: Look, recipe: Path, videos: Path, tmp_path: Path) -> None:
    for name in ("00000.mp4", "00003.mp4", "00004.mp4"):
        (videos / "train" / name).write_bytes(b"no video")
    found = made(recipe, tmp_path / "run", *look.own_videos(videos), stages=[0, 1])
    assert found.clips == {"train": 12, "val": 6}
    assert set(found.seconds) == {"stage0", "stage1"}


def test_torchrun_is_refused(cli: Cli, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "some")
    done = cli("train", recipe, "--out", tmp_path / "run", "--dry-run")
    assert done.code == 2
    assert "run it without torchrun" in done.err


@pytest.mark.gpu
def test_on_a_gpu(cuda: torch.device, recipe: Path, tmp_path: Path) -> None:
    before = torch.cuda.get_rng_state()
    found = made(recipe, tmp_path / "run", "--device=cuda", stages=[0, 1, 2, 3])
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert found.device == "cuda"
    assert found.peak_bytes is not None
    assert found.peak_bytes > found.bank_bytes > 0
    assert all(seconds > 0 for seconds in found.seconds.values())


def reduced(recipe: Path, tmp_path: Path) -> Path:
    """The recipe moving_digits with fewer videos and epochs, which trains for half a minute."""
    content = {
        **yaml.safe_load((Path(output.__file__).parents[1] / "recipes" / "moving_digits.yaml").read_text()),
        "threads": 1,
    }
    options = {"train_videos": 120, "val_videos": 64, "still_videos": 60}
    content["data"] |= {"embedded_options": options, "root": str(tmp_path / "data"), "workers": 0}
    content["stage0"] |= {"stills": {**content["stage0"]["stills"], "epochs": 3}, "epochs": 2}
    for stage, epochs in (("stage1", 3), ("stage2", 5), ("stage3", 5)):
        content[stage]["epochs"] = epochs
    content["skip"] = {"lambdas": []}
    path = tmp_path / "reduced.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.slow
@pytest.mark.long
def test_the_forecast_is_within_a_factor_of_two(recipe: Path, tmp_path: Path) -> None:
    """Of all that comes, and of every stage that takes a second; both by the clock of computing time."""
    arguments = ["train", str(reduced(recipe, tmp_path)), "--out", str(tmp_path / "run"), "--json"]

    def timed(*more: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", BY_OWN_TIME, *arguments, *more],
            capture_output=True, text=True, check=False, timeout=1800, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    found = timed("--dry-run")
    spent = timed()["seconds"]
    assert 0.5 < found["total"] / sum(spent.values()) < 2
    parts = dict(found["seconds"])
    expected = {
        "0": parts.pop("stage0.stills") + parts.pop("stage0"),
        **{stage: parts.pop(f"stage{stage}") for stage in ("1", "2", "3")},
        "bank": parts.pop("bank"),
        "evaluate": sum(parts.values()),
    }
    assert set(expected) == set(spent)
    for stage, seconds in spent.items():
        assert abs(expected[stage] - seconds) < 1 or 0.5 < expected[stage] / seconds < 2, (stage, expected, spent)
