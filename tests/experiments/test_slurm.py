"""The scripts in docs/slurm: shellcheck finds no fault, and they start what they should; Slurm is played by stubs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "docs" / "slurm"
STUBS = {
    "srun": 'case "$1" in --*) shift ;; esac; exec "$@"',
    "adafocus": f'exec "{sys.executable}" -m adafocus_rl "$@"',
    "sbatch": 'echo "$@" >> sbatch.txt; wc -l < sbatch.txt',
    "scontrol": "printf 'one\\ntwo\\n'",
    "torchrun": f'echo "$@" > torchrun.txt; while [ "$1" != -m ]; do shift; done; exec "{sys.executable}" "$@"',
}
"""Programs of a cluster; torchrun starts one process."""

Start = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Runs a script as a job on a cluster of this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, code in STUBS.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{code}\n")
        path.chmod(0o755)

    def run(script: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **variables}
        command = ["bash", SCRIPTS / script, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path, timeout=300
        )  # fmt: skip

    return run


def test_shellcheck_finds_nothing() -> None:
    program = shutil.which("shellcheck", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if program is None:
        pytest.skip("there is no shellcheck")
    scripts = sorted(map(str, SCRIPTS.iterdir()))
    assert len(scripts) == 3
    done = subprocess.run([program, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.long
def test_each_task_of_an_array_builds_one_part(start: Start, run: Path) -> None:
    """Also of an array that does not begin at 1."""
    shutil.rmtree(run / "features")
    common = {"SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_CPUS_PER_TASK": "1"}
    done = start("bank.sbatch", run, SLURM_ARRAY_TASK_ID="4", **common)
    assert done.returncode == 0, done.stderr
    assert "part 1/2 is complete; missing parts: 2 of 2" in done.stderr
    done = start("bank.sbatch", run, SLURM_ARRAY_TASK_ID="5", **common)
    assert done.returncode == 0, done.stderr
    assert f"{run / 'features' / 'val'}: complete, 6 videos, fits the run" in done.stderr


def test_jobs_wait_for_those_before_them(start: Start, tmp_path: Path) -> None:
    done = start("submit.sh", "activitynet", "runs/a", "5")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "submitted: encoders 1, banks 2 (parts 1 to 5), policy 3\n"
    assert (tmp_path / "sbatch.txt").read_text().splitlines() == [
        f"--parsable {SCRIPTS}/train.sbatch activitynet runs/a 0 1",
        f"--parsable --dependency=afterok:1 --array=1-5 {SCRIPTS}/bank.sbatch runs/a",
        f"--parsable --dependency=afterok:2 {SCRIPTS}/train.sbatch activitynet runs/a 0 1 2 3",
    ]
    assert start("submit.sh", "activitynet").returncode == 2


def test_training_has_a_process_for_each_gpu_and_goes_on(start: Start, recipe: Path, run: Path, tmp_path: Path) -> None:
    """The run is finished, so that there is nothing to train."""
    done = start(
        "train.sbatch", recipe, run, "0", "1", SLURM_GPUS_ON_NODE="4", SLURM_CPUS_PER_TASK="8", SLURM_NNODES="2",
        SLURM_JOB_ID="77", SLURM_JOB_NODELIST="one,two",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    options, rest = (tmp_path / "torchrun.txt").read_text().split(" -m ")
    assert options == ("--nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-id 77 --rdzv-endpoint one:29500")
    assert rest == f"adafocus_rl train {recipe} --out {run} --stages 0 1 --resume\n"
