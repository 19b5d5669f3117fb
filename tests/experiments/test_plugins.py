"""Another package's agent, reward, encoder and dataset, installed; and the page that says how to write an agent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from adafocus_rl.agents import AGENTS
from adafocus_rl.agents.base import Agent
from adafocus_rl.envs import FindThePatchVectorEnv
from adafocus_rl.errors import UserError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add_an_agent.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "tests" / "example_package"
MADE = {"agents": "BanditAgent", "rewards": "margin", "encoders": "gray_glance", "datasets": "few_digits"}


def _python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the example package is installed; its sources stay clean."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in ("pyproject.toml", "adafocus_example.py"):
        (source / name).write_text((EXAMPLE / name).read_text(encoding="utf-8"), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", target, source], check=True, timeout=300)
    return target


def _adafocus(site: Path, *arguments: str | Path, out: Path | None = None) -> Any:
    """What the program prints, as JSON, in a process that sees the installed package."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "adafocus_rl", *map(str, arguments), "--json"],
        capture_output=True, text=True, check=False, timeout=300, cwd=out, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_an_installed_package_is_listed(site: Path) -> None:
    found = _adafocus(site, "list")
    for kind, name in MADE.items():
        assert name in found[kind]
    assert "adafocus_example" not in sys.modules


@pytest.mark.slow
def test_an_installed_package_is_used(site: Path, recipe: Path, tmp_path: Path) -> None:
    """All four at once, trained and evaluated."""
    content = yaml.safe_load(recipe.read_text())
    content["data"].update(embedded="few_digits", embedded_options={}, root=str(tmp_path / "data"))
    content["stage0"]["stills"]["epochs"] = 0
    content["model"]["glance"]["name"] = "gray_glance"
    content["env"] = {"reward": {"kind": "margin"}}
    content["agent"] = {"class_path": "BanditAgent", "init_args": {"trust": 2.0}}
    (tmp_path / "plugins.yaml").write_text(yaml.safe_dump(content))
    trained = _adafocus(site, "train", tmp_path / "plugins.yaml", "--out", tmp_path / "run")
    assert [row["after_stage"] for row in trained["rows"] if row["agent"] == "bandit"] == [2, 3]
    rows = _adafocus(site, "evaluate", tmp_path / "run", "--agent", "BanditAgent")["rows"]
    again = {(row["agent"], row["after_stage"]): row["top1"] for row in trained["rows"]}
    assert [row["top1"] for row in rows] == [again["bandit", 2], again["bandit", 3]]


def test_the_page_s_agent_is_short_and_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is printed, block by block; nothing is registered in between."""
    blocks = _python_blocks()
    assert len(blocks) == 2
    lines = [line for line in blocks[0].splitlines() if line.strip()]
    assert len(lines) < 45
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {"__name__": "__main__"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"block {number}", "exec"), made)
    assert "ReinforceAgent" not in AGENTS.names()
    env: FindThePatchVectorEnv = made["env"]
    assert isinstance(made["again"], Agent)
    for learnt in (made["agent"], made["again"]):
        rollout = env.rollout(learnt, episodes=env.source.episodes(env.source.videos), deterministic=True)
        assert rollout.reward.sum(1).mean() > 0.99 * env.best_return
    with pytest.raises(UserError, match="ReinforceAgent"):
        Agent.load("agent.safetensors", env)  # whose class that is nobody has said


def test_the_page_names_every_agent() -> None:
    named = dict(re.findall(r"^\| `(\w+Agent)` \| `(\w+)`", PAGE, re.MULTILINE))
    own = {name: AGENTS.get(name) for name in AGENTS.names() if AGENTS.get(name).__module__.startswith("adafocus_rl.")}
    assert named.keys() == own.keys()
    assert all(named[name].startswith(kind.label) for name, kind in own.items())
