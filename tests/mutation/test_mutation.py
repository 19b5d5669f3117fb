"""The faults are those that are meant, each compiles, and the tests of a module meet them."""

from __future__ import annotations

import os
import sys

import pytest

from mutation.__main__ import share, table
from mutation.operators import mutants
from mutation.runner import Result, accepted, outdated, run, unexplained
from mutation.targets import ROOT, TARGETS

SOURCE = '''
"""Text that says 1 + 1."""

LIMIT = 3


def kept(values: list[int] | None = None, least: int = 0) -> list[int]:
    """Return 2 + 2."""
    if not values:
        raise ValueError(f"{len(values) - 1} values")
    self._check(values)
    return [value.abs() for value in values if least <= value < LIMIT and max(value, 1) > 0.5]
'''


def _changes(source: str) -> set[tuple[str, str]]:
    return {(one.before, one.after) for one in mutants(source)}


def test_what_is_changed_and_what_is_not() -> None:
    head = "def kept(values: list[int] | None=None, least: int=0) -> list[int]:"
    condition = "least <= value < LIMIT and max(value, 1) > 0.5"
    last = f"return [value.abs() for value in values if {condition}]"
    assert _changes(SOURCE) == {
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", "LIMIT = 2"),
        (head, head.replace("=0", "=1")),
        (head, head.replace("=0", "=-1")),
        ("if not values:", "if values:"),
        ("self._check(values)", "pass"),
        (last, "return None"),
        (last, last.replace(".abs()", "")),
        (last, last.replace("and", "or")),
        (last, last.replace(condition, f"not ({condition})")),
        (last, last.replace("<= ", "< ")),
        (last, last.replace("<= ", "> ")),
        (last, last.replace("value < ", "value <= ")),
        (last, last.replace("value < ", "value >= ")),
        (last, last.replace("max", "min")),
        (last, last.replace("1)", "2)")),
        (last, last.replace("1)", "0)")),
        (last, last.replace("> 0.5", ">= 0.5")),
        (last, last.replace("> 0.5", "<= 0.5")),
        (last, last.replace("0.5", "1.0")),
    }  # fmt: skip


def test_names_tell_mutants_apart_wherever_they_stand() -> None:
    source = "def f(x):\n    y = x + 1\n    y = x + 1\n    return y\n"
    keys = [one.key for one in mutants(source)]
    assert len({*keys}) == len(keys) == 7
    assert keys[:4] == [
        "f: y = x + 1  =>  y = x - 1", "f: y = x + 1  =>  y = x + 2", "f: y = x + 1  =>  y = x + 0",
        "f: y = x + 1  =>  y = x - 1 (2)",
    ]  # fmt: skip
    assert [one.key for one in mutants("\n\n" + source)] == keys


def test_a_changed_module_does_what_its_name_says() -> None:
    found = {}
    for one in mutants("def f(x):\n    return x + 1\n"):
        space: dict[str, object] = {}
        exec(one.compile("m.py"), space)
        found[one.after] = space["f"](5)  # type: ignore[operator]
    assert found == {"return None": None, "return x - 1": 4, "return x + 2": 7, "return x + 0": 5}


@pytest.mark.parametrize("name", TARGETS)
def test_every_mutant_compiles_and_has_a_name_of_its_own(name: str) -> None:
    target = TARGETS[name]
    every = mutants(target.source)
    assert len({one.key for one in every}) == len(every) > 20
    for one in every:
        one.compile(target.path)
    assert all((ROOT / path).is_file() for path in target.tests)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="ast.unparse of Python 3.10 writes (a, b) after `for`")
def test_accepted_survivors_exist_and_have_a_reason() -> None:
    reasons = accepted()
    assert reasons.keys() <= TARGETS.keys()
    for name, own in reasons.items():
        keys = {one.key for one in mutants(TARGETS[name].source)}
        assert own.keys() - keys == set(), name
        assert all(len(reason) > 10 for reason in own.values())


def _result(number: int, end: str, key: str) -> Result:
    return Result(target="losses", number=number, key=key, line=1, end=end, by="", seconds=0.5)  # type: ignore[arg-type]


def test_survivors_are_compared_with_the_list() -> None:
    every = mutants(TARGETS["losses"].source)
    results = [_result(number, "killed", one.key) for number, one in enumerate(every)]
    results[0] = _result(0, "survived", every[0].key)
    results[1] = _result(1, "survived", every[1].key)
    results[2] = _result(2, "broken", every[2].key)
    reasons = {"losses": {every[1].key: "equivalent", every[3].key: "equivalent", "gone": "equivalent"}}
    assert [one.number for one in unexplained(results, reasons)] == [0, 2]
    assert outdated(results, reasons) == [f"losses: {every[3].key}", "losses: gone"]
    # Of a part nobody can say what is outdated.
    assert outdated(results[:5], reasons) == []
    assert share(results) == 2 / len(every)
    assert table(results).splitlines()[-1].split()[:5] == ["all", *map(str, (len(every), len(every) - 3, 0, 2))]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process that has imported torch")
def test_faults_are_found_by_the_tests_of_their_module() -> None:
    """One that a test detects at once, one that never ends, and one that is none."""
    every = {one.after: number for number, one in enumerate(mutants(TARGETS["frame_sampling"].source))}
    wanted = "return steps * length - rng.integers(length, size=num_frames)"
    (result,) = run({"frame_sampling": [every[wanted]]}, jobs=1)
    assert (result.end, result.target) == ("killed", "frame_sampling")
    assert result.by.startswith("tests/adafocus_rl/data/test_sampling.py::test_")
