"""What a case is, and what is demanded of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from faults.disk import Disk
from faults.injection import ERRORS, Action, Plan, When
from faults.scenarios import RUN, SCENARIOS, Corpus, Scenario
from faults.server import Done, Server
from faults.state import State, differences, state_of

Kind = Literal["kill", "cut, names kept", "cut, names lost", "term", "full", "readonly", "second", "past", "future"]

ACTIONS: dict[Kind, Action] = {
    "kill": "kill", "cut, names kept": "kill", "cut, names lost": "kill", "term": "term", "full": "full",
    "readonly": "readonly", "second": "pause", "past": "past", "future": "future",
}  # fmt: skip

Change = Mapping[str, Any]
"""A line of a trace."""

EPOCH = re.compile(r"(.*/checkpoints/.*\.resume\.step)(\d+)\.safetensors")


NOT_REACHED = "the point was not reached"
"""Beginning of what is said of a case that did not happen."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Something that happens at a point of a scenario."""

    scenario: str
    kind: Kind
    at: int
    """Number of the point, or of the step of computation."""
    compute: bool = False
    when: When = "before"
    stage: str = ""
    area: str = ""
    planted: str | None = None

    @property
    def name(self) -> str:
        """Names the case, also for ``--case``."""
        where = f"{'step' if self.compute else 'point'}-{self.at}-{self.when}"
        return f"{self.scenario}:{self.kind.replace(', ', '-').replace(' ', '-')}:{where}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a case."""

    case: Case
    faults: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A scenario that nothing has happened to."""

    state: State
    """What it leaves."""
    changes: Sequence[Change]
    """Its trace."""


def fresh(corpus: Corpus, scenario: Scenario, folder: Path) -> Path:
    """The folder in which a scenario begins."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "here").mkdir(parents=True)
    scenario.prepare(corpus, folder / "here")
    return folder / "here"


def run_whole(server: Server, corpus: Corpus, scenario: Scenario, folder: Path, *, planted: str | None = None) -> Whole:
    """Runs a scenario that nothing happens to; with a deliberate fault of the product, if one is named."""
    here, trace = fresh(corpus, scenario, folder), folder / "trace"
    done = server.run(scenario.command, here, Plan(root=str(here), trace=str(trace), planted=planted))
    if done.code:
        raise RuntimeError(f"`adafocus {' '.join(scenario.command)}` fails without any fault:\n{done.err}")
    return Whole(state=state_of(here), changes=read_trace(trace))


def read_trace(path: Path) -> list[Change]:
    """The changes that a process has made; a killed one may have torn its last line."""
    *lines, rest = path.read_text().split("\n")
    assert not rest, rest
    return [json.loads(line) for line in lines]


def run_case(servers: Sequence[Server], corpus: Corpus, case: Case, whole: Whole, folder: Path) -> Outcome:
    """Runs and judges one case.

    Args:
        servers: one, or two for a case with two processes.
        corpus: the material.
        case: the case.
        whole: the scenario without a fault.
        folder: a folder of its own.
    """
    started = time.monotonic()
    try:
        faults = _run(servers, corpus, case, whole, folder)
    except TimeoutError as error:
        faults = [f"hangs: {error}"]
    return Outcome(case=case, faults=tuple(faults), seconds=time.monotonic() - started)


def _run(servers: Sequence[Server], corpus: Corpus, case: Case, whole: Whole, folder: Path) -> list[str]:
    scenario, server = SCENARIOS[case.scenario], servers[0]
    here, trace, snapshots = fresh(corpus, scenario, folder), folder / "trace", folder / "snapshots"
    begun = state_of(here) if scenario.untouched else {}
    cut = case.kind.startswith("cut")
    disk = Disk(here) if cut else None
    snapshots.mkdir()
    plan = Plan(
        root=str(here), trace=str(trace), at=case.at, compute=case.compute, when=case.when,
        action=ACTIONS[case.kind], snapshots=str(snapshots) if cut else None, planted=case.planted,
    )  # fmt: skip
    if case.kind == "second":
        faults, done = _second(servers, scenario, here, plan, whole)
    else:
        faults, done = [], server.run(scenario.command, here, plan)
    changes = read_trace(trace)
    if not any(change["kind"] == "hit" for change in changes):
        return [*faults, f"{NOT_REACHED}; exit code {done.code}: {last_line(done.err)}"]
    if disk is not None:
        disk.replay(changes, snapshots)
        disk.write(here, "kept" if case.kind == "cut, names kept" else "lost")
    faults += judge_end(case.kind, done)
    faults += lost_work(changes, here, cut=cut)
    if case.kind in ("second", "past", "future"):
        return faults + compared(scenario, here, whole)
    if done.code == 0 and case.kind != "kill" and not cut:  # what failed was not needed
        return faults + compared(scenario, here, whole)
    # With the same fault of the product, which a user has in every command.
    then = folder / "then"
    then.mkdir()
    plan = Plan(root=str(here), trace=str(then / "trace"), planted=case.planted)
    again = server.run(scenario.again, here, plan, beside=then)
    if again.code and scenario.untouched and scenario.untouched in again.err:
        faults += [f"the first command had changed something: {one}" for one in differences(state_of(here), begun)]
        again = server.run(scenario.command, here, plan, beside=then)
    complete = scenario.complete and scenario.complete in again.err
    if again.code and not complete:
        return [*faults, f"`adafocus {' '.join(scenario.again)}` then ends with {again.code}: {last_line(again.err)}"]
    return faults + compared(scenario, here, whole)


