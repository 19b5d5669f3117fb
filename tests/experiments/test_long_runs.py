"""A long training keeps its memory and its open files: what a quarter of it takes, the whole of it takes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs /proc"),
]

UPDATES = 2_000
CLIPS = 20_000
BOUND_MB = 16.0
"""Growth of a process's resident memory from a quarter of the run to its end: allocators keep some megabytes. This is
11 KB for each of the last 1,500 updates, 1.1 KB for each of the last 15,000 clips; a clip has 12 KB."""

COMMON = """
import json, os, sys
from pathlib import Path

def children():
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += (task / "children").read_text().split()
    return found

def sample():
    '''Resident memory in MB and number of open files, of this process and of each of its workers.'''
    pages = os.sysconf("SC_PAGE_SIZE") / 1e6
    processes = [str(os.getpid()), *sorted(children(), key=int)]
    return [
        [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * pages, len(os.listdir(f"/proc/{pid}/fd"))]
        for pid in processes
    ]

samples, kept = [], []
leak, count = sys.argv[1] == "leak", int(sys.argv[2])

def done(part):
    '''Called with the share that is done: a sample at each quarter.'''
    if len(samples) < 4 and part >= (len(samples) + 1) / 4:
        samples.append(sample())
"""

TRAINING = f"""{COMMON}
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from adafocus_rl.experiments.cli.entry import main
from adafocus_rl.rotation import CheckpointRotation

updates = 0

def updated(*_):
    global updates
    updates += 1
    if leak:
        kept.append(torch.ones(1 << 14))

save = CheckpointRotation.save

def saved(self, *arguments):
    path = save(self, *arguments)
    done(updates / count)
    return path

register_optimizer_step_post_hook(updated)
CheckpointRotation.save = saved
code = main(sys.argv[3:])
print(json.dumps({{"code": code, "updates": updates, "samples": samples}}))
"""

DECODING = f"""{COMMON}
from adafocus_rl.experiments.config.parser import parse_settings
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run

run = Run(RunFolder(Path("run")), parse_settings("test", sys.argv[3:]).config)
one_pass = run.clips.passes(run.clips.train, 16)
clips = epoch = 0
while clips < count:
    for batch in one_pass(epoch):
        clips += len(batch)
        if leak:
            kept.append(batch.clips.float())
        done(clips / count)
    epoch += 1
print(json.dumps({{"code": 0, "clips": clips, "failed": run.clips.failed, "samples": samples}}))
"""


def _run(program: str, folder: Path, *arguments: Any, leak: bool = False) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-c", program, "leak" if leak else "none", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (found["code"], len(found["samples"])) == (0, 4)
    return found


def growth(samples: list[list[list[float]]]) -> list[str]:
    """What grows from the first to the last sample, by process."""
    first, last = samples[0], samples[-1]
    assert len(first) == len(last), "a process has come or gone"
    found = []
    for number, (before, after) in enumerate(zip(first, last, strict=True)):
        if after[0] - before[0] > BOUND_MB:
            found.append(f"process {number}: memory {before[0]:.0f} → {after[0]:.0f} MB")
        if after[1] > before[1]:
            found.append(f"process {number}: open files {before[1]} → {after[1]}")
    return found


def _training(run: Path, recipe: Path, updates: int) -> list[Any]:
    # 12 videos, one a time: 12 updates an epoch, then a line in the log, validation and a checkpoint.
    keys = [f"--stage2.epochs={-(-updates // 12)}", "--stage2.batch_size=1", "--evaluation.full_frame_epochs=0"]
    return [updates, "train", recipe, "--out", run, "--stages", "2", *keys, "--json"]


def test_two_thousand_updates(run: Path, recipe: Path) -> None:
    found = _run(TRAINING, run.parent, *_training(run, recipe, UPDATES))
    assert found["updates"] >= UPDATES
    assert growth(found["samples"]) == []


@pytest.fixture
def listed(recipe: Path, tmp_path: Path) -> list[Any]:
    """Arguments of a run on 2,000 videos, links to the twelve, in a worker process."""
    root = Path(yaml.safe_load(recipe.read_text())["data"]["root"])
    videos = Path(shutil.copytree(root, tmp_path / "videos"))
    header, *rows = (videos / "train.csv").read_text().splitlines()
    lines = [header]
    for number in range(2000):
        name, rest = rows[number % len(rows)].split(",", 1)
        (videos / f"{number}.mp4").symlink_to(name)
        lines.append(f"{number}.mp4,{rest}")
    (videos / "many.csv").write_text("\n".join(lines) + "\n")
    return [
        "--config", recipe, "--data.workers=1", "--data.embedded=null", "--data.root=null",
        f"--data.train_list={videos / 'many.csv'}", f"--data.val_list={videos / 'val.csv'}", "--stage0.stills.epochs=0",
    ]  # fmt: skip


def test_twenty_thousand_decoded_clips(listed: list[Any], tmp_path: Path) -> None:
    found = _run(DECODING, tmp_path, CLIPS, *listed)
    assert (found["clips"], found["failed"]) == (CLIPS, {})
    assert len(found["samples"][0]) >= 2
    assert growth(found["samples"]) == []


def test_a_leak_is_seen(run: Path, recipe: Path, listed: list[Any], tmp_path: Path) -> None:
    """64 KB of each of 600 updates, and 48 KB of each of 1,600 clips."""
    found = _run(TRAINING, run.parent, *_training(run, recipe, 600), leak=True)
    assert [line.split(":")[0] for line in growth(found["samples"])] == ["process 0"]
    # The worker is not looked at: after 400 clips it has not yet reached its size.
    found = _run(DECODING, tmp_path, 1600, *listed, leak=True)
    assert growth([sample[:1] for sample in found["samples"]])[0].startswith("process 0: memory")


def test_an_open_file_is_seen() -> None:
    steady = [[100.0, 20], [50.0, 9]]
    assert growth([steady, steady, steady, [[100.0, 20], [50.0, 9]]]) == []
    assert growth([steady, steady, steady, [[100.0, 21], [70.0, 9]]]) == [
        "process 0: open files 20 → 21", "process 1: memory 50 → 70 MB",
    ]  # fmt: skip
