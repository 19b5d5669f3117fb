"""Every option of every command, given alone: the command succeeds or says in one sentence why not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adafocus_rl.experiments.cli.data import ACTIONS
from adafocus_rl.experiments.cli.entry import COMMANDS, main
from adafocus_rl.experiments.terminal.command_line import CommandParser

Cli = Any

SHORT = {
    "replay": "RUN",
    "predict": "RUN VIDEO",
    "branch": "RUN --out NEW",
    "card": "RUN --out NEW",
    "select": "RUN VIDEO --out NEW.json",
    "features": "check RUN",
    "data check": "LIST",
    "data index": "CLIPS --out NEW",
    "data extract": "LIST --out NEW",
    "data make": "moving_digits NEW --train_videos=2 --val_videos=1 --still_videos=0 --frames=4",
    "flops": "RECIPE",
    "import-official": "FILE --out NEW",
    "list": "",
    "doctor": "",
}
"""Arguments of commands that take about a second; capitals are replaced."""

LONG = {
    "train": "RECIPE --out NEW",
    "evaluate": "RUN",
    "compare": "RUN --agents CenterAgent --jobs 1",
    "export": "RUN",
    "tune": "RUN --space SPACE --trials 1",
}
"""Those of commands that take longer."""

SKIPPED = {"bench"}
"""Commands without a short run."""

SLOW = {"--compile"}
"""Options that take long with any command, and have tests of their own."""

VALUES = {
    "--agent": "CenterAgent", "--agents": "center", "--method": "WholeFrames", "--methods": "WholeFrames",
    "--config": "RECIPE", "--features": "NEW", "--part": "1/2", "--every": "2", "--root": "FOLDER", "--classes": "FILE",
    "--template": "{:05d}.jpg", "--val": "LIST", "--recipe": "RECIPE", "--video": "1", "--crops": "NEW",
    "--device": "cpu", "--to": "onnx", "--web": "NEW", "--ablation": "learning", "--out": "NEW", "--sheet": "NEW.png",
    "--list": "LIST", "--fold": "0", "--run": "RUN", "--space": "SPACE",
}  # fmt: skip
"""Values of options that take a text."""


class _Found(BaseException):
    def __init__(self, parser: CommandParser) -> None:
        self.parser = parser


def _options(command: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield each option of a command's parser with a value."""

    def stop(self: CommandParser, *arguments: Any, **options: Any) -> Any:
        # Others only find the command, such as those of `adafocus` and `adafocus data`.
        if any(action.option_strings for action in self._actions if action.dest not in ("help", "version")):
            raise _Found(self)
        return original(self, *arguments, **options)

    original = CommandParser.parse_known_args
    with monkeypatch.context() as patched:
        patched.setattr(CommandParser, "parse_known_args", stop)
        try:
            main([*command.split(), "moving_digits", "NEW"])
        except _Found as found:
            parser = found.parser
    for action in parser._actions:
        if not action.option_strings or action.dest == "help":
            continue
        name = action.option_strings[-1]
        if name in SLOW:
            continue
        if action.nargs == 0:
            yield [name]
        elif action.choices:
            yield [name, str(next(iter(action.choices)))]
        elif action.type is None:
            assert name in VALUES, f"VALUES needs a value of {name} for `adafocus {command}`"
            yield [name, VALUES[name]]
        else:
            yield [name, "1"]


@pytest.fixture
def places(finished: Path, run: Path, recipe: Path, videos: Path, tmp_path: Path) -> Any:
    """Replaces the capitals in arguments; ``NEW`` is another path each time."""
    clips = tmp_path / "clips"
    for number, video in enumerate(sorted((videos / "val").iterdir())[:4]):
        (clips / str(number % 2)).mkdir(parents=True, exist_ok=True)
        (clips / str(number % 2) / video.name).write_bytes(video.read_bytes())
    (tmp_path / "file.txt").write_text("\n".join(map(str, range(10))))
    (tmp_path / "space.yaml").write_text("agent.gamma: [0.5, 0.9]")
    count = itertools.count()
    there = {
        "RUN": run, "RECIPE": recipe, "VIDEO": clips / "0" / "00000.mp4", "LIST": videos / "val.csv", "CLIPS": clips,
        "FILE": tmp_path / "file.txt", "FOLDER": videos, "SPACE": tmp_path / "space.yaml",
    }  # fmt: skip

    def replaced(arguments: list[str]) -> list[str]:
        new = tmp_path / f"new{next(count)}"
        return [
            str(there.get(one, one.replace("NEW", str(new)) if one.startswith("NEW") else one)) for one in arguments
        ]

    return replaced


def _check(command: str, arguments: str, cli: Cli, places: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.chdir(folder)
    tried = 0
    for option in _options(command, monkeypatch):
        # An option that the command needs anyhow is not given twice.
        given = [] if option[0] in arguments.split() else option
        words = places([*command.split(), *arguments.split(), *given])
        try:
            done = cli(*words)
        except SystemExit:
            continue
        except Exception as error:
            raise AssertionError(f"adafocus {' '.join(words)}") from error
        tried += 1
        assert done.code in (0, 1, 2), words
        assert "Traceback" not in done.err, words
        if done.code == 2:
            assert done.err.rstrip("\n").split("\n")[-1].startswith("adafocus: "), words
    assert tried


def test_all_commands_are_tried() -> None:
    found = {*COMMANDS} - {"data"} | {f"data {action}" for action in ACTIONS}
    assert found == {*SHORT, *LONG, *SKIPPED}


@pytest.mark.slow
@pytest.mark.parametrize("command", [name for name in SHORT if name not in ("data make", "card")])
def test_each_option_alone(
    command: str, cli: Cli, places: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _check(command, SHORT[command], cli, places, monkeypatch, tmp_path)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("command", LONG)
def test_each_option_of_longer_commands_alone(
    command: str, cli: Cli, places: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _check(command, LONG[command], cli, places, monkeypatch, tmp_path)
