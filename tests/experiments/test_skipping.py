"""π′ through the program: one operating point for each price."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from adafocus_rl.experiments.evaluation.live import LiveMethod
from adafocus_rl.experiments.evaluation.systems import Systems
from adafocus_rl.experiments.evaluation.timing import clips_to_time, time_in_turns
from adafocus_rl.experiments.run.handover import blank_env, load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES

Cli = Any
Look = Any

VARIANTS = (RANDOM_PATCHES, FINE_TUNED)
BASELINES = ("random_skip", "random_by_number", "fixed_frames")

# Prices at which there is nothing to think about: looking at a frame costs, or earns, more than any class is worth.
SKIP = [
    "--skip.lambdas=[5.0,-5.0]", "--skip.epochs=12",
    '--skip.options={"learning_rate": 0.05, "n_epochs": 4, "hidden": 8, "reduced_channels": 4}',
]  # fmt: skip


@pytest.fixture(scope="module")
def skipping(finished: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run, stages II and III done again with two π′."""
    from adafocus_rl.experiments.cli.entry import main

    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("skipping") / "run"))
    assert main(["train", str(recipe), "--out", str(run), "--stages", "2", "3", *SKIP]) == 0
    return run


def _rows(run: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((run / "results.json").read_text())["rows"]
    return rows


def test_one_operating_point_for_each_price(skipping: Path, finished: Path) -> None:
    rows = _rows(skipping)
    points = [(row["agent"], row["knob"], row["variant"]) for row in rows if row["knob"] is not None]
    assert points == [
        (agent, knob, variant)
        for variant in VARIANTS
        for agents in (["ppo+skip"], BASELINES)
        for knob in (5.0, -5.0)
        for agent in agents
    ]
    others = [row for row in rows if row["knob"] is None]
    assert [row["agent"] for row in others] == [row["agent"] for row in _rows(finished)]
    assert all(row["kept"] is None for row in others)
    seconds = json.loads((skipping / "results.json").read_text())["seconds"]
    assert {"2.skip5.0", "2.skip-5.0", "3.skip5.0", "3.skip-5.0"} < set(seconds)


def test_a_price_decides_what_is_kept(skipping: Path) -> None:
    """At −5 all frames: the same recognition as π alone. At 5 none: nothing of f_L's compute is spent."""
    rows = {(row["agent"], row["knob"], row["variant"]): row for row in _rows(skipping)}
    for agent in ("ppo+skip", *BASELINES):
        for variant in VARIANTS:
            assert rows[agent, -5.0, variant]["kept"] == 1
            assert rows[agent, 5.0, variant]["kept"] == 0
            assert rows[agent, 5.0, variant]["local_gmacs_per_video"] == 0
    alone, all_kept, none = (
        rows["ppo", None, RANDOM_PATCHES],
        rows["ppo+skip", -5.0, RANDOM_PATCHES],
        rows["ppo+skip", 5.0, RANDOM_PATCHES],
    )
    assert (all_kept["top1"], all_kept["map"]) == (alone["top1"], alone["map"])
    assert all_kept["local_gmacs_per_video"] == alone["local_gmacs_per_video"]
    # Both policies run on every frame; the baselines need no π′.
    own = all_kept["gmacs_per_video"] - alone["gmacs_per_video"]
    assert own > 0
    for agent in BASELINES:
        assert rows[agent, -5.0, RANDOM_PATCHES]["gmacs_per_video"] == pytest.approx(alone["gmacs_per_video"])
    # All frames are kept in all of them, so that each trains the f_C that stage III trains.
    tuned = {rows[agent, -5.0, FINE_TUNED]["map"] for agent in ("ppo", "ppo+skip", *BASELINES) if agent != "ppo"}
    assert len(tuned) == 1
    assert none["gmacs_per_video"] + alone["local_gmacs_per_video"] == pytest.approx(all_kept["gmacs_per_video"])


def test_f_l_sees_the_kept_frames_of_a_timed_video_alone(skipping: Path) -> None:
    run = Run.open(skipping)
    recognizer = load_recognizer(run, "stage1")
    systems = Systems(run, recognizer, blank_env(run.config, recognizer))
    method = systems.skipping(systems.agent())[0]
    clips, _ = clips_to_time(run.clips.val, 1)
    assert method.costs  # counted once, on a copy of f_L that would be spied on, too
    patches: list[int] = []

    def spy(_: Any, inputs: tuple[Tensor, ...]) -> None:
        patches.append(len(inputs[0]))

    recognizer.focus.register_forward_pre_hook(spy)
    spent = []
    for knob in method.knobs:
        patches.clear()
        assert time_in_turns([LiveMethod(method, knob, device=run.device)], clips, device=run.device)
        spent.append(set(patches))
    assert spent == [set(), {4}]


def test_the_same_policy_is_trained_with_and_without_skipping(skipping: Path, finished: Path, look: Look) -> None:
    with_it, without = look.checkpoints(skipping), look.checkpoints(finished)
    assert {name: with_it[name] for name in without} == without
    assert {*with_it} - {*without} == {
        *(f"stage{stage}.skip{knob}.safetensors" for stage in (2, 3) for knob in (5.0, -5.0)),
        *(f"{label}{knob}.safetensors" for label in BASELINES for knob in (5.0, -5.0)),
    }


@pytest.mark.parametrize("stem", ["stage2.skip-5.0", "stage3.skip5.0"])
def test_stopped_and_resumed(
    cli: Cli, skipping: Path, finished: Path, recipe: Path, tmp_path: Path, look: Look, stem: str
) -> None:
    from adafocus_rl.rotation import CheckpointRotation

    run = Path(shutil.copytree(finished, tmp_path / "run"))
    arguments = ["train", recipe, "--out", run, *SKIP]
    save = CheckpointRotation.save

    def interrupted(self: CheckpointRotation, step: int, *args: Any, **kwargs: Any) -> Path:
        path = save(self, step, *args, **kwargs)
        if self.stem == f"{stem}.resume":
            raise KeyboardInterrupt
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointRotation, "save", interrupted)
        assert cli(*arguments, "--stages", "2", "3").code == 130
    done = cli(*arguments, "--resume")
    assert done.code == 0, done.err
    assert look.checkpoints(run) == look.checkpoints(skipping)
    assert look.results(run) == look.results(skipping)
    assert [line for line in look.metrics(run) if "skip" in line["stage"]] == [
        line for line in look.metrics(skipping) if "skip" in line["stage"]
    ]


