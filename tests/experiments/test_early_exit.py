"""``adafocus evaluate --budget``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

Cli = Any


def test_budgets_add_rows_of_early_exit(cli: Cli, run: Path) -> None:
    rows = {(row["agent"], row["variant"]): row for row in json.loads((run / "results.json").read_text())["rows"]}
    whole = rows["ppo", "fine-tuned"]["gmacs_per_video"]
    done = cli("evaluate", run, "--budget", f"{whole / 2}", f"{2 * whole}", "--json")
    assert done.code == 0, done.err
    content = json.loads(done.out)
    assert content == json.loads((run / "results.json").read_text())
    for variant in ("random patches", "fine-tuned"):
        found = [row for row in content["rows"] if (row["agent"], row["variant"]) == ("ppo+exit", variant)]
        assert [row["knob"] for row in found] == pytest.approx([whole / 2, 2 * whole])
        assert found[0]["kept"] < found[1]["kept"] == 1
        assert whole / 4 <= found[0]["gmacs_per_video"] < found[1]["gmacs_per_video"] == pytest.approx(whole)
        assert found[1]["top1"] == rows["ppo", variant]["top1"]
    done = cli("replay", run, "--out", run.parent / "page.html")
    assert done.code == 0, done.err
    done = cli("evaluate", run, "--json")
    assert done.code == 0, done.err
    assert "ppo+exit" not in {row["agent"] for row in json.loads(done.out)["rows"]}


def test_another_agent_exits_and_nothing_is_written(cli: Cli, run: Path) -> None:
    before = (run / "results.json").read_bytes()
    done = cli("evaluate", run, "--agent", "CenterAgent", "--budget", "1")
    assert done.code == 0, done.err
    assert "center+exit" in done.out
    assert (run / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("budget", "message"), [("1e-9", "is not enough for the first step"), ("nan", "--budget is nan; give numbers")]
)
def test_impossible_budgets_are_refused(cli: Cli, run: Path, budget: str, message: str) -> None:
    done = cli("evaluate", run, "--budget", budget)
    assert done.code == 2
    assert message in done.err