def compared(scenario: Scenario, here: Path, whole: Whole) -> list[str]:
    """How a folder differs from that of a run without a fault."""
    found, expected = state_of(here), whole.state
    if scenario.reordered:
        found, expected = map(_in_order, (found, expected))
    return differences(found, expected)


def _in_order(state: State) -> State:
    """A state with the stages of its log in one order, and without the page that shows them as they come."""
    logs = {
        name: sorted(value, key=lambda line: str(line["stage"]))
        for name, value in state.items()
        if name.endswith(".jsonl") and isinstance(value, list)
    }
    return {name: value for name, value in {**state, **logs}.items() if not name.endswith("report.html")}


def judge_end(kind: Kind, done: Done) -> list[str]:
    """What is wrong with the end of a command that something has happened to."""
    faults = [f"{done.left} processes were left behind"] if done.left else []
    if "Traceback" in done.err:
        faults.append(f"a traceback: {last_line(done.err)}")
    said = last_line(done.err)
    if kind == "term" and not (done.code == 143 and said.startswith("adafocus: terminated")):
        # The last change of a command may be behind all that can be interrupted.
        faults += [] if done.code == 0 else [f"SIGTERM ends it with {done.code}: {said}"]
    if ACTIONS[kind] in ERRORS and done.code:
        reason = os.strerror(ERRORS[ACTIONS[kind]])
        if done.code not in (1, 2) or not said.startswith("adafocus: ") or reason not in done.err:
            faults.append(f"exit code {done.code} without a sentence that says {reason!r}: {said}")
    if ACTIONS[kind] in ("past", "future", "pause") and done.code:
        faults.append(f"it ends with {done.code}: {said}")
    return faults


def lost_work(changes: Sequence[Change], here: Path, *, cut: bool) -> list[str]:
    """Epochs whose checkpoint was written, and flushed where power was cut, and from which nothing can go on."""
    written: dict[str, int] = {}
    complete: dict[str, int] = {}
    for change in changes:
        match = EPOCH.fullmatch(str(change["path"]))
        if change["kind"] == "replace" and match:
            written[match[1]] = int(match[2])
        if not cut or (change["kind"] == "fsync" and str(change["path"]).endswith("/checkpoints")):
            complete = dict(written)
    faults = []
    for stem, epoch in complete.items():
        step = here / stem
        names = [path.name for path in step.parent.glob("*.safetensors")] if step.parent.is_dir() else []
        epochs = [int(match[2]) for name in names if (match := EPOCH.fullmatch(f"{Path(stem).parent}/{name}"))]
        finished = f"{step.name.split('.resume.')[0]}.safetensors" in names
        # The steps of a stage end in one checkpoint.
        later = step.name.startswith("stage0.stills") and "stage0.safetensors" in names
        if not finished and not later and max(epochs, default=0) < epoch:
            faults.append(f"epoch {epoch} of {step.name.split('.resume.')[0]} was written and is lost")
    return faults


def _second(
    servers: Sequence[Server], scenario: Scenario, here: Path, plan: Plan, whole: Whole
) -> tuple[list[str], Done]:
    """Other processes that want to write into the folder while the first is in the middle of it."""
    first, second = servers
    flag = Path(f"{plan.trace}.paused")
    first.start(scenario.command, here, plan)
    until = time.monotonic() + 120
    while not flag.exists() and time.monotonic() < until:
        time.sleep(0.05)
    faults = [] if flag.exists() else ["the point was not reached"]
    try:
        before = state_of(here)
        for command in (scenario.again, scenario.command, ("features", "build", "run"), ("evaluate", "run")):
            done = second.run(command, here)
            said = last_line(done.err)
            # The first process has locked a new folder before it makes it a run.
            nothing = command[0] in ("features", "evaluate") and not (here / RUN / "config.yaml").is_file()
            told = "is being written to by" in said or (nothing and "is not a run folder" in said)
            if done.code != 2 or not said.startswith("adafocus: ") or not told:
                faults.append(f"a second process, `adafocus {' '.join(command)}`, ends with {done.code}: {said}")
            faults += [f"a second process has harmed: {one}" for one in differences(state_of(here), before)]
    finally:
        flag.unlink(missing_ok=True)
    return faults, first.wait()


def last_line(text: str) -> str:
    """What a command said last."""
    lines = text.strip().splitlines()
    return lines[-1][:400] if lines else "without a word"