def test_another_price_later_leaves_the_rest_as_it_is(cli: Cli, skipping: Path, recipe: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(skipping, tmp_path / "run"))
    before = {path.name: path.stat().st_mtime_ns for path in (run / "checkpoints").iterdir()}
    done = cli("train", recipe, "--out", run, *SKIP, "--skip.lambdas=[5.0,0.5]", "--resume")
    assert done.code == 0, done.err
    after = {path.name: path.stat().st_mtime_ns for path in (run / "checkpoints").iterdir()}
    assert {name: after[name] for name in before} == before
    assert {*after} - {*before} == {f"{name}0.5.safetensors" for name in ("stage2.skip", "stage3.skip", *BASELINES)}
    assert {row["knob"] for row in _rows(run)} == {None, 5.0, 0.5}
    assert "knob" in done.out


def test_any_agent_can_be_skipped_behind(cli: Cli, run: Path, recipe: Path) -> None:
    done = cli("train", recipe, "--out", run, "--stages", "2", "3", "--agent=RandomAgent", *SKIP, "--skip.epochs=1")
    assert done.code == 0, done.err
    assert {row["agent"] for row in _rows(run) if row["knob"] is not None} == {"random+skip", *BASELINES}


KEEP = [
    "--skip.keep=[0.5]", "--skip.agent=GRPOAgent", "--skip.reward=last", "--skip.observe_classifier=true",
    "--skip.epochs=3", '--skip.options={"learning_rate": 0.02, "hidden": 8, "reduced_channels": 4, "group_size": 3}',
]  # fmt: skip


