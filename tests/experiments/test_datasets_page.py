"""What docs/datasets.md shows works, and its arithmetic is right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from adafocus_rl.data.formats import ListFormat
from adafocus_rl.data.locate import VIDEO_SUFFIXES
from adafocus_rl.experiments.parser import load_settings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "datasets.md").read_text(encoding="utf-8")


def test_the_recipe_reads(tmp_path: Path) -> None:
    (recipe,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "activitynet.yaml").write_text(recipe)
    config = load_settings(tmp_path / "activitynet.yaml").config
    assert config.model.num_classes == 200
    assert config.data.num_frames == 16
    assert config.model.grid == 7


def test_every_format_is_described() -> None:
    assert {*re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)} == {*get_args(ListFormat)} - {"auto"}


def test_endings_of_videos_are_listed() -> None:
    (listed,) = re.findall(r"files that end in `([^`]*)`", (DOCS / "data.md").read_text(encoding="utf-8"))
    assert listed.split() == sorted(VIDEO_SUFFIXES)


def test_the_arithmetic() -> None:
    def integer(text: str) -> int:
        return int(text.replace(",", ""))

    lines = re.findall(r"^    \w+ +([\d ·]+) = *([\d,]+)", PAGE, re.MULTILINE)
    assert len(lines) == 4
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
