"""What the table of a run's results shows."""

from __future__ import annotations

from typing import Any

from adafocus_rl.experiments.report.rows import Row
from adafocus_rl.experiments.report.table import ERROR_NOTE, GAP_NOTE, Cell, Table, result_notes, result_table


def row(agent: str, top1: float, *, variant: str | None = "random patches", **other: Any) -> Row:
    return Row(**{
        "agent": agent, "variant": variant, "top1": top1, "top1_standard_error": 0.008, "map": 0.5,
        "gmacs_per_video": 0.5, "local_gmacs_per_video": 0.25, "videos": 2400, "reference": False, **other,
    })  # fmt: skip


def test_top1_has_its_standard_error_and_its_place_in_the_gap() -> None:
    rows = [
        row("ppo", 0.8),
        row("random", 0.6),
        row("oracle", 0.85, reference=True),
        row("ppo", 0.9, variant="fine-tuned"),
        row("random", 0.5, variant="fine-tuned"),
        row("best_patch", 0.9, variant="fine-tuned", reference=True),
        row("full_frame", 0.8, variant=None),
    ]
    table = result_table(rows)
    top1, gap = table.heads.index("top-1 %"), table.heads.index("gap %")
    assert gap == top1 + 1
    assert [line[top1].text for line in table.rows[:3]] == ["80.0 ± 0.8", "60.0 ± 0.8", "85.0 ± 0.8"]
    # The page sorts by the number.
    assert float(table.rows[0][top1].key) == 80
    assert [line[gap].text for line in table.rows] == ["80", "0", "100", "100", "0", "100", "–"]
    assert result_notes(rows) == [ERROR_NOTE, GAP_NOTE]


def test_without_a_reference_there_is_no_gap() -> None:
    rows = [row("ppo", 0.8), row("random", 0.6)]
    assert "gap %" not in result_table(rows).heads
    assert result_notes(rows) == [ERROR_NOTE]


def test_one_column_can_lead() -> None:
    cells = [[Cell(text=text) for text in ("a", "x", "1", "2")]]
    table = Table(heads=["agent", "variant", "mean", "IQM"], rows=cells).leading("top-1", "IQM")
    assert table.heads == ["agent", "IQM", "variant", "mean"]
    assert [cell.text for cell in table.rows[0]] == ["a", "2", "x", "1"]
    assert table.leading("nothing") == table
