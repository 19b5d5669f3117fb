"""An agent is named in one way in all commands: by class or label, with options or without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adafocus_rl.agents import AGENTS
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.agent_name import find_agent, split_agent
from adafocus_rl.experiments.config.chosen import agent_config
from adafocus_rl.experiments.config.parser import parse_settings
from tests.experiments.conftest import Cli


def test_names_with_options() -> None:
    assert split_agent("PPOAgent") == ("PPOAgent", {})
    assert split_agent("ppo:gamma=0.9,cell=none") == ("ppo", {"gamma": "0.9", "cell": "none"})
    assert split_agent("best_patch:runs=[a,b],width=2") == ("best_patch", {"runs": "[a,b]", "width": "2"})
    with pytest.raises(UserError, match=r"'ppo:gamma' has the option 'gamma'; write NAME:KEY=VALUE"):
        split_agent("ppo:gamma")


@pytest.mark.parametrize("name", [*AGENTS])
def test_every_agent_has_a_label_that_names_it(name: str) -> None:
    assert find_agent(AGENTS.get(name).label) == name
    assert find_agent(name) == name


def test_what_names_no_agent() -> None:
    with pytest.raises(UserError, match=r"unknown agent 'centre'; did you mean 'CenterAgent'\? Choose one of"):
        find_agent("centre")


@pytest.mark.parametrize("name", ["best_patch", "BestPatchAgent"])
def test_the_same_settings_whether_options_stand_in_the_name_or_as_keys(name: str) -> None:
    one = parse_settings("it", [f"--agent={name}:width=3,runs=[a]"])
    other = parse_settings("it", ["--agent=BestPatchAgent", "--agent.width=3", "--agent.runs=[a]"])
    assert one == other
    assert one.values["agent"] == {"class_path": "BestPatchAgent", "init_args": {"width": 3, "runs": ["a"]}}


def test_a_file_may_hold_such_a_name(tmp_path: Path) -> None:
    (tmp_path / "it.yaml").write_text("agent: ppo:gamma=0.5\n")
    assert parse_settings("it", ["--config", str(tmp_path / "it.yaml")]).config.agent.options.gamma == 0.5


def test_mistakes_in_options() -> None:
    with pytest.raises(UserError, match=r"agent\.widht.*did you mean.*width"):
        agent_config("best_patch:widht=3")
    with pytest.raises(UserError, match="width"):
        agent_config("best_patch:width=zero")


def test_evaluate_takes_options(cli: Cli, run: Path) -> None:
    by_class = cli("evaluate", run, "--agent", "BestPatchAgent:width=3", "--json")
    by_label = cli("evaluate", run, "--agent", "best_patch:width=3", "--json")
    assert by_class.code == by_label.code == 0
    rows = [json.loads(done.out)["rows"][0] for done in (by_class, by_label)]
    assert rows[0]["top1"] == rows[1]["top1"]
    done = cli("evaluate", run, "--agent", "ppo:gamma=0.5")
    assert done.code == 2
    assert "'ppo:gamma=0.5' has options, but this agent learns" in done.err


def test_compare_takes_labels(cli: Cli, run: Path) -> None:
    done = cli("compare", run, "--agents", "center", "random", "--seeds", "1", "--json")
    assert done.code == 0
    assert [row["agent"] for row in json.loads(done.out)["rows"]] == ["center", "random"]


def test_replay_takes_classes(cli: Cli, run: Path, tmp_path: Path) -> None:
    for names in (["PPOAgent", "CenterAgent", "WholeFrames"], ["ppo", "center", "full_frame"]):
        out = tmp_path / "replay.png"
        assert cli("replay", run, "--agents", *names, "--out", out).code == 0
        assert out.stat().st_size > 0
    done = cli("replay", run, "--agents", "BestPatchAgent", "--out", out)
    assert done.code == 2
    assert "the record has no agent 'best_patch'; it has" in done.err
