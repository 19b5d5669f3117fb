"""A job on two machines, which are two launchers here; on a GPU, NCCL takes their ranks for those of two machines."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from adafocus_rl import checkpoint
from tests.experiments.test_torchrun import ALIKE, FAULTY, MORE, messages

TIMEOUT = 10
"""Seconds after which a rank that hangs is given up."""

LAUNCH = 60
"""Seconds that the launcher may take to start, or to see that a process has ended."""

ELSEWHERE = {
    "NCCL_SOCKET_IFNAME": "lo", "NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1",
    "NVIDIA_TF32_OVERRIDE": "0", "OMP_NUM_THREADS": "1",
}  # fmt: skip
"""Ranks on one GPU exchange through sockets, and compute in float32."""

IN_PPO = FAULTY.replace("adafocus_rl.agents import supervised", "adafocus_rl import ranks as supervised")
IN_PPO = IN_PPO.replace("clip_gradients", "sum_gradients")
"""The fault in an update of stage II instead."""


class Machines:
    """Runs a job on two machines; what each prints goes to a file, because a launcher may be left behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launchers: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str | Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        for node in range(2):
            command = [
                sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", node,
                "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", port, *arguments,
            ]  # fmt: skip
            out, err = (self.folder / f"{node}.{kind}" for kind in ("out", "err"))
            with out.open("wb") as output, err.open("wb") as errors:
                environment = os.environ | ELSEWHERE | {"NCCL_HOSTID": f"machine{node}"}
                self.launchers.append(
                    subprocess.Popen(
                        [*map(str, command)], stdout=output, stderr=errors, env=environment, start_new_session=True
                    )
                )

    def end(self) -> None:
        for launcher in self.launchers:
            launcher.terminate()  # and it its process, which it kills after half a minute
        for launcher in self.launchers:
            launcher.wait(timeout=60)

    def text(self, node: int, kind: str = "err") -> str:
        return (self.folder / f"{node}.{kind}").read_text(errors="replace")

    def messages(self) -> list[str]:
        return [line for node in range(2) for line in self.text(node).splitlines() if line.startswith("adafocus: ")]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("cpu", marks=[pytest.mark.slow, pytest.mark.long]),
        pytest.param("cuda", marks=pytest.mark.gpu),
    ],
)
def device(request: pytest.FixtureRequest) -> str:
    """Where the ranks compute."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return str(request.param)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    found = Machines(tmp_path)
    try:
        yield found
    finally:
        found.end()


@pytest.fixture(scope="module")
def trained(recipe: Path, device: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of stages 0, I and II by one process; not to be written to."""
    run = tmp_path_factory.mktemp("trained") / "run"
    command = [sys.executable, "-m", "adafocus_rl", "train", recipe, "--out", run, "--stages", "0", "1", "2"]
    done = subprocess.run(
        [*map(str, command), *ALIKE, f"--device={device}"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return run


def test_all_stages_end_with_the_weights_of_one_process(
    recipe: Path, trained: Path, device: str, machines: Machines, tmp_path: Path
) -> None:
    one, two = (Path(shutil.copytree(trained, tmp_path / name)) for name in ("one", "two"))
    command = ["train", recipe, "--stages", "1", "2", "3", "--json", *ALIKE, *MORE, f"--device={device}", "--out"]
    machines.start("-m", "adafocus_rl", *command, two)
    single = subprocess.run(
        [sys.executable, "-m", "adafocus_rl", *map(str, command), str(one)],
        capture_output=True, text=True, check=False, timeout=300, env=os.environ | ELSEWHERE,
    )  # fmt: skip
    codes = [launcher.wait(timeout=300) for launcher in machines.launchers]
    assert codes == [single.returncode, single.returncode] == [0, 0], machines.text(0)
    assert machines.messages() == messages(single) == []
    rows, others = (json.loads(text)["rows"] for text in (single.stdout, machines.text(0, "out")))
    assert [(row["agent"], row["top1"]) for row in rows] == [(row["agent"], row["top1"]) for row in others]
    for path in (one / "checkpoints").glob("*.safetensors"):
        found = checkpoint.load(two / "checkpoints" / path.name)[0]
        for name, value in checkpoint.load(path)[0].items():
            # Adam enlarges rounding where a gradient is nearly 0.
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=f"{path.name}: {name}")


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("refuse", "adafocus: the second rank refuses"),
        ("kill", "adafocus: rank 1 of 2 has ended without a message: it was killed, or ran out of memory; "),
        (
            "sleep",
            f"adafocus: rank 1 of 2 has given no sign of life for {TIMEOUT} s: it hangs, or its machine is lost; ",
        ),
    ],
)
def test_a_lost_rank_ends_the_job_with_one_message(
    kind: str, said: str, stage: int, recipe: Path, trained: Path, device: str, machines: Machines, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    program = tmp_path / "faulty.py"
    program.write_text(IN_PPO if stage == 2 else FAULTY)
    machines.start(
        program, kind, "2", "train", recipe, "--stages", str(stage), *ALIKE, f"--device={device}", "--out", run,
        "--rank-timeout", str(TIMEOUT),
    )  # fmt: skip
    # A machine whose process sleeps is left behind: its launcher does not know of the others.
    first, second = machines.launchers
    assert first.wait(timeout=LAUNCH + TIMEOUT + LAUNCH) == 1
    assert kind == "sleep" or second.wait(timeout=LAUNCH) == 1
    (message,) = machines.messages()
    assert message.startswith(said)
