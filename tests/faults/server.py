"""Processes that run a command of ``adafocus``: forks of a server that has imported everything once."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faults.injection import Injector, Plan
from faults.planted import PLANTED

ROOT = Path(__file__).parents[2]
LATER = (
    "torchvision", "torch.utils.tensorboard", "av", "cv2", "PIL.PngImagePlugin", "matplotlib.pyplot",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "sklearn.metrics", "onnx", "sb3_contrib",
)  # fmt: skip
"""What commands import when they need it."""

STREAMS = {1: "stdout.txt", 2: "stderr.txt"}
LIMIT = 300.0
"""Seconds of a command on a busy machine; all take a few."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended."""

    code: int
    """Its exit code; -9 if it was killed."""
    out: str
    err: str
    left: int = 0
    """Number of its processes that were there ten seconds after it."""


class Server:
    """Runs one command at a time, each in a fork.

    Args:
        prefix: command that starts the server in surroundings of its own.
    """

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
        own = {
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "MPLBACKEND": "agg",
        }
        own |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "faults.server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **own},
        )  # fmt: skip
        self._printed = Path()
        self._pid = 0

    def run(
        self, arguments: Sequence[str], folder: Path, plan: Plan | None = None, *, limit: float = LIMIT,
        beside: Path | None = None,
    ) -> Done:  # fmt: skip
        """Runs ``adafocus ARGUMENTS…`` in a folder.

        Args:
            arguments: command and arguments.
            folder: the working directory.
            plan: what happens in the process.
            limit: seconds that it may take.
            beside: folder for what it prints; None for the one above ``folder``.
        """
        self.start(arguments, folder, plan, beside=beside)
        return self.wait(limit=limit)

    def start(
        self, arguments: Sequence[str], folder: Path, plan: Plan | None = None, *, beside: Path | None = None
    ) -> int:
        """Starts a command; returns the number of its process."""
        self._printed = folder.parent if beside is None else beside
        request = {
            "arguments": list(arguments), "folder": str(folder), "plan": asdict(plan) if plan else None,
            "printed": str(self._printed),
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        self._pid = int(self._process.stdout.readline())
        return self._pid

    def wait(self, *, limit: float = LIMIT) -> Done:
        """Waits for the command that was started.

        Raises:
            TimeoutError: it does not end.
        """
        assert self._process.stdout is not None
        timer = threading.Timer(limit, lambda: os.killpg(self._pid, signal.SIGABRT))
        timer.start()
        code = int(self._process.stdout.readline())
        timer.cancel()
        session, self._pid = self._pid, 0
        if code == -signal.SIGABRT:
            raise TimeoutError(f"it has not ended after {limit:g} s")
        out, err = ((self._printed / name).read_text(errors="backslashreplace") for name in STREAMS.values())
        return Done(code=code, out=out, err=err, left=_left(session))

    def close(self) -> None:
        """Ends the server, and what it runs."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def serving(count: int = 1, prefix: Sequence[str] = ()) -> Iterator[list[Server]]:
    """Servers for a block."""
    servers = [Server(prefix) for _ in range(count)]
    try:
        yield servers
    finally:
        for server in servers:
            server.close()


def _left(session: int) -> int:
    """How many processes of a session are still there, after some seconds for them to notice that they are alone."""
    until = time.monotonic() + 10
    while (found := _members(session)) and time.monotonic() < until:
        time.sleep(0.1)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(found)


def _members(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, *_, number = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state != "Z":
                found.append(int(entry.name))
    return found


# ---- in the server's process ----------------------------------------------------------------------------------------


def serve() -> None:
    """Forks for each request, a line of JSON on stdin; prints the number of the process, then its exit code."""
    _import_all()
    for line in sys.stdin:
        request = json.loads(line)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _child(request)
        print(pid, flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _import_all() -> None:
    import adafocus_rl

    for module in pkgutil.walk_packages(adafocus_rl.__path__, "adafocus_rl."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _child(request: Mapping[str, Any]) -> None:
    """The process of a command; does not return."""
    os.setsid()
    os.chdir(request["folder"])
    handle = os.open(os.devnull, os.O_RDONLY)
    os.dup2(handle, 0)
    for number, name in STREAMS.items():
        handle = os.open(Path(request["printed"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    code = 1
    try:
        plan = Plan(**request["plan"]) if request["plan"] else None
        if plan is not None:
            Injector(plan).install()
            if plan.planted is not None:
                PLANTED[plan.planted].plant()
        from adafocus_rl.experiments.cli.entry import process

        sys.argv = ["adafocus", *request["arguments"]]
        code = process()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # What the interpreter does at its end, without the server's own frames.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
