"""``torchrun`` starts the program twice: one log, one message, and a run that goes on after a process has ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from adafocus_rl import checkpoint
from adafocus_rl.experiments.run.metrics_log import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.long]

# The patches' encoder is frozen and there is no dropout: both depend on how a minibatch is shared out.
ALIKE = ["--stage1.epochs=2", "--stage1.focus_learning_rate=0", "--model.classifier.dropout=0"]

MORE = [
    "--agent.n_minibatches=2", "--skip.keep=[0.5]", "--skip.agent=GRPOAgent", "--skip.observe_classifier=true",
    "--methods.GFNet.epochs=2", "--methods.ARNet.training.epochs=2",
]  # fmt: skip
"""Minibatches of π, a π′ towards a share of frames, a method with a policy, and one with a loss of a mean."""

FAULTY = """
import os, signal, sys, time
from adafocus_rl.agents import supervised
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.entry import process

kind, step, plain = sys.argv.pop(1), int(sys.argv.pop(1)), supervised.clip_gradients

def clip_gradients(*arguments):
    global step
    step -= 1
    if step == 0 and os.environ["RANK"] == "1":
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "sleep":
            time.sleep(1000)
        else:
            raise UserError("the second rank refuses")
    plain(*arguments)

supervised.clip_gradients = clip_gradients
sys.exit(process())
"""
"""The program, with a fault of its second process in one of its updates."""


def torchrun(*arguments: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=timeout, env=environment
    )


def alone(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adafocus_rl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def messages(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("adafocus: ")]


def weights(run: Path, stage: str = "stage1") -> dict[str, torch.Tensor]:
    return checkpoint.load(run / "checkpoints" / f"{stage}.safetensors")[0]


def assert_same(one: Path, other: Path, stage: str = "stage1", *, atol: float = 1e-6) -> None:
    found = weights(other, stage)
    for name, value in weights(one, stage).items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=atol, msg=name)


@pytest.fixture(scope="module")
def base(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run after stage 0, by one process; not to be written to."""
    run = tmp_path_factory.mktemp("base") / "run"
    done = alone("train", recipe, "--out", run, "--stages", "0", *ALIKE)
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faulty") / "faulty.py"
    path.write_text(FAULTY)
    return path


def test_all_stages_end_with_the_table_of_one_process(recipe: Path, base: Path, tmp_path: Path) -> None:
    one, two = (Path(shutil.copytree(base, tmp_path / name)) for name in ("one", "two"))
    rest = ["--stages", "1", "2", "3", "--json", *ALIKE, *MORE]
    single = alone("train", recipe, "--out", one, *rest)
    shared = torchrun("-m", "adafocus_rl", "train", recipe, "--out", two, *rest)
    assert single.returncode == shared.returncode == 0, shared.stderr
    assert messages(shared) == []
    for path in (one / "checkpoints").glob("*.safetensors"):
        assert_same(one, two, path.stem, atol=1e-4)  # Adam enlarges rounding where a gradient is nearly 0
    rows, others = (json.loads(done.stdout)["rows"] for done in (single, shared))
    assert [row["agent"] for row in rows] == [row["agent"] for row in others]
    for row, other in zip(rows, others, strict=True):
        assert row["videos"] == other["videos"] == 6
        assert row["gmacs_per_video"] == pytest.approx(other["gmacs_per_video"])
        assert row["top1"] == other["top1"]
    logs = [[(entry["stage"], entry["epoch"]) for entry in read_metrics(run / "metrics.jsonl")] for run in (one, two)]
    assert logs[0] == logs[1]
    files = [sorted(str(path.relative_to(run)) for path in run.rglob("*")) for run in (one, two)]
    assert [name for name in files[0] if "tfevents" not in name] == [
        name for name in files[1] if "tfevents" not in name
    ]
    assert shared.stderr.count("stage1: ") == single.stderr.count("stage1: ")


def test_an_agent_that_learns_in_one_process_is_refused_before_anything_is_trained(
    recipe: Path, tmp_path: Path
) -> None:
    done = torchrun("-m", "adafocus_rl", "train", recipe, "--out", tmp_path / "run", "--agent=SB3Agent")
    (message,) = messages(done)
    assert "SB3Agent learns in one process only, and this job has 2 ranks" in message
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_killed_rank_ends_the_job_and_any_number_goes_on(
    recipe: Path, base: Path, faulty: Path, tmp_path: Path
) -> None:
    whole, killed = (Path(shutil.copytree(base, tmp_path / name)) for name in ("whole", "killed"))
    command = ["train", recipe, "--stages", "1", *ALIKE, "--out"]
    assert alone(*command, whole).returncode == 0
    # An epoch has three updates.
    done = torchrun(faulty, "kill", "5", *command, killed)
    assert done.returncode != 0
    (message,) = messages(done)
    assert "has ended without a message: it was killed, or ran out of memory" in message
    assert message.endswith("what was finished is kept; the same command with --resume goes on")
    assert [entry["epoch"] for entry in read_metrics(killed / "metrics.jsonl", "stage1")] == [1]
    by_one = Path(shutil.copytree(killed, tmp_path / "by_one"))
    assert alone(*command, by_one, "--resume").returncode == 0
    resumed = torchrun("-m", "adafocus_rl", *command, killed, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    for run in (by_one, killed):
        assert_same(whole, run)
        assert [entry["epoch"] for entry in read_metrics(run / "metrics.jsonl", "stage1")] == [1, 2]


def test_a_sleeping_rank_ends_the_job(recipe: Path, base: Path, faulty: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(base, tmp_path / "run"))
    started = time.monotonic()
    done = torchrun(faulty, "sleep", "5", "train", recipe, "--stages", "1", *ALIKE, "--out", run, "--rank-timeout", "6")
    assert done.returncode != 0
    (message,) = messages(done)
    assert message.startswith(
        "adafocus: rank 1 of 2 has given no sign of life for 6 s: it hangs, or its machine is lost"
    )
    assert time.monotonic() - started < 250
    assert not (run / ".lock").exists()


def test_a_mistake_is_reported_once(recipe: Path, base: Path, faulty: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(base, tmp_path / "run"))
    command = ["train", recipe, "--stages", "1", *ALIKE, "--out", run]
    assert messages(torchrun(faulty, "refuse", "2", *command)) == ["adafocus: the second rank refuses"]
    assert messages(torchrun("-m", "adafocus_rl", *command[:4], "--rank-timeout", "1")) == [
        "adafocus: --rank-timeout is 1; give at least 5 seconds"
    ]
    (message,) = messages(torchrun("-m", "adafocus_rl", *command, "--stages", "0", "1"))
    assert message.startswith(f"adafocus: {run} holds a run already")
    assert messages(torchrun("-m", "adafocus_rl", "evaluate", run)) == [
        "adafocus: `adafocus evaluate` runs in one process; start it without torchrun"
    ]
