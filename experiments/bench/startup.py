"""``adafocus bench startup``."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.bench.timing import Timing, measured_rounds, timing

if TYPE_CHECKING:
    import torch

COMMANDS = ("--version", "--help", "list", "train --help", "predict --help", "compare --help", "bench --help")
"""Commands that compute nothing."""

SCRIPTS = ("import adafocus_rl", "import adafocus_rl.envs", "from adafocus_rl.envs import PatchSelectionVectorEnv")

REFERENCE = "import torch, gymnasium"


def bench_startup(device: torch.device) -> list[Timing]:
    """Run commands that compute nothing, and imports, against importing torch and Gymnasium.

    The milliseconds are CPU time, user and system, of a process of its own. The device is not used.

    Raises:
        UserError: this system does not report the CPU time of finished processes.
    """
    del device
    cases = {f"adafocus {command}": ["-m", "adafocus_rl", *command.split()] for command in COMMANDS}
    cases |= {script: ["-c", script] for script in SCRIPTS}

    def one_round() -> tuple[float, list[float]]:
        return cpu_seconds(["-c", REFERENCE]), [cpu_seconds(arguments) for arguments in cases.values()]

    rounds = measured_rounds(one_round)
    return [
        timing("startup", name, REFERENCE, [(ours[case], reference) for reference, ours in rounds])
        for case, name in enumerate(cases)
    ]


def cpu_seconds(arguments: list[str]) -> float:
    """Run Python with these arguments; return the CPU time of the process in seconds.

    Raises:
        UserError: this system does not report the CPU time of finished processes.
    """
    try:
        import resource
    except ImportError:
        raise UserError("the startup benchmark needs the CPU time of processes, which only Unix reports") from None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
