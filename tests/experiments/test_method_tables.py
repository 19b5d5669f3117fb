"""A method with a table of its own: it builds alone, leaves the others untouched, and new videos have it, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from adafocus_rl.agents.methods import FIRST_VISIT, METHODS, Cost, Method, Outcome, Steps, Visit
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.handover import load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.features import EpisodeFeatures, LiveFeatures, TableSpec

Cli = Any
COLOR = TableSpec(name="color", fill=lambda chunk: chunk.frames.mean((2, 3)))


class ColorMethod(Method):
    """Recognises videos by the mean colour of their frames, which is no way to recognise digits."""

    label = "color"
    tables = (COLOR,)

    def run(self, batch: EpisodeFeatures, *, knob: float | None = None, visit: Visit = FIRST_VISIT) -> Outcome:
        colors = batch.table(COLOR)
        logits = torch.zeros(*colors.shape[:2], self.recognizer.config.num_classes, device=colors.device)
        logits[..., :3] = colors
        boxes = torch.zeros(*colors.shape[:2], 4, dtype=torch.long)
        return Outcome.after(Steps(logits=logits, boxes=boxes, cost=Cost(always=1, local=0)))


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    METHODS.register("ColorMethod")(ColorMethod)
    yield
    METHODS._entries.pop("ColorMethod")


def test_a_methods_table_is_built_alone_and_read(cli: Cli, run: Path, recipe: Path) -> None:
    content = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**content, "methods": {"ColorMethod": {}}}))
    before = {path: path.stat().st_mtime_ns for path in (run / "features").rglob("*") if path.is_file()}
    done = cli("evaluate", run, "--json")
    assert done.code == 0, done.err
    assert "color" in [row["agent"] for row in json.loads(done.out)["rows"]]
    after = {path: path.stat().st_mtime_ns for path in (run / "features").rglob("*") if path.is_file()}
    assert {path: after.get(path) for path in before} == before
    assert {path.relative_to(run / "features").parts[1] for path in after.keys() - before.keys()} == {"color"}
    video = Path(yaml.safe_load(recipe.read_text())["data"]["root"]) / "val" / "00000.mp4"
    assert cli("predict", run, video, "--method", "ColorMethod").code == 0


def test_the_bank_and_live_features_agree_and_other_tables_are_refused(run: Path) -> None:
    opened = Run.open(run)
    recognizer = load_recognizer(opened, "stage1")
    bank = RunFeatures(opened, recognizer, tables=(*RunFeatures(opened, recognizer).tables, COLOR)).validation()
    live = LiveFeatures(recognizer, opened.clips.val, device=opened.device)
    rows = torch.arange(3)
    found, computed = (source.episodes(rows).table(COLOR) for source in (bank, live))
    assert found.shape == (3, bank.num_steps, 3)
    assert torch.allclose(found, computed, atol=2e-3)
    with pytest.raises(UserError, match="no table 'size'"):
        bank.episodes(rows).table(TableSpec(name="size", fill=COLOR.fill))
