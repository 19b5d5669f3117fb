"""The deployed form of a run recognises what the run recognises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from adafocus_rl.data.clips import ClipBatch
from adafocus_rl.experiments.evaluation.live import LiveMethod, agreement
from adafocus_rl.experiments.predict import Predictor
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.models.deployed import DeployedEncoder

Cli = Any

TOLERANCE = 1e-4
"""Bound of the difference of probabilities in float32."""


@pytest.fixture(scope="module")
def predictor(finished: Path) -> Predictor:
    return Predictor.load(finished)


def _clips(count: int) -> ClipBatch:
    random = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (count, 4, 3, 32, 32), generator=random, dtype=torch.uint8)
    return ClipBatch.unlabelled(clips, 10, rows=torch.arange(count))


@pytest.mark.parametrize("method", [None, "WholeFrames"])
def test_float32_is_equal_to_rounding(finished: Path, method: str | None) -> None:
    predictor = Predictor.load(finished, method=method)
    deployed = Run.open(finished, with_data=False).deploy()
    assert isinstance(deployed.focus, DeployedEncoder)
    device = predictor.run.device
    plain = LiveMethod(predictor.method, device=device)
    fast = LiveMethod(predictor.method, device=device, deployed=deployed)
    batch = _clips(5)
    expected, found = plain(batch), fast(batch)
    assert torch.equal(found.trace.boxes, expected.trace.boxes)
    assert torch.equal(found.macs, expected.macs)
    difference = found.trace.logits.softmax(-1) - expected.trace.logits.softmax(-1)
    assert float(difference.abs().max()) < TOLERANCE
    assert agreement(plain, fast, [batch, _clips(2)]) == (7, 7)


def test_the_predictor_and_its_stream_are_deployed(predictor: Predictor) -> None:
    frames = _clips(1).clips[0].permute(0, 2, 3, 1).numpy()
    found = predictor.predict_frames(frames)
    stream = predictor.stream()
    assert isinstance(stream.recognizer.glance, DeployedEncoder)
    last = [stream.step(frame) for frame in frames][-1]
    torch.testing.assert_close(last.probabilities, found.probabilities, rtol=0, atol=TOLERANCE)


def test_predict_in_bfloat16(cli: Cli, finished: Path, recipe: Path) -> None:
    video = Path(yaml.safe_load(recipe.read_text())["data"]["root"]) / "val" / "00000.mp4"
    found = []
    for precision in ("float32", "bfloat16"):
        done = cli("predict", finished, video, "--json", f"--precision={precision}")
        assert done.code == 0, done.err
        found.append(json.loads(done.out)["videos"][0])
    exact, low = (one["top"][0]["confidence"] for one in found)
    assert low != exact
    assert low == pytest.approx(exact, abs=0.05)
    assert found[0]["gmacs"] == found[1]["gmacs"]


def test_evaluate_says_how_often_the_classes_agree(cli: Cli, finished: Path) -> None:
    rows = []
    for precision in ("float32", "bfloat16"):
        done = cli("evaluate", finished, "--agent=CenterAgent", "--json", f"--precision={precision}")
        assert done.code == 0, done.err
        assert ("predicts the class that it predicts in float32 for" in done.err) == (precision == "bfloat16")
        found = json.loads(done.out)["rows"]
        rows.append([{key: row[key] for key in row if not key.startswith("ms_")} for row in found])
    # Accuracy is measured on the features of the bank.
    assert rows[0] == rows[1]
    assert "bfloat16: center predicts" in done.err
    assert "of 6 validation videos" in done.err


def test_other_precisions_do_not_exist(cli: Cli, finished: Path) -> None:
    done = cli("predict", finished, "a.mp4", "--precision=float8")
    assert done.code == 2
    assert "float8" in done.err


@pytest.mark.long
@pytest.mark.slow
def test_without_a_compiler_the_program_says_so(finished: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "adafocus_rl", "predict", str(finished), "a.mp4", "--compile"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "CXX": "no-such-compiler", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"},
    )
    assert done.returncode == 2
    assert "torch.compile does not work here" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.gpu
def test_on_a_gpu_one_graph_for_each_batch_size(finished: Path, cuda: torch.device) -> None:
    predictor = Predictor.load(finished, device="cuda")
    deployed = predictor.run.deploy(predictor.recognizer)
    plain = LiveMethod(predictor.method, device=cuda)
    fast = LiveMethod(predictor.method, device=cuda, deployed=deployed)
    for count in (1, 3, 1):
        batch = _clips(count)
        torch.testing.assert_close(fast(batch).logits, plain(batch).logits, rtol=1e-2, atol=1e-2)
    assert fast._captured is not None
    assert [graph is not None for graph in fast._captured._graphs.values()] == [True, True]
