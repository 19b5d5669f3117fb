"""``adafocus tune``: the space, the videos it is tuned on, an interrupted search, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from adafocus_rl.data.index import VideoIndex, VideoRecord
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.variants import read_ablation
from adafocus_rl.experiments.config.parser import load_settings, parse_settings
from adafocus_rl.experiments.tune.objective import divided
from adafocus_rl.experiments.tune.space import Choice, Range, read_space

Cli = Any

SPACE = """
agent.learning_rate: {low: 1.0e-4, high: 3.0e-3, log: true}
agent.n_epochs: {low: 1, high: 3}
agent.cell: [gru, none]
env.reward.baseline_positions: [1, 4]
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """A file with a space."""
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def test_a_space_is_read(space: Path) -> None:
    assert read_space(space) == [
        Range(key="agent.learning_rate", low=1e-4, high=3e-3, log=True),
        Range(key="agent.n_epochs", low=1, high=3),
        Choice(key="agent.cell", values=("gru", "none")),
        Choice(key="env.reward.baseline_positions", values=(1, 4)),
    ]
    whole = Range(key="k", low=1, high=3)
    assert [whole.holds(value) for value in (1, 3, 4, 2.0, True, "2")] == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "is not a space"),
        ("agent.gamma: 0.9", "agent.gamma is 0.9; give"),
        ("agent.gamma: {low: 0.9}", "agent.gamma is"),
        ("agent.gamma: {low: 0.9, high: 0.5}", "numbers with low < high"),
        ("agent.gamma: {low: 0, high: 0.5, log: true}", "numbers with low < high"),
        ("agent.cell: [gru]", "give two or more"),
        ("agent.cell: [gru, [none]]", "give two or more"),
    ],
)
def test_a_wrong_space_is_refused(space: Path, text: str, words: str) -> None:
    space.write_text(text)
    with pytest.raises(UserError, match=words):
        read_space(space)


def test_groups_and_classes_are_divided_evenly_and_unusable_videos_left_out() -> None:
    records = [VideoRecord(path=f"{i}", labels=(i % 2,), extra={"group": f"{i // 4}", "fold": "1"}) for i in range(80)]
    usable = torch.tensor([row for row in range(80) if row != 5])
    train, held_out = divided(VideoIndex(records=records, root=Path()), usable, seed=0)
    assert sorted([*train.tolist(), *held_out.tolist()]) == usable.tolist()
    assert len(held_out) in (19, 20)  # five groups, one of which may lack a video
    assert not {row // 4 for row in train.tolist()} & {row // 4 for row in held_out.tolist()}
    assert sum(row % 2 == 0 for row in held_out.tolist()) == 10


@pytest.fixture
def tuned(cli: Cli, run: Path, space: Path) -> tuple[Path, Any]:
    """A run, and the result of three trials on it."""
    pytest.importorskip("optuna", reason="needs optuna (the extra hpo)")
    done = cli("tune", run, "--space", space, "--trials", "3", "--json")
    assert done.code == 0, done.err
    return run, done


def test_a_search_writes_what_train_and_compare_read(tuned: tuple[Path, Any]) -> None:
    run, done = tuned
    content = json.loads(done.out)
    assert content == json.loads((run / "tune" / "tune.json").read_text())
    first, best = content["trials"][0], content["trials"][content["best"] - 1]
    stored = load_settings(run / "config.yaml")
    # The run's own values come first, so that the best trial is at least as good on these videos.
    assert first["values"]["agent.learning_rate"] == stored.config.agent.options.learning_rate
    assert best["reward"] == max(trial["reward"] for trial in content["trials"] if trial["state"] == "complete")
    assert content["videos"]["train"] + content["videos"]["held_out"] == 12
    assert "validation videos had no part in it" in done.err

    settings = parse_settings("test", [f"--config={run / 'config.yaml'}", f"--config={run / 'tune' / 'best.yaml'}"])
    assert settings.config.agent.name == stored.config.agent.name
    assert settings.config.agent.options.hidden == stored.config.agent.options.hidden == 16
    for key, value in best["values"].items():
        owner = settings.config.agent.options if key.startswith("agent.") else settings.config.env.reward
        assert getattr(owner, key.split(".")[-1]) == value
    _, (before, after) = read_ablation(str(run / "tune" / "compare.yaml"))
    assert (before.name, after.name) == ("as it was", "tuned")
    assert after.overrides == {**before.overrides, **best["values"]}
    assert not [*(run / "tune" / "trials").rglob("*.safetensors")]


def test_a_search_goes_on_where_a_killed_process_left_it(
    cli: Cli, tuned: tuple[Path, Any], space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adafocus_rl.experiments.tune.objective import Objective

    run, done = tuned
    before = json.loads(done.out)["trials"]
    tried: list[Any] = []

    def killed(self: Objective, config: Any, *rest: Any) -> None:
        tried.append(config.agent.options.learning_rate)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "value", killed)
        assert cli("tune", run, "--space", space, "--trials", "4").code == 130
    done = cli("tune", run, "--space", space, "--trials", "4", "--json")
    assert done.code == 0, done.err
    trials = json.loads(done.out)["trials"]
    assert trials[:3] == before
    assert len(trials) == 4
    assert [trials[3]["values"]["agent.learning_rate"]] == tried


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("agent.gama: [0.5, 0.9]", [], "gama"),
        ("model.grid: [2, 3]", [], "model.grid changes the features or f_C"),
        ("stage1.epochs: [1, 2]", [], "changes the features or f_C"),
        (SPACE, ["--agent", "RandomAgent"], "learning_rate"),
        (SPACE, ["--trials", "0"], "give at least 1"),
        (SPACE, ["more"], "unexpected argument 'more'"),
    ],
)
def test_mistakes_are_refused_before_the_first_trial(
    cli: Cli, finished: Path, space: Path, text: str, arguments: list[str], words: str
) -> None:
    pytest.importorskip("optuna", reason="needs optuna (the extra hpo)")
    space.write_text(text)
    done = cli("tune", finished, "--space", space, *arguments)
    assert done.code == 2
    assert words in done.err
    assert not (finished / "tune").exists()


def test_without_optuna_one_sentence(cli: Cli, finished: Path, space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    done = cli("tune", finished, "--space", space)
    assert done.code == 2
    assert "pip install 'adafocus_rl[hpo]'" in done.err


def test_the_page_shows_a_space_that_reads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text(encoding="utf-8")
    text = page.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "space.yaml").write_text(text)
    assert [dimension.key for dimension in read_space(tmp_path / "space.yaml")] == [*yaml.safe_load(text)]
