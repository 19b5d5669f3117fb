"""Another package's agent, method, reward, encoder and dataset, installed; and the page on writing an agent."""

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
from PIL import Image

from adafocus_rl.agents import AGENTS
from adafocus_rl.agents.base import Agent
from adafocus_rl.envs import FindThePatchVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES, EpisodeRecord

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add_an_agent.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "tests" / "example_package"
MADE = {
    "agents": "BanditAgent", "methods": "EveryNth", "rewards": "margin", "encoders": "gray_glance",
    "datasets": "few_digits",
}  # fmt: skip


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


def _adafocus(site: Path, *arguments: str | Path) -> Any:
    """What the program prints, as JSON, in a process that sees the installed package."""
    return json.loads(_run(site, *arguments, "--json"))


def _run(site: Path, *arguments: str | Path) -> str:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "adafocus_rl", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


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
    assert [row["variant"] for row in trained["rows"] if row["agent"] == "bandit"] == [RANDOM_PATCHES, FINE_TUNED]
    rows = _adafocus(site, "evaluate", tmp_path / "run", "--agent", "BanditAgent")["rows"]
    again = {(row["agent"], row["variant"]): row["top1"] for row in trained["rows"]}
    assert [row["top1"] for row in rows] == [again["bandit", RANDOM_PATCHES], again["bandit", FINE_TUNED]]


@pytest.mark.slow
def test_an_installed_method_shows_in_every_command(site: Path, run: Path, recipe: Path, tmp_path: Path) -> None:
    """Three lines of the run's configuration switch it on; nothing of what the run has learnt changes."""
    content = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**content, "methods": {"EveryNth": {"every": [1, 2]}}}))
    before = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    own = _adafocus(site, "evaluate", run)["rows"]
    rows = {row["knob"]: row for row in own if row["agent"] == "every_nth"}
    assert [(knob, row["variant"], row["kept"]) for knob, row in rows.items()] == [(1, None, 1), (2, None, 0.5)]
    assert rows[1]["local_gmacs_per_video"] == 2 * rows[2]["local_gmacs_per_video"] > 0
    centre = next(row for row in own if (row["agent"], row["variant"]) == ("center", RANDOM_PATCHES))
    for name in ("top1", "map", "gmacs_per_video"):
        assert rows[1][name] == pytest.approx(centre[name])
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == before

    arguments = ("--agents", "CenterAgent", "--methods", "every_nth", "--seeds", "1", "--jobs", "1")
    compared = _adafocus(site, "compare", run, *arguments)["rows"]
    assert [(row["agent"], row["knob"], row["kept"]) for row in compared] == [
        ("CenterAgent", None, None), ("every_nth", 1, 1), ("every_nth", 2, 0.5),
    ]  # fmt: skip
    assert compared[1]["top1"] == pytest.approx(compared[0]["top1"])

    _run(site, "replay", run, "--agents", "every_nth", "--videos", "1", "--out", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.height > 2 * 112  # a row for each operating point
    titles = [trace.title for trace in EpisodeRecord.load(run / "episodes.safetensors").last_traces()]
    assert {"every_nth at 1", "every_nth at 2"} < {*titles}

    root = Path(yaml.safe_load(recipe.read_text())["data"]["root"])
    video = root / "val" / "00000.mp4"
    (found,) = _adafocus(site, "predict", run, video, "--method", "EveryNth", "--knob", "2")["videos"]
    assert found["kept"] == [True, False, True, False]
    assert found["boxes"] == [[8, 8, 16, 16]] * 4


def test_the_example_s_method_is_short() -> None:
    source = (EXAMPLE / "adafocus_example.py").read_text(encoding="utf-8")
    own = source[source.index("class EveryNthOptions") : source.index("def margin")]
    assert len([line for line in own.splitlines() if line.strip()]) < 60


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
