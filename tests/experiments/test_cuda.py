"""Whole runs on a GPU: to the last bit where that was asked for, and the same recognition as on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

Cli = Any
Look = Any


def _train(cli: Cli, recipe: Path, run: Path, *arguments: str) -> dict[str, Any]:
    done = cli("train", recipe, "--out", run, "--device=cuda", "--json", *arguments)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


@pytest.fixture
def on_gpu(cli: Cli, recipe: Path, tmp_path: Path, cuda: torch.device) -> Path:
    """A run of all stages, π′ among them."""
    _train(cli, recipe, tmp_path / "gpu", "--skip.lambdas=[0.01]", "--skip.epochs=1")
    return tmp_path / "gpu"


def test_a_deterministic_run_is_the_same_each_time(
    cli: Cli, recipe: Path, on_gpu: Path, look: Look, tmp_path: Path
) -> None:
    environment = json.loads((on_gpu / "environment.json").read_text())
    assert environment["deterministic"] is True
    assert environment["cublas_workspace"]
    # Where the bank lies, and whether activations are computed again, is no matter of results.
    ways = ["--bank.resident=never", "--stage0.compute.recompute=true", "--stage1.compute.recompute=true"]
    for number, way in enumerate(([], ways)):
        run = tmp_path / f"again{number}"
        _train(cli, recipe, run, "--skip.lambdas=[0.01]", "--skip.epochs=1", *way)
        assert look.checkpoints(run) == look.checkpoints(on_gpu)
        assert look.results(run) == look.results(on_gpu)


def test_without_that_it_runs_too(cli: Cli, recipe: Path, tmp_path: Path, cuda: torch.device) -> None:
    torch.use_deterministic_algorithms(False)
    rows = _train(cli, recipe, tmp_path / "run", "--deterministic=false")["rows"]
    assert {row["variant"] for row in rows} == {RANDOM_PATCHES, FINE_TUNED, None}
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["deterministic"] is False


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precision(cli: Cli, recipe: Path, tmp_path: Path, cuda: torch.device, look: Look, precision: str) -> None:
    half = [f"--{stage}.compute.precision={precision}" for stage in ("stage0", "stage1")]
    losses = []
    for name, arguments in (("full", []), ("half", half)):
        _train(cli, recipe, tmp_path / name, "--stages", "0", "1", *arguments)
        losses.append([line["train/loss"] for line in look.metrics(tmp_path / name) if "train/loss" in line])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_recognition_is_the_same_on_the_cpu(cli: Cli, recipe: Path, on_gpu: Path) -> None:
    root = Path(yaml.safe_load(recipe.read_text())["data"]["root"])
    videos = sorted(root.glob("val/*.mp4"))[:3]
    assert videos
    there, here = (
        json.loads(cli("predict", on_gpu, *videos, f"--device={device}", "--json").out)["videos"]
        for device in ("cuda", "cpu")
    )
    for left, right in zip(there, here, strict=True):
        assert left["gmacs"] == right["gmacs"]
        for one, other in zip(left["top"], right["top"], strict=True):
            assert one["confidence"] == pytest.approx(other["confidence"], abs=0.02)


def test_evaluation_replay_and_the_bank_of_a_run(cli: Cli, on_gpu: Path, look: Look, tmp_path: Path) -> None:
    rows = look.results(on_gpu)["rows"]
    done = cli("evaluate", on_gpu, "--json")
    assert done.code == 0, done.err
    again = json.loads(done.out)["rows"]
    assert [(row["agent"], row["top1"]) for row in again] == [(row["agent"], row["top1"]) for row in rows]
    for name in ("page.html", "film.mp4", "picture.png"):
        done = cli("replay", on_gpu, "--out", tmp_path / name)
        assert done.code == 0, done.err
        assert (tmp_path / name).stat().st_size > 1000
    done = cli("features", "check", on_gpu)
    assert done.code == 0, done.err


def test_comparison(cli: Cli, on_gpu: Path, tmp_path: Path) -> None:
    done = cli(
        "compare",
        on_gpu,
        "--agents",
        "PPOAgent",
        "RandomAgent",
        "--seeds",
        "2",
        "--out",
        tmp_path / "compare",
        "--json",
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)
