"""Commands that write, and the commands that go on with them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from fuzz.corpus import TINY, moving_frames, source_hash

from faults.server import Server

RUN = "run"

TWICE: dict[str, Any] = {
    "stage0": {"epochs": 2, "stills": {"epochs": 2, "sgd": {"batch_size": 4}}}, "stage1": {"epochs": 2},
    "stage2": {"epochs": 2}, "stage3": {"epochs": 2}, "skip": {"lambdas": [0.1], "epochs": 2},
    "evaluation": {"full_frame_epochs": 2, "replay_every": 2, "sheet_videos": 1, "report_videos": 1},
}  # fmt: skip
"""A second epoch for each step of the recipe, so that each has something to go on from."""


@dataclass(frozen=True)
class Corpus:
    """What the scenarios begin with; nobody writes to it."""

    path: Path

    @property
    def data(self) -> Path:
        """Videos, their lists, and the recipe."""
        return self.path / "data"

    @property
    def run(self) -> Path:
        """A finished run of all stages."""
        return self.path / "begun" / RUN


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A command, and how it is gone on with after something has ended it."""

    name: str
    command: tuple[str, ...]
    again: tuple[str, ...]
    """The command that goes on."""
    prepare: Callable[[Corpus, Path], None] = lambda corpus, folder: None
    """Fills the empty folder in which the commands are run."""
    weight: int = 1
    """Share of the cases."""
    complete: str = ""
    """What ``again`` says where the first command had done everything."""
    untouched: str = ""
    """What ``again`` says where the first command had changed nothing yet; that one is then given again."""
    reordered: bool = False
    """Whether stages may come in another order in the log: what was finished is not trained again."""


def make_corpus(folder: Path, server: Server) -> Corpus:
    """The material in a folder; made anew when the code has changed since."""
    corpus, mark = Corpus(folder.absolute()), folder / "made_by.json"
    version = [source_hash(), Path(__file__).read_text()]
    if mark.is_file() and json.loads(mark.read_text()) == version:
        return corpus
    shutil.rmtree(folder, ignore_errors=True)
    corpus.run.parent.mkdir(parents=True)
    _write_data(corpus.data)
    done = server.run(["train", str(corpus.data / "tiny.yaml"), "--out", RUN], corpus.run.parent)
    if done.code:
        raise RuntimeError(f"the suite's own training fails:\n{done.err}")
    mark.write_text(json.dumps(version))
    return corpus


def _write_data(folder: Path) -> None:
    from adafocus_rl.data.encode import write_video

    folder.mkdir()
    for split, numbers in (("train", range(8)), ("val", range(8, 12))):
        (folder / split).mkdir()
        for number in numbers:
            write_video(folder / split / f"{number}.mp4", moving_frames(6, 32, seed=number))
        rows = "".join(f"{split}/{number}.mp4,{number % 2},6\n" for number in numbers)
        (folder / f"{split}.csv").write_text(f"path,label,num_frames\n{rows}")
    (folder / "classes.txt").write_text("walk\nrun\n")
    content = _merged(TINY, TWICE)
    lists = {f"{split}_list": str(folder / f"{name}.csv") for split, name in LISTS.items()}
    content["data"] |= {**lists, "decode_timeout": 60}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


LISTS = {"train": "train", "val": "val", "stills": "train"}


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(one)
    for name, value in other.items():
        found[name] = _merged(found.get(name, {}), value) if isinstance(value, Mapping) else value
    return found


# ---- the scenarios --------------------------------------------------------------------------------------------------


def _with_recipe(corpus: Corpus, folder: Path) -> None:
    shutil.copy(corpus.data / "tiny.yaml", folder)


def _with_run(corpus: Corpus, folder: Path) -> None:
    _with_recipe(corpus, folder)
    shutil.copytree(corpus.run, folder / RUN)


def _without_bank(corpus: Corpus, folder: Path) -> None:
    _with_run(corpus, folder)
    shutil.rmtree(folder / RUN / "features")


def _with_videos(corpus: Corpus, folder: Path) -> None:
    for split in ("train", "val"):
        for path in (corpus.data / split).iterdir():
            place = folder / "videos" / ("walk" if int(path.stem) % 2 else "run") / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)


def _with_list(corpus: Corpus, folder: Path) -> None:
    for name in ("val.csv", "classes.txt"):
        shutil.copy(corpus.data / name, folder)
    (folder / "val").symlink_to(corpus.data / "val")


TRAIN = ("train", "tiny.yaml", "--out", RUN)
COMPARE = ("compare", RUN, "--agents", "PPOAgent", "RandomAgent", "--seeds=2", "--finetune", "--jobs=1")
MAKE = (
    "data", "make", "moving_digits", "made", "--train_videos=2", "--val_videos=1", "--still_videos=1", "--frames=4",
    "--side=32", "--digit=12", "--still_side=16", "--distractors=1",
)  # fmt: skip


def _same(name: str, *command: str, **options: Any) -> Scenario:
    return Scenario(name=name, command=command, again=command, **options)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="train", command=TRAIN, again=(*TRAIN, "--resume"), prepare=_with_recipe, weight=6),
        Scenario(
            name="overwrite",
            command=(*TRAIN, "--overwrite", "--seed=1"),
            again=(*TRAIN, "--resume", "--seed=1"),
            prepare=_with_run,
            untouched="or begin anew with --overwrite",
        ),
        _same("repeat", *TRAIN, "--stages", "2", "3", "--stage2.epochs=1", prepare=_with_run, reordered=True),
        _same("evaluate", "evaluate", RUN, prepare=_with_run),
        _same("bank", "features", "build", RUN, prepare=_without_bank, weight=2),
        _same("store", "features", "build", RUN, "--features", "store", prepare=_without_bank),
        _same("compare", *COMPARE, prepare=_with_run, weight=2),
        _same("sweep", "compare", RUN, "--methods", "SCSampler", "--sweep", "--seeds=1", "--jobs=1", prepare=_with_run),
        _same("export", "export", RUN, "--out", "onnx", prepare=_with_run, complete="onnx, is not empty"),
        _same("card", "card", RUN, "--out", "model", prepare=_with_run, complete="model, is not empty"),
        _same("branch", "branch", RUN, "--out", "new", prepare=_with_run, complete="new holds a run already"),
        _same("make", *MAKE),
        _same("extract", "data", "extract", "val.csv", "--out", "frames", "--workers=0", prepare=_with_list),
        _same("index", "data", "index", "videos", "--overwrite", prepare=_with_videos),
    )
}
