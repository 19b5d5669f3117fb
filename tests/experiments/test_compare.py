"""adafocus compare: what it trains and measures, and that it does so once."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl import checkpoint
from adafocus_rl.agents import AGENTS, Agent, CenterAgent, PlannedAgent
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare import training
from adafocus_rl.experiments.compare.one_process import own_log
from adafocus_rl.experiments.compare.pool import attempt
from adafocus_rl.experiments.training import stage2
from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES, EpisodeRecord

Cli = Any
Look = Any

VARIANTS = (RANDOM_PATCHES, FINE_TUNED)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Time and size of everything in a folder, ``compare`` left out."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file() and "compare" not in path.relative_to(folder).parts
    }


def rows_of(path: Path) -> dict[tuple[str, str | None], dict[str, Any]]:
    """Rows of compare.json by agent and variant, without times."""
    rows = json.loads((path / "compare.json").read_text(), parse_constant=pytest.fail)["rows"]
    assert all((row.pop("seconds") is None) == (row["agent"] == "full_frame") for row in rows)
    return {(row["agent"], row["variant"]): row for row in rows}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which trainings are run, as ``NAME seed N``."""
    seen: list[str] = []
    run_training = training.run_training

    def recorded(job: training.Training) -> None:
        seen.append(f"{job.name} seed {job.seed}")
        run_training(job)

    monkeypatch.setattr(training, "run_training", recorded)
    return seen


def test_rows_are_those_of_the_run_itself_and_nothing_of_it_is_touched(
    cli: Cli, run: Path, trained: list[str], look: Look
) -> None:
    """The run has seed 0, so seed 0 of the comparison trains, fine-tunes and measures the same by another way."""
    before = files(run)
    agents = ["PPOAgent", "RandomAgent", "CenterAgent", "OracleAgent"]
    done = cli("compare", run, "--agents", *agents, "--seeds", "1", "--finetune", "--jobs", "1", "--json")
    assert done.code == 0, done.err
    assert files(run) == before
    assert trained == [f"{agent} seed 0" for agent in agents]
    content = json.loads(done.out)
    assert json.loads((run / "compare" / "compare.json").read_text()) == content
    assert {entry["bank"] for entry in content["settings"].values()} == {str(run / "features")}
    assert list(content["curves"]) == ["PPOAgent"]
    rows = rows_of(run / "compare")
    assert list(rows) == [(agent, variant) for variant in VARIANTS for agent in agents]
    expected = {(row["agent"], row["variant"]): row for row in look.results(run)["rows"]}
    for agent, label in zip(agents, ("ppo", "random", "center", "oracle"), strict=True):
        row, own = rows[agent, RANDOM_PATCHES], expected[label, RANDOM_PATCHES]
        assert row["top1"] == row["top1_iqm"] == pytest.approx(own["top1"])
        assert row["map"] == pytest.approx(own["map"])
        for key in ("gmacs_per_video", "local_gmacs_per_video", "videos"):
            assert row[key] == pytest.approx(own[key]), key
        assert 0 <= row["top1_low"] <= row["top1_high"] <= 1
        assert row["reference"] is (agent == "OracleAgent")
    for stage, variant in zip((2, 3), VARIANTS, strict=True):
        (path,) = (run / "compare" / "trainings").glob(f"PPOAgent-*/seed0/stage{stage}.episodes.safetensors")
        (trace,) = EpisodeRecord.load(path).traces
        assert trace.reward is not None
        assert rows["PPOAgent", variant]["reward_mean"] == pytest.approx(trace.reward.sum(1).mean().item(), abs=1e-6)
    # In the run's own table f_C is fine-tuned to its own agent; here to each.
    assert rows["PPOAgent", FINE_TUNED]["top1"] == pytest.approx(expected["ppo", FINE_TUNED]["top1"])
    assert rows["PPOAgent", FINE_TUNED]["map"] == pytest.approx(expected["ppo", FINE_TUNED]["map"])


def test_the_trained_agent_is_the_runs(cli: Cli, run: Path) -> None:
    assert cli("compare", run, "--agents", "PPOAgent", "--seeds", "2", "--jobs", "1").code == 0
    own = checkpoint.load(run / "checkpoints" / "stage2.safetensors")[0]
    (folder,) = (run / "compare" / "trainings").iterdir()
    found = [checkpoint.load(folder / f"seed{seed}" / "checkpoints" / "stage2.safetensors")[0] for seed in (0, 1)]
    assert checkpoint.tensors_hash(found[0]) == checkpoint.tensors_hash(own)
    assert checkpoint.tensors_hash(found[1]) != checkpoint.tensors_hash(own)


