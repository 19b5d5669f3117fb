"""What docs/datasets.md shows works, and its arithmetic is right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from adafocus_rl.data.formats import ListFormat
from adafocus_rl.data.locate import VIDEO_SUFFIXES
from adafocus_rl.experiments.config.parser import load_settings
from adafocus_rl.experiments.evaluation.compute import recipe_gmacs

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = DOCS.parent / "experiments" / "recipes"
PAGE = (DOCS / "datasets.md").read_text(encoding="utf-8")


def test_the_recipes_expect_what_the_table_says() -> None:
    section = PAGE.split("## Recipes")[1].split("## Disk")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    named = re.findall(r"`(\w+)`", section.split("It expects")[0])
    assert len(rows) == len(named) == 6
    for name, row in zip(named, rows, strict=True):
        recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
        data = recipe["data"]
        assert data["root"] == f"data/{name}/frames"
        # "the same" is said of lists that are called as in the row above.
        text = row if "the same" not in row else rows[rows.index(row) - 1]
        for path in (data["train_list"], data["val_list"]):
            assert Path(path).parent == Path(f"data/{name}")
            assert f"`{Path(path).name}`" in text
        assert f"`num_classes: {recipe['model']['num_classes']}`" in row
        assert ("flip: false" in row) is (not data["flip"])


def test_every_format_is_described() -> None:
    assert {*re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)} == {*get_args(ListFormat)} - {"auto"}


def test_endings_of_videos_are_listed() -> None:
    (listed,) = re.findall(r"files that end in `([^`]*)`", (DOCS / "data.md").read_text(encoding="utf-8"))
    assert listed.split() == sorted(VIDEO_SUFFIXES)


def test_the_arithmetic() -> None:
    def integer(text: str) -> int:
        return int(text.replace(",", ""))

    lines = re.findall(r"^    \w+ +([\d ·]+) = *([\d,]+)", PAGE, re.MULTILINE)
    assert len(lines) == 5
    for product, value in lines:
        result = 1
        for factor in product.split(" · "):
            result *= int(factor)
        assert result == integer(value)
    (together,) = re.findall(r"together +([\d,]+)", PAGE)
    assert sum(integer(value) for _, value in lines) == integer(together)
    rows = re.findall(r"^\| [^|]+ \| ([\d,]+) \+ ([\d,]+) \| ([\d,]+) GB \| (\d+) P \|", PAGE, re.MULTILINE)
    assert len(rows) == 6
    (macs,) = re.findall(r"MACs = videos · ([\d,]+) G", PAGE)
    for train, val, disk, compute in rows:
        videos = integer(train) + integer(val)
        assert round(videos * integer(together) / 1e9) == integer(disk)
        # In whole P, of a number that is rounded to whole G.
        assert abs(videos * integer(macs) / 1e6 - int(compute)) < 0.55


@pytest.mark.slow
def test_the_compute_of_a_bank_is_what_the_program_counts() -> None:
    settings = load_settings(RECIPES / "activitynet.yaml")
    parts, frames = recipe_gmacs(settings)["components"], settings.config.data.num_frames
    cells = settings.config.model.grid**2
    text = " ".join(PAGE.split())
    number = r"([\d.,]*\d)"
    cost = re.search(rf"a patch of 128×128 is {number} G, a whole frame {number} G and a glance {number} G", text)
    assert cost is not None
    parts = [parts[name] for name in ("focus_patch", "focus_full", "glance")]
    for said, counted in zip(cost.groups(), parts, strict=True):
        assert float(said) == round(counted, len(said.partition(".")[2]))
    counts = [frames * cells, frames, frames]
    product = " + ".join(f"{count} · {said}" for count, said in zip(counts, cost.groups(), strict=True))
    total = round(sum(count * float(said) for count, said in zip(counts, cost.groups(), strict=True)))
    assert f"{frames} · {cells} = {frames * cells} patches" in text
    assert f"{product} = {total:,} G per video" in text
    assert f"MACs = videos · {total:,} G" in text
