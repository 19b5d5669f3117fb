"""A process that has imported a module and its tests, and forks for each mutant; ``mutation.runner`` starts it.

Its argument is the target. It reads the numbers of mutants, or null, one a line, and answers each with a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
from types import CodeType
from typing import Any

import pytest
from _pytest.main import pytest_runtestloop
from hypothesis import Phase, settings

from mutation.operators import mutants
from mutation.targets import ROOT, TARGETS, Target
from mutation.transplant import transplant

PROFILE = "mutation"
"""Examples of the property tests: the same as always, but a failure is not made smaller, which takes long."""

SLACK = 5.0
"""Seconds of processor time that a mutant may take beyond five times the time of the module as it is."""


class Server:
    """A plugin of pytest that answers requests instead of running the tests it has collected once.

    Args:
        target: the module.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.changes = mutants(target.source)
        self.collected = False
        self.failed = ""
        self.durations: dict[str, float] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> object:
        """Fork for each request, until the input ends."""
        self.collected = not session.testsfailed
        limit = 600.0
        for line in sys.stdin if self.collected else ():
            number = json.loads(line)
            code = None if number is None else self.changes[number].compile(str(ROOT / self.target.path))
            answer = self._fork(session, code, limit)
            durations, failed = answer.pop("durations", {}), answer["by"]
            if number is None:
                limit = SLACK + 5 * answer["seconds"]
                # The quick ones first, since the first failure ends a mutant's run.
                session.items.sort(key=lambda item, took=durations: took.get(item.nodeid, 0.0))
            else:
                # The next mutant is often in the same statement.
                session.items.sort(key=lambda item, last=failed: item.nodeid != last)
            _answer(answer)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember the first failure, and what each test takes."""
        self.durations[report.nodeid] = self.durations.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed = self.failed or report.nodeid

    def _fork(self, session: pytest.Session, code: CodeType | None, limit: float) -> dict[str, Any]:
        """Run the tests in a child.

        Returns:
            ``end``, ``killed``, ``timeout`` or ``survived``; ``by``, the first test that failed; ``seconds`` of
            processor time.
        """
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._child(session, code, writing, limit)
        os.close(writing)
        with os.fdopen(reading) as report:
            said = report.read()
        _, status, usage = os.wait4(pid, 0)
        if said:
            told = json.loads(said)
        elif os.WIFSIGNALED(status):
            late = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL)
            reason = f"more than {limit:.0f} s" if late else f"signal {os.WTERMSIG(status)}"
            told = {"end": "timeout" if late else "killed", "by": reason}
        else:
            told = {"end": "broken", "by": "the process ended without a report"}
        return {**told, "seconds": round(usage.ru_utime + usage.ru_stime, 2)}

    def _child(self, session: pytest.Session, code: CodeType | None, writing: int, limit: float) -> None:
        """Change the module, run the tests, report on the pipe, and end this process."""
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 2))
        # For a mutant that waits; the machine may be busy.
        signal.alarm(10 * int(limit) + 60)
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2, sys.stdout.fileno()):
            os.dup2(quiet, stream)
        try:
            if code is not None:
                transplant(importlib.import_module(self.target.module), code)
            pytest_runtestloop(session)
        except session.Failed:
            pass
        except BaseException as error:  # the changed module itself, or a fixture that ends everything
            self.failed = self.failed or f"{type(error).__name__}: {error}"
        end = "killed" if self.failed else "survived"
        durations = {} if code else self.durations
        os.write(writing, json.dumps({"end": end, "by": self.failed, "durations": durations}).encode())
        os._exit(0)


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def serve(name: str) -> None:
    """Answer until the input ends; one line that says so if the tests cannot be collected."""
    settings.register_profile(
        PROFILE, deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
    )
    os.environ["HYPOTHESIS_PROFILE"] = PROFILE
    os.chdir(ROOT)
    server = Server(TARGETS[name])
    options = ["-x", "-q", "-s", "--no-header", "-p", "no:cacheprovider", "-m", "not gpu", "--rootdir", str(ROOT)]
    code = pytest.main([*options, *server.target.tests], plugins=[server])
    if not server.collected:
        _answer({"end": "broken", "by": f"pytest ended with {code} while it collected the tests", "seconds": 0.0})


if __name__ == "__main__":
    # What tests and libraries print must not come between the answers.
    out = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(out, "w")
    serve(sys.argv[1])