def test_a_rerun_does_only_what_is_missing(cli: Cli, run: Path, trained: list[str]) -> None:
    def compare(*arguments: str) -> list[str]:
        trained.clear()
        done = cli("compare", run, "--jobs", "1", "--agents", *arguments)
        assert done.code == 0, done.err
        return list(trained)

    assert compare("PPOAgent", "CenterAgent", "--seeds", "2") == [
        "PPOAgent seed 0", "CenterAgent seed 0", "PPOAgent seed 1",
    ]  # fmt: skip
    rows = rows_of(run / "compare")
    assert compare("PPOAgent", "CenterAgent", "--seeds", "2") == []
    assert rows_of(run / "compare") == rows
    assert (rows["CenterAgent", RANDOM_PATCHES]["seeds"], rows["CenterAgent", RANDOM_PATCHES]["trainings"]) == (2, 1)
    # More seeds, an agent more, stage III: each only adds.
    assert compare("PPOAgent", "CenterAgent", "--seeds", "3") == ["PPOAgent seed 2"]
    assert compare("RandomAgent", "PPOAgent", "--seeds", "1") == ["RandomAgent seed 0"]
    assert compare("PPOAgent", "--seeds", "1", "--finetune") == ["PPOAgent seed 0"]
    assert compare("PPOAgent", "--seeds", "1", "--finetune") == []
    # Another configuration is another training, whichever way it is given; where and how fast are no configuration.
    assert compare("PPOAgent:gamma=0.5", "--seeds", "1") == ["PPOAgent:gamma=0.5 seed 0"]
    assert compare("PPOAgent", "--seeds", "1", "--agent.gamma=0.5") == []
    assert compare("PPOAgent", "--seeds", "1", "--stage2.epochs=2") == ["PPOAgent seed 0"]
    assert compare("PPOAgent", "--seeds", "1", "--stage2.epochs=2", "--data.workers=1", "--name=other") == []
    # Another recognizer, too.
    tensors, manifest = checkpoint.load(run / "checkpoints" / "stage1.safetensors")
    tensors["recognizer.classifier.fc.bias"] += 1
    checkpoint.save(run / "checkpoints" / "stage1.safetensors", tensors=tensors, manifest=manifest)
    assert compare("PPOAgent", "--seeds", "1") == ["PPOAgent seed 0"]


