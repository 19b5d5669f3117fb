"""``adafocus features build RUN --part K/N``, and banks that the ranks of a job build together."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from adafocus_rl import ranks
from adafocus_rl.experiments.run.features import open_bank
from adafocus_rl.experiments.run.handover import load_recognizer
from adafocus_rl.experiments.run.lock import NAME
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.features.shards import ShardWriter
from tests.two_ranks import on_ranks

Cli = Any


@pytest.fixture
def empty(run: Path) -> Path:
    """The run without features."""
    shutil.rmtree(run / "features")
    return run


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "adafocus_rl", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("shared", [False, True])
def test_two_processes_at_once_write_the_files_of_one(
    cli: Cli, empty: Path, finished: Path, tmp_path: Path, shared: bool
) -> None:
    options = ["--features", str(tmp_path / "store")] if shared else []
    started = [_start("features", "build", empty, "--json", "--part", f"{number}/2", *options) for number in (1, 2)]
    ended = [(process, *process.communicate(timeout=120)) for process in started]
    assert [process.returncode for process, _, _ in ended] == [0, 0], [err for _, _, err in ended]
    documents = [json.loads(out) for _, out, _ in ended]
    # The later one has found everything complete.
    assert any(document["complete"] and document["banks"]["train"]["videos"] == 12 for document in documents)
    assert all(document["missing_parts"] in ([], [1], [2]) for document in documents)
    if shared:
        alone = shutil.copytree(finished, tmp_path / "alone")
        shutil.rmtree(alone / "features")
        assert cli("features", "build", alone, "--features", tmp_path / "one").code == 0
        assert _content(tmp_path / "store") == _content(tmp_path / "one")
        notes = [json.loads((path / "features.json").read_text()) for path in (empty, alone)]
        assert notes[0]["index"] == notes[1]["index"]
        assert {*notes[0]["index"]} == {"train", "val"}
    else:
        assert _content(empty / "features") == _content(finished / "features")
    assert cli("features", "check", empty).code == 0


def test_the_missing_parts_are_named(cli: Cli, empty: Path) -> None:
    done = cli("features", "build", empty, "--part", "2/3")
    assert done.code == 0, done.err
    folders = f"{empty / 'features' / 'train'} and {empty / 'features' / 'val'}"
    assert f"{folders}: part 2/3 is complete; missing parts: 1 and 3 of 3" in done.err
    done = cli("features", "check", empty, "--part", "2/3", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"complete": False, "missing_parts": [1, 3], "banks": {}}
    done = cli("features", "check", empty, "--part", "3/3")
    assert done.code == 2
    assert f"part 3/3 of the features in {folders} is incomplete; finish it with `adafocus features build" in done.err
    done = cli("features", "check", empty)
    assert done.code == 2
    assert "half-written: 1 of 3 shards of the table clips are done" in done.err
    assert cli("features", "build", empty, "--part", "1/3").code == 0
    done = cli("features", "build", empty, "--part", "3/3")
    assert done.code == 0
    assert f"{empty / 'features' / 'train'}: complete, 12 videos, fits the run" in done.err
    done = cli("features", "check", empty, "--part", "1/3")
    assert "part 1/3 is complete, as are all others" in done.err


def test_damage_is_found_by_the_part_that_has_it(cli: Cli, run: Path) -> None:
    path = run / "features" / "train" / "local" / "shard_00002" / "local.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    assert cli("features", "check", run, "--part", "1/3").code == 0
    done = cli("features", "check", run, "--part", "3/3")
    assert done.code == 2
    assert f"{path} is damaged" in done.err


def test_a_part_that_was_interrupted_goes_on(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _content(run / "features")
    for name in ("local", "full"):
        shutil.rmtree(run / "features" / "train" / name / "shard_00001")
    begun: list[tuple[str, int]] = []
    real = ShardWriter.__init__

    def spy(own: ShardWriter, table: Any, number: int, **options: Any) -> None:
        begun.append((table.name, number))
        real(own, table, number, **options)

    monkeypatch.setattr(ShardWriter, "__init__", spy)
    assert cli("features", "build", run, "--part", "1/3").code == 0
    assert begun == []
    assert cli("features", "build", run, "--part", "2/3").code == 0
    assert begun == [("local", 1), ("full", 1)]
    assert _content(run / "features") == before


@pytest.mark.parametrize("part", ["4/3", "0/3", "x"])
def test_a_part_that_does_not_exist(cli: Cli, run: Path, part: str) -> None:
    done = cli("features", "build", run, "--part", part)
    assert done.code == 2
    assert f"the part is '{part}'; give K/N, such as 3/16" in done.err


def test_a_part_cannot_overwrite(cli: Cli, run: Path) -> None:
    before = _content(run / "features")
    done = cli("features", "build", run, "--part", "1/2", "--overwrite")
    assert done.code == 2
    assert "--overwrite and --part exclude each other" in done.err
    assert _content(run / "features") == before


HOLD = """
    import sys
    from pathlib import Path
    from adafocus_rl.experiments.run.lock import locked
    with locked(Path(sys.argv[1]), f"part {sys.argv[2]}", part=(int(sys.argv[2]), int(sys.argv[3]))):
        print("held", flush=True)
        sys.stdin.read()
"""


def _hold(folder: Path, number: int, of: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(HOLD), str(folder), str(number), str(of)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_parts_exclude_only_themselves_and_what_writes_everything(cli: Cli, run: Path, recipe: Path) -> None:
    with _hold(run, 2, 4) as second, _hold(run, 4, 4) as fourth:
        for command in (
            ("features", "build", run, "--part", "2/4"),
            ("features", "build", run, "--part", "1/2"),
            ("features", "build", run, "--part", "3/8"),
        ):
            done = cli(*command)
            assert done.code == 2
            assert f"{run} is being written to by `part 2`, process {second.pid} on " in done.err
        for command in (
            ("features", "build", run),
            ("train", recipe, "--out", run, "--resume"),
            ("evaluate", run),
        ):
            done = cli(*command)
            assert done.code == 2
            assert f"{run} is being written to by `part 4`, process {fourth.pid} on " in done.err
        for part in ("1/4", "3/4", "1/8"):
            assert cli("features", "build", run, "--part", part).code == 0
        # The last one has ended, so its name is no longer given.
        fourth.communicate("")
        assert f"process {second.pid} on " in cli("evaluate", run).err
        second.kill()
    assert cli("features", "build", run).code == 0
    assert not (run / NAME).exists()


def _opened(run: Path) -> dict[str, Any]:
    opened = Run.open(run)
    recognizer = load_recognizer(opened, "stage1")
    begun: list[int] = []
    real = ShardWriter.__init__

    def spy(own: ShardWriter, table: Any, number: int, **options: Any) -> None:
        begun.append(number)
        real(own, table, number, **options)

    ShardWriter.__init__ = spy  # type: ignore[method-assign]
    try:
        bank = open_bank(opened, recognizer, "train")
    finally:
        ShardWriter.__init__ = real  # type: ignore[method-assign]
    return {"rank": ranks.rank(), "videos": len(bank.videos), "begun": sorted({*begun})}


def test_ranks_build_a_bank_together(empty: Path, finished: Path) -> None:
    found = on_ranks(_opened, empty)
    assert found == [{"rank": 0, "videos": 12, "begun": [0, 1]}, {"rank": 1, "videos": 12, "begun": [2]}]
    assert _content(empty / "features" / "train") == _content(finished / "features" / "train")
