"""The fuzz suite finds what it is meant to find, and a part of it runs with all tests."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import fuzz.readers  # noqa: F401  # announces them
from fuzz.__main__ import default_readers, table
from fuzz.cases import FAULTS, READERS, Outcome, shares
from fuzz.corpus import Corpus, make_corpus
from fuzz.mutate_bytes import mutate_bytes, mutate_text
from fuzz.mutate_trees import mutate_tree, to_json, to_yaml
from fuzz.readers.planted import PLANTED
from fuzz.runner import Limits, batches, reproduce, run

QUICK = 120
"""Cases that run with all tests."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits on time and memory need a POSIX system")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("fuzz") / "corpus")


@pytest.mark.slow
def test_every_planted_fault_is_found_and_kept(corpus: Corpus, tmp_path: Path) -> None:
    work = [[(f"planted.{name}", 0) for name in PLANTED]]
    limits = Limits(seconds=8, memory_mb=1100)
    outcomes = run(work, seed=0, corpus=corpus, folder=tmp_path, jobs=1, limits=limits)
    found = {outcome.reader.removeprefix("planted."): outcome for outcome in outcomes}
    assert {name: found[name].end for name in found} == {name: end for name, (_, end) in PLANTED.items()}
    # Nothing that was forbidden has happened.
    assert not (corpus.path / "planted.txt").exists()
    kept = {path.name for path in (tmp_path / "failures").iterdir()}
    assert kept == {f"planted.{name}-0-seed0" for name, outcome in found.items() if outcome.end in FAULTS}
    report = (tmp_path / "failures" / "planted.traceback-0-seed0" / "report.txt").read_text()
    assert "KeyError: 'planted'" in report
    assert reproduce(found["traceback"], 0) in report
    assert (tmp_path / "failures" / "planted.traceback-0-seed0" / "input" / "input.txt").is_file()


def test_cases_are_shared_by_weight_and_each_reader_has_one() -> None:
    names = default_readers()
    assert not [name for name in names if name.startswith("planted")]
    whole = shares(5400, names)
    assert abs(sum(whole.values()) - 5400) < len(names)
    assert sum(map(len, batches(whole))) == sum(whole.values())
    assert set(shares(1, names).values()) == {1}
    assert whole["lists"] > whole["resume"]


def test_the_same_seed_makes_the_same_case(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUZZ_PORT", "1")
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        for reader in ("lists", "recipes", "videos", "images"):
            own = folder / reader
            own.mkdir()
            READERS[reader].build(random.Random(f"3:{reader}:5"), corpus, own)
        made.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert made[0] == made[1]
    assert len(made[0]) > 3


def test_mutations_change_what_they_get() -> None:
    rng = random.Random(0)
    tree = {"a": [1, 2, {"b": "x"}], "c": 0.5}
    assert sum(mutate_bytes(rng, b"0123456789" * 20) != b"0123456789" * 20 for _ in range(100)) > 80
    assert sum(mutate_text(rng, "a,b\n1,2\n") != b"a,b\n1,2\n" for _ in range(100)) > 80
    assert sum(mutate_tree(rng, tree) != tree for _ in range(100)) > 80
    assert len({to_yaml(rng, tree) for _ in range(100)}) > 10
    assert len({to_json(rng, tree) for _ in range(100)}) > 10


def test_the_table_counts_by_reader() -> None:
    outcomes = [
        Outcome(reader="lists", number=0, end="sentence", seconds=0.5, peak_mb=100),
        Outcome(reader="lists", number=1, end="traceback", seconds=1.5, peak_mb=300),
        Outcome(reader="videos", number=0, end="fine", seconds=1.0, peak_mb=200),
    ]
    header, *rows = [line.split() for line in table(outcomes).splitlines()]
    assert header[:5] == ["reader", "cases", "fine", "sentence", "traceback"]
    assert [row[:5] for row in rows] == [
        ["lists", "2", "0", "1", "1"], ["videos", "1", "1", "0", "0"], ["all", "3", "1", "1", "1"],
    ]  # fmt: skip
    assert rows[-1][-3:] == ["3", "1.5", "300"]


@pytest.mark.slow
def test_a_part_of_the_cases_ends_as_it_should(corpus: Corpus, tmp_path: Path) -> None:
    work = [case for batch in batches(shares(QUICK, default_readers())) for case in batch]
    outcomes = run([work], seed=1, corpus=corpus, folder=tmp_path, jobs=1, limits=Limits(seconds=60))
    faults = [
        f"{outcome.end}: {outcome.said}\n{reproduce(outcome, 1)}" for outcome in outcomes if outcome.end in FAULTS
    ]
    assert faults == []
    assert len(outcomes) == len(work)
    ends = {outcome.end for outcome in outcomes}
    assert ends == {"fine", "sentence"}
