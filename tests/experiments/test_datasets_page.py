"""What docs/datasets.md shows works, and its arithmetic is right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import yaml

from adafocus_rl.data.formats import ListFormat
from adafocus_rl.data.locate import VIDEO_SUFFIXES

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
    macs = 784 * 1.335 + 16 * 4.09 + 16 * 0.30
    assert round(macs) == 1117
    rows = re.findall(r"^\| [^|]+ \| ([\d,]+) \+ ([\d,]+) \| ([\d,]+) GB \| (\d+) P \|", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for train, val, disk, compute in rows:
        videos = integer(train) + integer(val)
        assert round(videos * integer(together) / 1e9) == integer(disk)
        assert round(videos * macs * 1e9 / 1e15) == int(compute)
