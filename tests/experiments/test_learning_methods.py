"""A method that learns is trained by the program, once, and used as it was trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from adafocus_rl.agents.methods import FIRST_VISIT, METHODS, Cost, Method, Outcome, Steps, Visit
from adafocus_rl.agents.methods.trainer import Trainer
from adafocus_rl.features import EpisodeFeatures, FeatureSource

Cli = Any
FITS: list[int] = []


class MostFrequentClass(Method):
    """Says the class that most training videos have, whatever it sees."""

    label = "most_frequent"
    learns = True
    counts = torch.zeros(10)

    def fit(self, train: FeatureSource, val: FeatureSource, *, trainer: Trainer) -> None:
        FITS.append(len(train.videos))
        self.counts = sum((batch.multi_hot.sum(0).cpu() for batch in train.batches(5)), torch.zeros(10))

    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        shape = batch.global_vector.shape[:2]
        boxes = torch.zeros(*shape, 4, dtype=torch.long)
        logits = self.counts.log1p().expand(*shape, -1)
        return Outcome.after(Steps(logits=logits, boxes=boxes, cost=Cost(always=1, local=0)))

    def tensors(self) -> dict[str, Tensor]:
        return {"counts": self.counts}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, what: str) -> None:
        self.counts = tensors["counts"]


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    METHODS.register("MostFrequentClass")(MostFrequentClass)
    yield
    METHODS._entries.pop("MostFrequentClass")
    FITS.clear()


def test_a_method_is_trained_once(cli: Cli, run: Path, recipe: Path) -> None:
    content = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**content, "methods": {"MostFrequentClass": {}}}))
    video = Path(yaml.safe_load(recipe.read_text())["data"]["root"]) / "val" / "00000.mp4"
    done = cli("predict", run, video, "--method", "MostFrequentClass")
    assert done.code == 2
    assert "MostFrequentClass was not trained" in done.err
    for _ in range(2):
        done = cli("evaluate", run, "--json")
        assert done.code == 0, done.err
        (row,) = [row for row in json.loads(done.out)["rows"] if row["agent"] == "most_frequent"]
        assert (row["variant"], row["knob"], row["gmacs_per_video"]) == (None, None, 4e-9)
    assert FITS == [12]
    assert (run / "checkpoints" / "most_frequent.safetensors").is_file()
    done = cli("predict", run, video, "--method", "MostFrequentClass", "--json")
    assert done.code == 0, done.err
    assert FITS == [12]


def test_a_method_with_a_training_for_each_knob(cli: Cli, run: Path) -> None:
    content = yaml.safe_load((run / "config.yaml").read_text())
    small = {"skip_rates": [0.25, 0.75], "coarse_width": 4, "fine_width": 8, "training": {"epochs": 1}}
    (run / "config.yaml").write_text(yaml.safe_dump({**content, "methods": {"LiteEval": small}}))
    done = cli("evaluate", run, "--json")
    assert done.code == 0, done.err
    rows = [(row["variant"], row["knob"]) for row in json.loads(done.out)["rows"] if row["agent"] == "liteeval"]
    assert rows == [(variant, knob) for variant in (None, "random decisions") for knob in (0.25, 0.75)]
    steps = {json.loads(line)["stage"] for line in (run / "metrics.jsonl").read_text().splitlines()}
    assert {"liteeval.0.25", "liteeval.0.75"} <= steps
    assert [path.name for path in (run / "checkpoints").glob("liteeval*")] == ["liteeval.safetensors"]
