"""Oracles whose patches other runs' networks choose, while the run's own score."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from adafocus_rl import checkpoint
from adafocus_rl.agents import BestPatchAgent, DistilAgent, DistilOptions, OracleOptions
from adafocus_rl.envs import PatchSelectionVectorEnv
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.gym_entry import open_features
from adafocus_rl.features import index_of

Cli = Any


@pytest.fixture
def other(finished: Path, tmp_path: Path) -> Path:
    """Another run on the same lists: the same encoders, another f_C."""
    run = Path(shutil.copytree(finished, tmp_path / "other"))
    change_classifier(run, seed=5)
    return run


def change_classifier(run: Path, *, seed: int) -> None:
    path = run / "checkpoints" / "stage1.safetensors"
    tensors, manifest = checkpoint.load(path)
    draw = torch.Generator().manual_seed(seed)
    for name, value in tensors.items():
        if name.startswith("recognizer.classifier."):
            tensors[name] = torch.randn(value.shape, generator=draw)
    checkpoint.save(path, tensors=tensors, manifest=manifest)


def environment(run: Path, split: Any = "val") -> PatchSelectionVectorEnv:
    opened = open_features(run, split=split)
    return opened.run.env(opened.source, opened.recognizer.classifier)


def actions(env: PatchSelectionVectorEnv, *runs: Path) -> Tensor:
    agent = BestPatchAgent(env, OracleOptions(runs=[str(run) for run in runs]))
    return env.rollout(agent, episodes=env.source.episodes(env.source.videos)).output.action


def test_the_other_run_chooses(finished: Path, other: Path) -> None:
    own, theirs = environment(finished), environment(other)
    expected = actions(theirs)
    assert not torch.equal(actions(own), expected)
    assert torch.equal(actions(own, other), expected)
    # The run that is measured is left out, also with an f_C that was fine-tuned since; alone, it is refused.
    assert torch.equal(actions(own, finished, other), expected)
    tuned = own.like(own.source, theirs.classifier)
    with pytest.raises(UserError, match=r"the runs .*finished.* are the one that is measured"):
        actions(tuned, finished)
    # Step by step, too.
    agent = BestPatchAgent(own, OracleOptions(runs=[str(other)]))
    _, info = own.reset(options={"videos": torch.arange(5)})
    agent.begin(info)
    step, _ = agent.predict(torch.empty(5))
    assert torch.equal(step, expected[:5, 0])


def test_several_runs_choose_by_their_mean(finished: Path, other: Path, tmp_path: Path) -> None:
    third = Path(shutil.copytree(other, tmp_path / "third"))
    change_classifier(third, seed=6)
    own = environment(finished)
    shares = []
    for run in (other, third):
        env = environment(run)
        episodes = env.source.episodes(env.source.videos)
        state = env.problem.initial_state(len(episodes))
        every = torch.arange(9).expand(len(episodes), -1)
        local = episodes.local_at(torch.zeros(len(episodes), 1, dtype=torch.long), every[:, None])[:, 0]
        inputs = torch.cat((episodes.global_vector[:, :1].expand(-1, 9, -1), local), dim=-1)
        states = env.classifier.cell(inputs.flatten(0, 1), state.repeat_interleave(9, dim=0))
        share = env.classifier.logits(states).softmax(-1).unflatten(0, (-1, 9))
        shares.append(share.gather(-1, episodes.labels[:, None, None].expand(-1, 9, 1))[..., 0])
    assert torch.equal(actions(own, other, third)[:, 0], (shares[0] + shares[1]).argmax(-1))


def set_data(run: Path, **values: Any) -> None:
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"] |= values
    path.write_text(yaml.safe_dump(config))


def test_videos_are_found_by_their_paths(cli: Cli, finished: Path, other: Path) -> None:
    """Another fold was trained on our validation videos, and has them in other rows."""
    own, expected = environment(finished), actions(environment(other))
    fold(cli, other)
    assert torch.equal(actions(own, other), expected)
    # Without our last video, the run cannot judge.
    lines = (other / "train.csv").read_text().splitlines()
    (other / "train.csv").write_text("\n".join([lines[0], *lines[2:]]))
    assert cli("features", "build", other, "--overwrite").code == 0
    with pytest.raises(UserError, match=r"other has no .*val/00005\.mp4 in its lists; name a run with the videos"):
        actions(own, other)


def test_another_fold_has_some_videos_in_each_list(cli: Cli, finished: Path, other: Path) -> None:
    """Our training videos are partly validation videos of another fold."""
    own, expected = environment(finished, "train"), actions(environment(other, "train"))
    root = Path(yaml.safe_load((other / "config.yaml").read_text())["data"]["root"])
    head, *lines = (root / "train.csv").read_text().splitlines()
    for split, part in (("val", lines[::3]), ("train", lines[1::3] + lines[2::3])):
        (other / f"{split}.csv").write_text("\n".join([head, *(f"{root}/{line}" for line in reversed(part))]))
    shutil.copy(root / "classes.txt", other)
    set_data(other, embedded=None, root=None, train_list=str(other / "train.csv"), val_list=str(other / "val.csv"))
    assert cli("features", "build", other, "--overwrite").code == 0
    assert torch.equal(actions(own, other), expected)
    assert torch.equal(actions(own, finished, other), expected)


def test_what_other_runs_cannot_judge_is_a_sentence(finished: Path, other: Path, tmp_path: Path) -> None:
    own = environment(finished)
    with pytest.raises(UserError, match=r"nowhere"):
        actions(own, tmp_path / "nowhere")
    assert index_of(own.source) is not None
    source: Any = own.source
    source.index = None
    with pytest.raises(UserError, match="these features come from no list; leave the agent's option runs out"):
        actions(own, other)


def test_compare_takes_oracles_with_options(cli: Cli, run: Path, other: Path) -> None:
    agents = ["RandomAgent", f"BestPatchAgent:width=2,runs=['{other}']", "BestPatchAgent", "MostConfidentAgent"]
    done = cli("compare", run, "--agents", *agents, "--seeds", "1", "--jobs", "1", "--json")
    assert done.code == 0, done.err
    rows = {row["agent"]: row for row in json.loads(done.out)["rows"]}
    assert list(rows) == agents
    assert [row["reference"] for row in rows.values()] == [False, True, True, False]
    assert [row["over_seeds"] for row in rows.values()] == [False, True, True, True]
    patch = rows["RandomAgent"]["local_gmacs_per_video"]
    assert rows["BestPatchAgent"]["local_gmacs_per_video"] == pytest.approx(patch)
    assert rows["MostConfidentAgent"]["local_gmacs_per_video"] == pytest.approx(9 * patch)
    assert rows["BestPatchAgent"]["top1"] >= rows[agents[1]]["top1"]

    # Another f_L in the run that judges is another comparison; only this row is made again.
    path = other / "checkpoints" / "stage1.safetensors"
    tensors, manifest = checkpoint.load(path)
    tensors["recognizer.focus.net.0.weight"] *= 1.5
    checkpoint.save(path, tensors=tensors, manifest=manifest)
    assert cli("features", "build", other, "--overwrite").code == 0
    folders = {folder.name for folder in (run / "compare" / "trainings").iterdir()}
    again = cli("compare", run, "--agents", *agents, "--seeds", "1", "--jobs", "1", "--json")
    assert again.code == 0, again.err
    new = {folder.name for folder in (run / "compare" / "trainings").iterdir()} - folders
    assert [name.split("-")[0] for name in new] == ["BestPatchAgent"]


# ---- targets of distillation ----------------------------------------------------------------------------------------


def fold(cli: Cli, other: Path) -> None:
    """Make ``other`` the run of another fold: what we train on is its validation list."""
    root = Path(yaml.safe_load((other / "config.yaml").read_text())["data"]["root"])
    for name, split in (("val", "train"), ("train", "val")):
        head, *lines = (root / f"{name}.csv").read_text().splitlines()
        (other / f"{split}.csv").write_text("\n".join([head, *(f"{root}/{line}" for line in reversed(lines))]))
        shutil.copy(root / "classes.txt", other)
    lists = {f"{split}_list": str(other / f"{split}.csv") for split in ("train", "val")}
    set_data(other, embedded=None, root=None, **lists)
    done = cli("features", "build", other, "--overwrite")
    assert done.code == 0, done.err


def test_targets_come_from_networks_that_have_not_seen_the_video(cli: Cli, finished: Path, other: Path) -> None:
    own = environment(finished, "train")
    agent = DistilAgent(own, DistilOptions(hidden=8, runs=[str(other)]))
    rollout = own.rollout(agent, visit=0)
    # The same lists: our training videos are in no validation list.
    with pytest.raises(UserError, match=r"is in the validation list of none of the runs .*other; name a run of every"):
        agent.outcomes(own, rollout)
    theirs = environment(other, "train")
    expected = theirs.counterfactuals(theirs.rollout(agent, episodes=theirs.source.episodes(rollout.info["video"])))
    mine = own.counterfactuals(rollout)
    fold(cli, other)
    agent = DistilAgent(own, DistilOptions(hidden=8, runs=[str(finished), str(other)]))
    found = agent.outcomes(own, rollout)
    torch.testing.assert_close(found.probability, expected.probability, rtol=2e-3, atol=2e-3)
    assert not torch.allclose(found.probability, mine.probability, rtol=2e-3, atol=2e-3)
    before = agent.tensors()["policy.actor.weight"].clone()
    agent.learn(own, epochs=1)
    assert not torch.equal(agent.tensors()["policy.actor.weight"], before)
