"""Rows and pictures from result files made up by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare import plots
from adafocus_rl.experiments.compare.summary import ComparedRow, curves, summarise
from adafocus_rl.experiments.compare.table import (
    ONE_TRAINING_NOTE,
    comparison_notes,
    comparison_table,
    interval_words,
)
from adafocus_rl.experiments.compare.together import put_together
from adafocus_rl.experiments.report.looks import looks
from adafocus_rl.experiments.report.rows import share_of_gap
from adafocus_rl.experiments.report.table import GAP_NOTE
from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES


def result(hits: list[int], *, visits: int = 1, seed: int = 0, learns: bool = True, **other: Any) -> dict[str, Any]:
    return {
        "videos": list(range(len(hits))), "labels": [0] * (len(hits) // 2) + [1] * (len(hits) - len(hits) // 2),
        "visits": visits, "hits": hits, "map": sum(hits) / len(hits) / visits, "reward": 0.1 * seed,
        "seed": seed, "learns": learns, "stochastic": visits > 1, "reference": False, "gmacs_per_video": 0.5,
        "local_gmacs_per_video": 0.25, "seconds": 3.0, "curves": {"epoch": [], "reward": [], "top1": []},
        "groups": None, **other,
    }  # fmt: skip


def test_rows_by_hand() -> None:
    """Five seeds with 1, 2, 3, 4 and 4 of 4 videos right: mean 0.7, middle three 0.75."""
    learner = [result([1] * right + [0] * (4 - right), seed=seed) for seed, right in enumerate([1, 2, 3, 4, 4])]
    fixed = [result([1, 1, 1, 1], learns=False, reference=True)]
    random = [result([5, 0, 10, 10], visits=10, learns=False, seed=seed) for seed in (0, 1)]
    rows = summarise({"learner": learner, "fixed": fixed, "random": random}, f_c=RANDOM_PATCHES, seeds=5)
    assert [row.agent for row in rows] == ["learner", "fixed", "random"]
    assert [row.top1 for row in rows] == pytest.approx([0.7, 1.0, 0.625])
    assert [row.top1_iqm for row in rows] == pytest.approx([0.75, 1.0, 0.625])
    assert [(row.seeds, row.trainings) for row in rows] == [(5, 5), (5, 1), (2, 2)]
    assert [row.reward_mean for row in rows] == pytest.approx([0.2, 0, 0.05])
    assert (rows[1].top1_low, rows[1].top1_high, rows[1].reference) == (1, 1, True)
    assert 0.25 <= rows[0].top1_low < 0.75 < rows[0].top1_high <= 1
    # Class 1 is always right, class 0 has one video right in half of its visits and one never: between 0.5 and 0.75.
    assert (rows[2].top1_low, rows[2].top1_high) == pytest.approx((0.5, 0.75))
    assert (rows[0].difference, rows[0].difference_low, rows[0].difference_high) == (0, 0, 0)
    assert rows[1].difference == pytest.approx(0.25)
    # The fixed one is right on every video, so how far ahead it is is how far the learner is from 1.
    assert (rows[1].difference_low, rows[1].difference_high) == pytest.approx(
        (1 - rows[0].top1_high, 1 - rows[0].top1_low)
    )
    assert summarise({}, f_c=RANDOM_PATCHES, seeds=5) == []


def test_every_key_has_a_meaning() -> None:
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    table = page.split("## What the numbers mean")[1].split("## ")[0]
    keys = [key for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for key in re.findall(r"`(\w+)`", line)]
    assert keys == list(ComparedRow.__dataclass_fields__)


def test_one_training_says_nothing_about_other_seeds() -> None:
    """Its interval is over videos only, and so is that of a difference to it."""
    results = {
        "first": [result([1, 0, 1, 1]), result([1, 1, 1, 1], seed=1)],
        "once": [result([1, 0, 0, 1])],
        "fixed": [result([1, 1, 0, 1], learns=False)],
    }
    rows = summarise(results, f_c=RANDOM_PATCHES, seeds=2)
    assert [row.over_seeds for row in rows] == [True, False, True]
    assert [row.difference_over_seeds for row in rows] == [True, False, True]
    table = comparison_table(rows, ["run"])
    cells = [[row[table.heads.index(head)].text for head in ("95 % interval", "− first row")] for row in table.rows]
    assert [[cell.endswith((" †", " †)")) for cell in row] for row in cells] == [
        [False, False], [True, True], [False, False]
    ]  # fmt: skip
    assert ONE_TRAINING_NOTE in comparison_notes(rows)
    assert interval_words(rows) == "95 % interval over videos only, where there is one training"
    # With the fine-tuned f_C of one training, every row is of one seed.
    rows = summarise({name: found[:1] for name, found in results.items()}, f_c=FINE_TUNED, seeds=1)
    assert not any(row.over_seeds or row.difference_over_seeds for row in rows)
    assert interval_words(rows) == "95 % interval over videos only"
    rows = summarise({"first": results["first"]}, f_c=RANDOM_PATCHES, seeds=2)
    assert (interval_words(rows), comparison_notes(rows)) == ("95 % interval", [])


def test_standard_errors_are_over_videos_and_groups() -> None:
    """Two seeds that differ on one video of four: mean rates 1, ½, 0 and 0."""
    found = [result([1, 1, 0, 0]), result([1, 0, 0, 0], seed=1)]
    (row,) = summarise({"a": found}, f_c=RANDOM_PATCHES, seeds=2)
    assert row.top1_standard_error == pytest.approx(np.std([1, 0.5, 0, 0]) / 2)
    # Scenes of two runs are different scenes, whatever they are called.
    runs = [{"a": [result([right] * 3, groups=["s"] * 3)]} for right in (1, 0)]
    (row,) = summarise(put_together(runs), f_c=RANDOM_PATCHES, seeds=1)
    assert row.top1_standard_error == pytest.approx(np.std([1, 0]) / np.sqrt(2))


def test_the_gap_begins_at_random_patches_and_ends_at_the_best_reference() -> None:
    results = {
        "any name": [result([1, 0, 0, 0], learns=False, label="random")],
        "boxes": [result([1, 1, 0, 0], learns=False, reference=True)],
        "labels": [result([1, 1, 1, 1], learns=False, reference=True)],
        "mine": [result([1, 1, 1, 0])],
        "worse": [result([0, 0, 0, 0])],
    }
    rows = summarise(results, f_c=RANDOM_PATCHES, seeds=1)
    assert [share_of_gap(row, rows) for row in rows] == pytest.approx([0, 1 / 3, 1, 2 / 3, -1 / 3])
    table = comparison_table(rows, ["run"])
    assert [row[table.heads.index("gap %")].text for row in table.rows] == ["0", "33", "100", "67", "-33"]
    assert GAP_NOTE in comparison_notes(rows)
    # Without references, without random patches, or with none above them there is no gap, and no column.
    for left_out in (["boxes", "labels"], ["any name"], ["any name", "labels", "boxes"]):
        some = summarise(
            {name: found for name, found in results.items() if name not in left_out}, f_c=RANDOM_PATCHES, seeds=1
        )
        assert {share_of_gap(row, some) for row in some} == {None}
        assert "gap %" not in comparison_table(some, ["run"]).heads
        assert GAP_NOTE not in comparison_notes(some)
    other = summarise({"tuned": [result([1, 1, 1, 1], variant=FINE_TUNED)]}, f_c=FINE_TUNED, seeds=1)
    assert share_of_gap(other[0], rows + other) is None


def test_fine_tuned_nothing_is_deterministic() -> None:
    (row,) = summarise({"fixed": [result([1, 0], learns=False)]}, f_c=FINE_TUNED, seeds=5)
    assert (row.seeds, row.trainings) == (1, 1)


def test_other_videos_are_refused() -> None:
    with pytest.raises(UserError, match="'b' was measured on other videos than 'a'"):
        summarise({"a": [result([1, 0])], "b": [result([1, 0, 1])]}, f_c=RANDOM_PATCHES, seeds=1)


def test_videos_of_all_runs_count_together() -> None:
    """Runs of 4 and 2 videos, 3 and 0 of them right: 3/6, and by run 3/4 and 0."""
    line = {"epoch": [1, 2], "reward": [0.5, None], "top1": [0.25, 0.5]}
    runs = [
        {"a": [result([1, 1, 1, 0], curves=line), result([1, 1, 1, 1], seed=1)], "b": [result([0, 0, 0, 0])]},
        {"a": [result([0, 0], curves={**line, "reward": [1.5, None]}, seconds=5.0)]},
    ]
    together = put_together(runs)
    # No run has both seeds of both, so what is left is what all have.
    assert list(together) == ["a"]
    (one,) = together["a"]
    assert one["videos"] == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1]]
    assert (one["runs"], one["hits"], one["labels"]) == ([0] * 4 + [1] * 2, [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 1])
    assert (one["map"], one["seconds"]) == (0.375, 4)
    assert one["curves"] == {"epoch": [1, 2], "reward": [1.0, None], "top1": [0.25, 0.5]}
    (row,) = summarise(together, f_c=RANDOM_PATCHES, seeds=2)
    assert (row.top1, row.top1_by_run, row.videos, row.seeds) == (0.5, [0.75, 0], 6, 1)
    # Class 0 of the first run is always right and the second run never: only one of the strata of 2 varies.
    assert (row.top1_low, row.top1_high) == pytest.approx((2 / 6, 4 / 6))


def test_groups_widen_the_interval() -> None:
    """Eight videos of two scenes, one right and one wrong throughout: all or nothing can come of other scenes."""
    hits, labels = [1] * 4 + [0] * 4, [0, 0, 1, 1] * 2
    (row,) = summarise({"a": [result(hits, labels=labels)]}, f_c=RANDOM_PATCHES, seeds=1)
    assert (row.top1_low, row.top1_high) != (0, 1)
    (row,) = summarise({"a": [result(hits, labels=labels, groups=["s"] * 4 + ["t"] * 4)]}, f_c=RANDOM_PATCHES, seeds=1)
    assert (row.top1_low, row.top1_high) == (0, 1)
    # Both runs have a scene called s, and keep it: each has its one group in every resample.
    runs = [{"a": [result(hits[at : at + 4], groups=["s"] * 4)]} for at in (0, 4)]
    (row,) = summarise(put_together(runs), f_c=RANDOM_PATCHES, seeds=1)
    assert (row.top1_low, row.top1_high) == (0.5, 0.5)


def test_curves_are_those_of_learners() -> None:
    line = {"epoch": [1, 2], "reward": [0.5, None], "top1": [0.25, 0.5]}
    found = curves({"a": [result([1], seed=4, curves=line)], "b": [result([1], learns=False)]})
    assert found == {"a": [{"seed": 4, **line}]}


def test_pictures_show_every_variant(tmp_path: Path) -> None:
    line = {"epoch": [1, 2, 3], "reward": [0.1, 0.2, 0.3], "top1": [0.25, 0.5, 0.75]}
    other = {**line, "reward": [None] * 3, "top1": [0.75, 0.5, None]}
    results = {
        "a": [result([1, 0, 1, 1], curves=line), result([1, 1, 1, 1], seed=1, curves=other)],
        "b": [result([1, 0, 0, 0], learns=False, gmacs_per_video=0.25)],
        "c": [result([1, 0, 1, 0], learns=False, gmacs_per_video=0.25, reference=True)],
    }
    rows = summarise(results, f_c=RANDOM_PATCHES, seeds=2)
    rows += summarise({"a": results["a"]}, f_c=FINE_TUNED, seeds=2)
    content = {"title": "made up", "seeds": 2, "rows": [row.plain() for row in rows], "curves": curves(results)}
    points = plots.compute_plot(rows).points
    assert [(point.name, point.x, point.hollow) for point in points] == [
        ("a", 0.5, True), ("b", 0.25, True), ("c (reference)", 0.25, True), ("a", 0.5, False)
    ]  # fmt: skip
    rewards, top1 = plots.curve_plots(content)
    assert [(line.name, line.points) for line in rewards.lines] == [("a", [(1, 0.1), (2, 0.2), (3, 0.3)])]
    assert [(line.name, line.level) for line in top1.lines] == [("a", False), ("b", True), ("c (reference)", True)]
    assert top1.lines[0].points == [(1, 50), (2, 50), (3, 75)]
    assert top1.lines[0].band == [(1, 25, 75), (2, 50, 50), (3, 75, 75)]
    plots.write_pictures(tmp_path, content)
    colors = {color for color, _, _ in looks(["a", "b", "c (reference)"]).values()}
    assert len(colors) == 3
    for name in ("compare.png", "curves.png"):
        with Image.open(tmp_path / name) as picture:
            assert colors <= colors_in(picture)
    (tmp_path / "none").mkdir()
    plots.write_pictures(tmp_path / "none", {**content, "rows": [], "curves": {}})
    assert list((tmp_path / "none").iterdir()) == []


def colors_in(picture: Image.Image) -> set[str]:
    """Colours of at least 20 pixels."""
    pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    found, count = np.unique(pixels, axis=0, return_counts=True)
    return {"#{:02x}{:02x}{:02x}".format(*color) for color in found[count >= 20]}