@pytest.fixture(scope="module")
def sharing(finished: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run with a π′ that observes f_C and keeps half of the frames."""
    from adafocus_rl.experiments.cli.entry import main

    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("sharing") / "run"))
    assert main(["train", str(recipe), "--out", str(run), "--stages", "2", "3", *KEEP]) == 0
    return run


def test_a_share_of_frames_is_an_operating_point(sharing: Path) -> None:
    """The same decisions with both f_C, since π′ observes that of stage I, which costs another f_C in the second."""
    rows = {(row["agent"], row["variant"]): row for row in _rows(sharing) if row["knob"] == 0.5}
    assert {*rows} == {(agent, variant) for agent in ("ppo+skip", *BASELINES) for variant in VARIANTS}
    first, second = (rows["ppo+skip", variant] for variant in VARIANTS)
    assert first["kept"] == second["kept"]
    assert first["local_gmacs_per_video"] == second["local_gmacs_per_video"]
    assert first["gmacs_per_video"] < second["gmacs_per_video"]
    names = {path.name for path in (sharing / "checkpoints").iterdir()}
    assert {"stage2.skip.keep0.5.safetensors", "stage3.skip.keep0.5.safetensors"} < names


def test_the_wanted_share_of_the_validation_videos_is_kept(sharing: Path) -> None:
    from adafocus_rl.agents.methods.kept_share import kept_frames
    from adafocus_rl.experiments.gym_entry import open_features
    from adafocus_rl.experiments.run.handover import load_agent
    from adafocus_rl.experiments.run.skipping import load_skipper, operating_points, skipping_env

    opened = open_features(sharing, split="val")
    env = opened.run.env(opened.source, opened.recognizer.classifier)
    (point,) = operating_points(opened.run)
    skipping = skipping_env(opened.run, env, load_agent(opened.run, env), point)
    # 12 videos of 4 frames; few different logits.
    assert abs(float(kept_frames(load_skipper(opened.run, skipping, point), skipping).mean()) - 0.5) <= 0.1


def test_training_towards_a_share_stopped_and_resumed(
    cli: Cli, sharing: Path, finished: Path, recipe: Path, tmp_path: Path, look: Look
) -> None:
    """λ goes on from where it was: the same weights, and the same curve."""
    from adafocus_rl.rotation import CheckpointRotation

    run = Path(shutil.copytree(finished, tmp_path / "run"))
    save = CheckpointRotation.save

    def interrupted(self: CheckpointRotation, step: int, *args: Any, **kwargs: Any) -> Path:
        path = save(self, step, *args, **kwargs)
        if self.stem == "stage2.skip.keep0.5.resume" and step == 2:
            raise KeyboardInterrupt
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointRotation, "save", interrupted)
        assert cli("train", recipe, "--out", run, "--stages", "2", "3", *KEEP).code == 130
    done = cli("train", recipe, "--out", run, "--resume", *KEEP)
    assert done.code == 0, done.err
    assert look.checkpoints(run) == look.checkpoints(sharing)
    curves = [[line for line in look.metrics(one) if "keep" in line["stage"]] for one in (run, sharing)]
    assert curves[0] == curves[1]
    assert "train/price" in str(curves[0])


def test_new_videos_are_recognised_at_a_share(cli: Cli, sharing: Path) -> None:
    run = Run.open(sharing)
    video = run.lists["val"].parent / run.clips.val.index[0].path
    done = cli("predict", sharing, video, "--knob", "0.5", "--json")
    assert done.code == 0, done.err
    refused = cli("predict", sharing, video, "--knob", "0.4")
    assert refused.code == 2
    assert "the run has no π′ with share kept = 0.4; it has 0.5 (skip.keep)" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--skip.lambdas=[0.1,0.1]"], "skip.lambdas is [0.1, 0.1]; give each λ once"),
        (["--skip.lambdas=[.nan]"], "skip.lambdas is [nan]; give finite numbers"),
        (
            ["--skip.lambdas=[0.1]", "--skip.options.hiden=3"],
            "unknown key 'skip.options.hiden' of PPOAgent",
        ),
        (["--skip.lambdas=[0.1]", "--skip.epochs=-1"], "skip.epochs is -1"),
        (["--skip.keep=[0.5,1.0]"], "skip.keep is [0.5, 1.0]; give shares between 0 and 1"),
        (["--skip.keep=[0.5,0.5]"], "skip.keep is [0.5, 0.5]; give each share once"),
        (
            ["--skip.keep=[0.5]", "--skip.lambdas=[0.1]"],
            "skip.keep is [0.5]; give the costs of frames or the shares to keep, not both",
        ),
        (
            ["--skip.keep=[0.5]", "--skip.agent=GRPOAgent", "--skip.options.gae_lambda=0.9"],
            "unknown key 'skip.options.gae_lambda' of GRPOAgent",
        ),
    ],
)
def test_mistakes_are_one_sentence(cli: Cli, run: Path, recipe: Path, arguments: list[str], message: str) -> None:
    done = cli("train", recipe, "--out", run, "--stages", "2", "3", *arguments)
    assert done.code == 2
    assert message in done.err
    assert (run / "results.json").is_file()


def test_the_page_s_example_runs(as_printed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "frame_skipping.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    monkeypatch.chdir(as_printed)
    exec(compile(example, "docs/frame_skipping.md", "exec"), names)
    assert names["rollout"].output.action.shape == (64, 4)