def test_an_interrupted_training_goes_on_from_its_last_epoch(
    cli: Cli, run: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["compare", run, "--agents", "CenterAgent", "PPOAgent", "--seeds", "1", "--jobs", "1"]
    epochs = ["--stage2.epochs=3"]
    assert cli(*arguments, *epochs, "--out", run / "whole").code == 0
    measure, calls = stage2.measure, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(*args, **kwargs)

    trained.clear()
    monkeypatch.setattr(stage2, "measure", interrupted)
    done = cli(*arguments, *epochs)
    assert (done.code, trained) == (130, ["CenterAgent seed 0", "PPOAgent seed 0"])
    assert "the same command goes on" in done.err
    trained.clear()
    assert cli(*arguments, *epochs).code == 0
    assert trained == ["PPOAgent seed 0"]
    # Two epochs before, one after; to the same numbers.
    assert len(calls) == 4
    assert rows_of(run / "compare") == rows_of(run / "whole")
    both = [json.loads((run / name / "compare.json").read_text())["curves"] for name in ("compare", "whole")]
    assert both[0] == both[1]
    assert both[0]["PPOAgent"][0]["epoch"] == [1, 2, 3]


class RefusingAgent(CenterAgent):
    """What an agent does whose data or package is missing."""

    def plan(self, info: Mapping[str, Any], num_frames: int) -> torch.Tensor:
        """No actions.

        Raises:
            UserError: always.
        """
        raise UserError("RefusingAgent needs true boxes,\nand this data has none")


class CrashingAgent(PlannedAgent):
    """What an agent does that is not finished."""

    label = "crashing"
    stochastic = True

    def plan(self, info: Mapping[str, Any], num_frames: int) -> torch.Tensor:
        """No actions.

        Raises:
            ZeroDivisionError: always.
        """
        raise ZeroDivisionError("division by zero")


@pytest.fixture
def bad_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two agents that fail."""
    kinds: list[type[Agent]] = [RefusingAgent, CrashingAgent]
    for kind in kinds:
        monkeypatch.setitem(AGENTS._entries, kind.__name__, kind)


@pytest.mark.usefixtures("bad_agents")
def test_one_that_fails_does_not_lose_the_others(cli: Cli, run: Path, trained: list[str]) -> None:
    agents = ["RefusingAgent", "CenterAgent", "CrashingAgent", "RandomAgent"]
    done = cli("compare", run, "--agents", *agents, "--seeds", "2", "--jobs", "1")
    assert done.code == 1
    assert list(rows_of(run / "compare")) == [("CenterAgent", RANDOM_PATCHES), ("RandomAgent", RANDOM_PATCHES)]
    # The second seed of one that has failed is not tried.
    assert [name for name in trained if name.startswith("Crashing")] == ["CrashingAgent seed 0"]
    lines = [line for line in done.err.splitlines() if line.startswith("adafocus: ")]
    assert lines[0] == "adafocus: RefusingAgent: RefusingAgent needs true boxes, and this data has none"
    assert lines[1].startswith("adafocus: CrashingAgent: ZeroDivisionError: division by zero; ")
    assert "Traceback" not in done.err
    log = Path(lines[1].split("; ")[1].removesuffix(" has the whole story"))
    assert "Traceback" in log.read_text()
    failed = json.loads((run / "compare" / "compare.json").read_text())["failed"]
    assert [entry["agent"] for entry in failed] == ["RefusingAgent", "CrashingAgent"]


@pytest.mark.slow
def test_processes_change_nothing_but_the_time(cli: Cli, run: Path) -> None:
    arguments = ["compare", run, "--agents", "PPOAgent", "RandomAgent", "--seeds", "2"]
    assert cli(*arguments, "--jobs", "1").code == 0
    done = cli(*arguments, "--jobs", "2", "--out", run / "other")
    assert done.code == 0, done.err
    assert rows_of(run / "compare") == rows_of(run / "other")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are another thing there")
def test_ctrl_c_ends_all_processes_and_keeps_what_is_finished(run: Path) -> None:
    """Two processes, of which one has a long training: the signal goes to all of them, as a terminal sends it."""
    command = [
        *(
            sys.executable,
            "-m",
            "adafocus_rl",
            "compare",
            str(run),
            "--jobs",
            "2",
            "--seeds",
            "1",
        ),
        *("--agents", "PPOAgent", "CenterAgent", "--stage2.epochs=100000"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def wait_for(what: Callable[[], bool], *, running: bool = True) -> None:
        deadline = time.monotonic() + 120
        while not what():
            assert not running or process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def at_work() -> list[str]:
        """States of the group's processes that have not ended, whether or not anybody has asked how they ended."""
        table = subprocess.run(["ps", "-e", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
        states = [line.split() for line in table.splitlines()]
        return [state for group, state in states if group == str(process.pid) and not state.startswith("Z")]

    trainings = run / "compare" / "trainings"
    try:
        wait_for(lambda: bool(list(trainings.glob("CenterAgent-*/seed0/stage2.json"))))
        wait_for(lambda: bool(list(trainings.glob("PPOAgent-*/seed0/metrics.jsonl"))))
        assert len(at_work()) >= 3
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "adafocus: interrupted; the same command goes on"
    assert "Traceback" not in errors
    # Not one process of the group is left at work; what tidies up after them ends a little later.
    wait_for(lambda: not at_work(), running=False)


def test_nothing_is_built_for_a_run_without_a_bank(cli: Cli, run: Path) -> None:
    shutil.rmtree(run / "features" / "val")
    done = cli("compare", run, "--agents", "CenterAgent", "--jobs", "1")
    assert done.code == 2
    assert "no feature bank" in done.err
    assert not (run / "features" / "val").exists()
    assert not (run / "compare").exists()


@pytest.fixture
def folds(cli: Cli, recipe: Path, videos: Path, look: Look, tmp_path: Path) -> list[Path]:
    """Two runs, each validated on what the other is trained on."""
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    for name, other in (("train", "val"), ("val", "train")):
        rows = list(csv.DictReader((videos / f"{other}.csv").open()))
        with (swapped / f"{name}.csv").open("w") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "group"])
            writer.writerows([str(videos / row["path"]), row["label"], number // 2] for number, row in enumerate(rows))
    runs = []
    for number, lists in enumerate((videos, swapped)):
        runs.append(tmp_path / f"fold{number}")
        done = cli("train", recipe, *look.own_videos(lists), "--model.num_classes=10", "--out", runs[-1])
        assert done.code == 0, done.err
    return runs


def test_folds_count_together(cli: Cli, folds: list[Path], look: Look, tmp_path: Path, trained: list[str]) -> None:
    arguments = ["--agents", "PPOAgent", "CenterAgent", "--seeds", "1", "--finetune", "--full-frame", "--jobs", "1"]
    together = tmp_path / "together"
    done = cli("compare", *folds, *arguments, "--out", together)
    assert done.code == 0, done.err
    assert trained == ["PPOAgent seed 0", "CenterAgent seed 0"] * 2
    assert "mean of" in done.out  # a column for each run
    content = json.loads((together / "compare.json").read_text())
    assert content["runs"] == [str(run) for run in folds]
    assert {path.name for path in together.iterdir()} == {"compare.json", "compare.png", "curves.png", "report.html"}
    rows = rows_of(together)
    assert list(rows) == [
        *((agent, variant) for variant in VARIANTS for agent in ("PPOAgent", "CenterAgent")), ("full_frame", None),
    ]  # fmt: skip
    each = [rows_of(run / "compare") for run in folds]
    for key, row in rows.items():
        own = [table[key] for table in each]
        assert row["videos"] == sum(one["videos"] for one in own) == 18
        assert row["top1_by_run"] == [one["top1"] for one in own]
        assert row["top1"] == pytest.approx(sum(one["top1"] * one["videos"] for one in own) / 18)
    for run, table in zip(folds, each, strict=True):
        (expected,) = [row for row in look.results(run)["rows"] if row["agent"] == "full_frame"]
        row = table["full_frame", None]
        assert (row["top1"], row["map"]) == pytest.approx((expected["top1"], expected["map"]))
    # Nothing is left to do, and the pictures of each run stay its own.
    trained.clear()
    assert cli("compare", *folds, *arguments, "--out", together).code == 0
    assert trained == []
    assert (folds[0] / "compare" / "compare.png").is_file()


def test_runs_that_do_not_go_together(cli: Cli, run: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(run, tmp_path / "again"))
    arguments = ["--agents", "CenterAgent", "--seeds", "1", "--jobs", "1"]
    done = cli("compare", run, again, *arguments)
    assert (done.code, done.err) == (2, "adafocus: give --out DIR, where the results of all these runs together go\n")
    done = cli("compare", run, again, *arguments, "--out", tmp_path / "together")
    assert done.code == 2
    assert f"{run} and {again} both validate on " in done.err
    done = cli("compare", run, again, "--run", "x", *arguments, "--out", tmp_path / "together")
    assert done.code == 2
    assert "--run goes with a single recipe" in done.err
    assert not (run / "compare").exists()
    (run / "episodes.safetensors").unlink()
    done = cli("compare", run, *arguments, "--full-frame")
    assert done.code == 2
    assert f"`adafocus evaluate {run}` makes it" in done.err
    assert not (run / "compare").exists()


class _Failing:
    """A job whose folder cannot be written to either."""

    name = "failing"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self) -> None:
        raise OSError(28, os.strerror(28))


def test_a_failure_that_cannot_be_logged_is_still_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert attempt(_Failing(tmp_path / "file" / "job")) == f"OSError: [Errno 28] {os.strerror(28)}"
    reason = attempt(_Failing(tmp_path / "job"))
    assert reason == f"OSError: [Errno 28] {os.strerror(28)}; {tmp_path / 'job' / 'log.txt'} has the whole story"


def test_a_full_disk_names_the_jobs_log(tmp_path: Path) -> None:
    def full() -> None:
        with own_log(tmp_path):
            raise OSError(28, os.strerror(28))

    with pytest.raises(OSError, match=os.strerror(28)) as raised:
        full()
    assert raised.value.filename == str(tmp_path / "log.txt")
