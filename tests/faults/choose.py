"""Which cases are run: points spread over all scenarios, stages and kinds of files."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from faults.cases import Case, Change, Kind, Whole
from faults.planted import PLANTED
from faults.scenarios import SCENARIOS

COUNTS: dict[Kind, int] = {
    "kill": 72, "cut, names kept": 16, "cut, names lost": 16, "full": 16, "readonly": 8, "term": 8, "second": 4,
    "past": 3, "future": 3,
}  # fmt: skip
"""Number of cases of each kind in a run of the whole suite."""

ONLY: dict[Kind, tuple[str, ...]] = {
    "second": ("train", "overwrite", "evaluate", "bank", "compare"),
    "past": ("train", "compare", "bank", "make"),
    "future": ("train", "compare", "bank", "make"),
}
"""Scenarios that a kind of case is for; all, if it is not named."""

AREAS = {
    "/checkpoints/": "checkpoint", "/features/": "bank", "store/": "bank", "metrics.jsonl": "log",
    "/tensorboard/": "log", "log.txt": "log", ".csv": "list", "classes.txt": "list", "dataset.json": "list",
    ".mp4": "videos", ".jpg": "videos",
    ".onnx": "export", "export.json": "export", ".json": "results", ".html": "results", ".png": "results",
    ".safetensors": "results",
}  # fmt: skip
"""Kinds of files, by a part of the path; the first that fits."""

ORDER = ("checkpoint", "computing", "log", "bank", "list", "results", "export", "videos", "folder")
"""In which order the kinds of files have their turns."""

FILES = frozenset(
    {"create", "overwrite", "append", "write", "truncate", "fsync", "replace", "unlink", "rmdir", "mkdir", "link"}
)


def area_of(change: Change) -> str:
    """The kind of file that a change is of."""
    if change["kind"] == "compute":
        return "computing"
    path = f"/{change['path']}"
    return next((area for part, area in AREAS.items() if part in path), "folder")


def choose(wholes: Mapping[str, Whole], *, seed: int, share: float = 1.0) -> list[Case]:
    """Cases of all kinds.

    Args:
        wholes: the scenarios without a fault.
        seed: another one chooses other points.
        share: of ``COUNTS``.
    """
    found = []
    for kind, count in COUNTS.items():
        rng = Random(f"{seed}:{kind}")
        names = [name for name in ONLY.get(kind, tuple(wholes)) if name in wholes]
        # The scenarios in turns, and in each its groups.
        streams = {name: _points(wholes[name].changes, rng, computing=kind in ("kill", "term")) for name in names}
        turns = itertools.cycle([name for name in names for _ in range(SCENARIOS[name].weight)])
        for name in itertools.islice(turns, max(1, round(count * share)) if names else 0):
            found.append(_case(name, kind, next(streams[name]), rng))
    return found


def planted_cases(traces: Mapping[str, Sequence[Change]]) -> list[tuple[str, Case]]:
    """For each deliberate fault a case that shows it.

    Args:
        traces: the changes that the scenario of a fault makes with it, by the fault's name. Without it, they have other
            numbers.
    """
    found = []
    for name, changes in traces.items():
        fault = PLANTED[name]
        # The last one: what comes before it has to be gone on from.
        change = [one for one in changes if one["kind"] == fault.change and fault.path in one["path"]][-1]
        found.append((name, Case(
            scenario=fault.scenario, kind=fault.kind, at=change["number"], when=fault.when, planted=name,  # type: ignore[arg-type]
        )))  # fmt: skip
    return found


def _points(changes: Sequence[Change], rng: Random, *, computing: bool) -> Iterator[Change]:
    """Points without end: the kinds of files in turns, each at one of its stages."""
    groups: dict[str, dict[str, list[Change]]] = defaultdict(lambda: defaultdict(list))
    for change in changes:
        if change["kind"] in FILES or (computing and change["kind"] == "compute"):
            groups[area_of(change)][change["stage"]].append(change)
    turns = {area: rng.sample(sorted(stages), len(stages)) for area, stages in groups.items()}
    for number in itertools.count():
        for area in ORDER:
            if area in groups:
                stage = turns[area][number % len(turns[area])]
                yield rng.choice(groups[area][stage])


def _case(scenario: str, kind: Kind, change: Change, rng: Random) -> Case:
    compute = change["kind"] == "compute"
    when = (
        "before"
        if compute
        else rng.choice(["before", "half", "after"] if change["kind"] == "write" else ["before", "after"])
    )
    if kind in ("full", "readonly"):
        when = "half" if change["kind"] == "write" and kind == "full" else "before"
    return Case(
        scenario=scenario, kind=kind, at=change["number"], compute=compute, when=when,  # type: ignore[arg-type]
        stage=change["stage"], area=area_of(change),
    )  # fmt: skip


def counted(cases: Sequence[Case]) -> str:
    """Lines that say where the cases happen."""
    return "".join(
        f"{title}: {', '.join(f'{name} {count}' for name, count in counts.most_common())}\n"
        for title, counts in (
            ("files", Counter(case.area for case in cases)),
            ("stages", Counter(case.stage for case in cases)),
            ("commands", Counter(case.scenario for case in cases)),
        )
    )
