"""The suite of faults does what it says, finds deliberate faults, and a part of it runs with all tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from faults.__main__ import Suite, named, table
from faults.cases import Case, Outcome, Whole, judge_end, lost_work
from faults.choose import COUNTS, area_of, choose
from faults.disk import Disk
from faults.injection import Plan
from faults.scenarios import SCENARIOS
from faults.server import ROOT, Done, serving
from faults.state import differences, state_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs Linux")

# ---- what happens in a process --------------------------------------------------------------------------------------

WRITES = """
import json, os, sys
from pathlib import Path
from faults.injection import Injector, Plan
Injector(Plan(**json.loads(sys.argv[1]))).install()
Path("a").mkdir()
with open("a/part", "wb") as file:
    file.write(b"0123456789")
    file.flush()
    os.fsync(file.fileno())
os.replace("a/part", "a/whole")
Path("a/whole").rename("a/last")
os.close(os.open("a", os.O_RDONLY))
with open("log", "a") as file:
    print("line", file=file)
Path("log").unlink()
import time
print(time.time())
"""


def _writes(folder: Path, **options: Any) -> tuple[int, str, list[dict[str, Any]]]:
    here = folder / "here"
    here.mkdir()
    plan = Plan(root=str(here), trace=str(folder / "trace"), **options)
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-c", WRITES, json.dumps(asdict(plan))]
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, check=False)
    changes = [json.loads(line) for line in (folder / "trace").read_text().splitlines()]
    return done.returncode, done.stdout + done.stderr, changes


def test_every_change_of_a_file_is_a_point(tmp_path: Path) -> None:
    code, said, changes = _writes(tmp_path)
    assert code == 0, said
    assert [(change["number"], change["kind"], change["path"]) for change in changes] == [
        (0, "mkdir", "a"), (1, "create", "a/part"), (2, "write", "a/part"), (3, "fsync", "a/part"),
        (4, "replace", "a/whole"), (5, "replace", "a/last"), (6, "create", "log"), (7, "write", "log"),
        (8, "unlink", "log"),
    ]  # fmt: skip
    assert [change["source"] for change in changes if change["kind"] == "replace"] == ["a/part", "a/whole"]


@pytest.mark.parametrize(("when", "left"), [("before", b""), ("half", b"01234"), ("after", b"0123456789")])
def test_a_process_is_killed_before_in_the_middle_and_after_a_write(tmp_path: Path, when: Any, left: bytes) -> None:
    code, _, changes = _writes(tmp_path, at=2, when=when)
    assert code == -signal.SIGKILL
    assert (tmp_path / "here" / "a" / "part").read_bytes() == left
    assert changes[-1]["kind"] == "hit"


@pytest.mark.parametrize(("action", "reason"), [("full", "No space left"), ("readonly", "Read-only file system")])
def test_a_disk_fails_from_a_point_on(tmp_path: Path, action: Any, reason: str) -> None:
    code, said, _ = _writes(tmp_path, at=1, action=action)
    assert code == 1
    assert reason in said
    assert "a/part" in said


def test_the_clock_jumps(tmp_path: Path) -> None:
    _, said, _ = _writes(tmp_path, at=0, action="future")
    assert float(said) > 86400 * 360 + (tmp_path / "trace").stat().st_mtime


# ---- a disk without power -------------------------------------------------------------------------------------------


def _change(kind: str, path: str, **facts: str) -> dict[str, str]:
    return {"kind": kind, "path": path, **facts}


def test_a_disk_keeps_what_was_flushed(tmp_path: Path) -> None:
    (tmp_path / "here" / "run").mkdir(parents=True)
    (tmp_path / "here" / "run" / "old").write_bytes(b"old")
    (tmp_path / "0").write_bytes(b"new")
    disk = Disk(tmp_path / "here")
    disk.replay(
        [
            _change("create", "run/part"), _change("write", "run/part"), _change("fsync", "run/part", snapshot="0"),
            _change("replace", "run/new", source="run/part"), _change("create", "run/torn"),
            _change("write", "run/torn"),
        ],
        tmp_path,
    )  # fmt: skip
    # Names may arrive before content does, and not at all.
    assert disk.files("kept") == {"run/old": b"old", "run/new": b"new", "run/torn": b""}
    assert disk.files("lost") == {"run/old": b"old"}
    disk.replay([_change("unlink", "run/old"), _change("fsync", "run")], tmp_path)
    assert disk.files("lost") == {"run/new": b"new", "run/torn": b""}
    disk.write(tmp_path / "here", "lost")
    assert state_of(tmp_path / "here") == {"run": None, "run/new": "new", "run/torn": ""}


def test_a_folder_whose_name_was_not_flushed_is_lost(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    changes = [_change("mkdir", "run"), _change("create", "run/a"), _change("fsync", "run")]
    disk.replay(changes, tmp_path)
    assert disk.files("kept") == {"run/a": b""}
    assert disk.files("lost") == {}
    disk.replay([_change("fsync", ".")], tmp_path)
    assert disk.files("lost") == {"run/a": b""}


# ---- judging --------------------------------------------------------------------------------------------------------


def test_all_but_times_is_compared(tmp_path: Path) -> None:
    for name, seconds, top1 in (("a", 1.5, 0.5), ("b", 2.5, 0.5), ("c", 2.5, 0.25)):
        (tmp_path / name / "run").mkdir(parents=True)
        row = {"top1": top1, "ms_per_video": seconds, "seconds": {"1": seconds}}
        (tmp_path / name / "run" / "results.json").write_text(json.dumps({"rows": [row]}))
        (tmp_path / name / "run" / "report.html").write_text(
            f'<td data-sort="{seconds}">{seconds:.0f}</td>{top1}, it took {seconds:.1f} ms per clip'
        )
    a, b, c = (state_of(tmp_path / name) for name in "abc")
    assert differences(a, b) == []
    assert [line.split(" differs")[0] for line in differences(c, a)] == ["run/report.html", "run/results.json"]
    assert "rows[0].top1: 0.25 instead of 0.5" in differences(c, a)[1]
    (tmp_path / "b" / ".part").touch()
    assert differences(state_of(tmp_path / "b"), a) == [".part is left over"]
    (tmp_path / "a" / ".made.partial-x1").mkdir()
    assert state_of(tmp_path / "a") == a
    assert differences({}, a)[1] == "run/report.html is missing"


@pytest.mark.parametrize(
    ("kind", "code", "said", "fault"),
    [
        ("full", 2, "adafocus: run/x: No space left on device; make space", None),
        ("full", 2, "adafocus: something is wrong", "without a sentence"),
        ("full", 1, "Traceback (most recent call last):\nOSError: No space left on device", "a traceback"),
        ("term", 143, "adafocus: terminated; the same command with --resume goes on", None),
        ("term", 1, "", "SIGTERM ends it with 1"),
        ("future", 2, "adafocus: no", "it ends with 2"),
        ("kill", -9, "", None),
    ],
)
def test_the_end_of_a_command_is_judged(kind: Any, code: int, said: str, fault: str | None) -> None:
    faults = judge_end(kind, Done(code=code, out="", err=said))
    assert bool(faults) == (fault is not None)
    assert fault is None or any(fault in one for one in faults)
    assert judge_end("kill", Done(code=-9, out="", err="", left=2)) == ["2 processes were left behind"]


def test_lost_epochs_are_seen(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    path = "run/checkpoints/stage1.resume.step0000{}.safetensors"
    changes = [_change("replace", path.format(1)), _change("replace", path.format(2))]
    (tmp_path / path.format(1)).touch()
    assert lost_work(changes, tmp_path, cut=False) == ["epoch 2 of stage1 was written and is lost"]
    # Nothing was flushed.
    assert lost_work(changes, tmp_path, cut=True) == []
    (folder / "stage1.safetensors").touch()
    assert lost_work(changes, tmp_path, cut=False) == []


# ---- choosing -------------------------------------------------------------------------------------------------------


def _wholes() -> dict[str, Whole]:
    paths = {
        "checkpoint": "run/checkpoints/stage1.safetensors", "bank": "run/features/train/x.npy",
        "log": "run/metrics.jsonl", "list": "made/train.csv", "results": "run/results.json",
    }  # fmt: skip
    kinds = ("create", "write", "fsync", "replace")
    changes = [
        {"number": number, "kind": kind, "path": path, "stage": f"stage{number % 4}"}
        for number, (path, kind) in enumerate((path, kind) for path in paths.values() for kind in kinds)
    ]
    assert {area_of(change): change["path"] for change in changes} == paths
    changes += [{"number": 20 * n, "kind": "compute", "path": ".", "stage": f"stage{n % 4}"} for n in range(9)]
    return {name: Whole(state={}, changes=changes) for name in SCENARIOS}


def test_points_are_spread_over_files_stages_and_commands() -> None:
    cases = choose(_wholes(), seed=0)
    assert Counter(case.kind for case in cases) == COUNTS
    killed = [case for case in cases if case.kind == "kill"]
    assert len(killed) >= 50
    assert {case.scenario for case in killed} == {*SCENARIOS}
    assert {case.area for case in killed} == {"checkpoint", "bank", "log", "list", "results", "computing"}
    assert {case.stage for case in killed} == {f"stage{number}" for number in range(4)}
    assert {case.when for case in killed} == {"before", "half", "after"}
    assert choose(_wholes(), seed=0) == cases != choose(_wholes(), seed=1)
    assert all(
        (case.scenario, case.kind, case.at, case.compute, case.when)
        == (one.scenario, one.kind, one.at, one.compute, one.when)
        for case in cases
        for one in [named(case.name)]
    )


def test_the_table_counts_faults() -> None:
    case = Case(scenario="train", kind="kill", at=0)
    outcomes = [Outcome(case=case, faults=faults, seconds=1.0) for faults in ((), ("harm",))]
    assert [line.split() for line in table(outcomes).splitlines()[1:]] == [
        ["kill", "2", "1", "2"],
        ["all", "2", "1", "2"],
    ]


# ---- a part of the suite --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """Two scenarios, one case at a time."""
    with serving(2) as servers:
        yield Suite(servers, tmp_path_factory.mktemp("faults"), ["train", "store", "export", "branch"])


@pytest.mark.slow
@pytest.mark.long
def test_a_part_of_the_cases_shows_no_fault(suite: Suite) -> None:
    wanted = {"kill": 4, "cut, names kept": 1, "cut, names lost": 1, "full": 1, "term": 1, "second": 1}
    cases = [case for case in choose(suite.wholes, seed=1) if wanted.get(case.kind)]
    chosen = [case for kind, count in wanted.items() for case in [one for one in cases if one.kind == kind][:count]]
    assert [(outcome.case.name, outcome.faults) for outcome in suite.run(chosen) if outcome.faults] == []


@pytest.mark.slow
@pytest.mark.long
def test_deliberate_faults_are_found(suite: Suite) -> None:
    """Those whose cases take a second; `make test-faults` runs them all."""
    assert suite.planted(("fsync skipped", "written without a temporary name", "log not taken back")) == 0
