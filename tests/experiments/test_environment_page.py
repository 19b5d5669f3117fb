"""The examples of docs/environment.md and docs/environments/ run, and tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl.envs import REWARDS, SpaceConfig
from adafocus_rl.experiments.gym_entry import make_patch_selection_vec

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "environment.md").read_text(encoding="utf-8")


def examples_of(text: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


EXAMPLES = examples_of(PAGE)


@pytest.fixture(scope="module")
def after(as_printed: Path) -> dict[str, Any]:
    """What the examples have defined when all were run in order, as they are printed."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(as_printed)
        for number, example in enumerate(EXAMPLES):
            exec(compile(example, f"example {number}", "exec"), names)
    return names


def test_the_examples_run(after: dict[str, Any]) -> None:
    assert len(EXAMPLES) == 13
    # Their own assertions hold; this is what they leave behind.
    assert after["returns"][1] != 0
    assert after["state"].shape == (3, 16 + 1)  # the memory, and the number of steps since the episode began
    assert after["picture"].shape[-1] == 3
    assert after["model"].num_timesteps == 24


@pytest.mark.parametrize("page", sorted((DOCS / "environments").glob("*.md")), ids=lambda path: path.stem)
def test_the_examples_of_an_environments_page_run(
    page: Path, as_printed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(as_printed)
    names: dict[str, Any] = {}
    for example in examples_of(page.read_text(encoding="utf-8")):
        exec(compile(example, page.name, "exec"), names)
    assert names["env"].spec.id == re.findall(r"AdaFocus/\w+-v0", page.read_text(encoding="utf-8"))[0]


def _table(heading: str, column: int = 0) -> list[str]:
    """Names in backticks in a column of the first table under a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row[column])]


def test_the_tables_are_complete(finished: Path) -> None:
    assert sorted(_table("Reward")) == sorted(REWARDS.names())
    assert {*_table("Observation"), "action_space"} == set(SpaceConfig.__dataclass_fields__)
    env = make_patch_selection_vec(run=finished, num_envs=2)
    _, info = env.reset()
    told = {name for name in info if not name.startswith("_")}
    for _ in range(env.source.num_steps):
        *_, info = env.step(torch.zeros(2, dtype=torch.long))
        told |= {name for name in info if not name.startswith("_")}
    assert set(_table("Infos")) == told
