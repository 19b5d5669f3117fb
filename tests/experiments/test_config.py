"""Configurations: the paper's defaults, and YAML."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from adafocus_rl.agents import AGENTS, GaussianOptions, GRPOOptions, PPOOptions
from adafocus_rl.agents.methods import METHODS, WholeFrames
from adafocus_rl.agents.training_options import SGDConfig
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.config.parser import load_settings, parse_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe, recipe_names
from adafocus_rl.experiments.config.stages import Stage2Config
from adafocus_rl.options import NoOptions, require

# Appendix B.1, and the settings of GFNet that it refers to.
PUBLISHED = {
    "stage0.epochs": 15,
    "stage0.learning_rate": 0.01,
    "stage1.epochs": 50,
    "stage1.focus_learning_rate": 5e-4,
    "stage1.classifier_learning_rate": 0.05,
    "stage2.epochs": 50,
    "stage3.epochs": 10,
    "stage3.learning_rate": 5e-3,
    **{f"stage{number}.sgd.batch_size": 64 for number in (0, 1, 3)},
    **{f"stage{number}.sgd.momentum": 0.9 for number in (0, 1, 3)},
    **{f"stage{number}.sgd.weight_decay": 1e-4 for number in (0, 1, 3)},
    "stage2.batch_size": 64,
    "data.num_frames": 16,
    "model.glance.name": "mobilenet_v2",
    "model.focus.name": "resnet50",
    "model.classifier.name": "gru",
    "model.classifier.hidden": 1024,
    "model.classifier.dropout": 0.8,
    "model.frame_size": 224,
    "model.glance_size": 224,
    "model.patch_size": 128,
    "model.grid": 7,
    "model.num_classes": 200,
    "model.mean": (0.485, 0.456, 0.406),
    "model.std": (0.229, 0.224, 0.225),
    "env.reward.kind": "random",
    "env.reward.baseline_positions": 1,
}
PUBLISHED_PPO = {
    "learning_rate": 3e-4, "beta1": 0.9, "beta2": 0.999, "gamma": 0.7, "n_epochs": 1, "n_minibatches": 1,
    "clip_range": 0.2, "vf_coef": 0.5, "ent_coef": 0.01, "gae_lambda": None, "max_grad_norm": 0,
    "reduced_channels": 32, "hidden": 1024,
}  # fmt: skip


def read(tmp_path: Path, content: str, *arguments: str) -> Any:
    path = tmp_path / "some.yaml"
    path.write_text(content)
    return parse_settings("test", ["--config", str(path), *arguments])


@pytest.mark.parametrize("key", PUBLISHED)
def test_defaults_are_the_papers(key: str) -> None:
    value: Any = ExperimentConfig()
    for name in key.split("."):
        value = getattr(value, name)
    assert value == PUBLISHED[key]


def test_the_agents_defaults_are_the_papers() -> None:
    options = PPOOptions()
    assert {name: getattr(options, name) for name in PUBLISHED_PPO} == PUBLISHED_PPO


def test_every_field_says_what_it_means() -> None:
    """A docstring under each field, which `adafocus train --help` prints."""

    def check(kind: type[Any], prefix: str) -> None:
        source = "".join(inspect.getsource(base) for base in kind.__mro__[:-1])
        for field in fields(kind):
            after = source.split(f"    {field.name}:", 1)[1].split("\n", 1)[1].lstrip()
            assert after.startswith('"""'), f"{prefix}{field.name}"
            hint = get_type_hints(kind)[field.name]
            if is_dataclass(hint) and isinstance(hint, type):
                check(hint, f"{prefix}{field.name}.")

    check(ExperimentConfig, "")
    for name in AGENTS.names():
        check(AGENTS.get(name).Options, "agent.")


@pytest.mark.parametrize(
    ("text", "value"), [("3e-4", 3e-4), ("1E-2", 0.01), ("5e-05", 5e-5), ("2", 2.0), (".5", 0.5), ("1e3", 1000.0)]
)
def test_floats_as_people_write_them(tmp_path: Path, text: str, value: float) -> None:
    """PyYAML alone reads 3e-4 as a string."""
    settings = read(
        tmp_path, f"stage1: {{focus_learning_rate: {text}}}\nagent: {{init_args: {{learning_rate: {text}}}}}"
    )
    assert settings.config.stage1.focus_learning_rate == value
    assert settings.config.agent.options.learning_rate == value
    again = read(tmp_path, settings.text)
    assert again == settings
    assert read(tmp_path, "name: x", f"--stage1.focus_learning_rate={text}").config.stage1 == settings.config.stage1


def test_later_files_and_options_win(tmp_path: Path) -> None:
    over = tmp_path / "over.yaml"
    over.write_text("stage1: {epochs: 8}\nstage2: {epochs: 9}\n")
    text = "stage0: {epochs: 3}\nstage1: {epochs: 4}\nstage2: {epochs: 5}"
    config = read(tmp_path, text, "--config", str(over), "--stage2.epochs=10").config
    assert (config.stage0.epochs, config.stage1.epochs, config.stage2.epochs) == (3, 8, 10)
    # What a block leaves out keeps its default.
    assert config.stage1.classifier_learning_rate == 0.05


@pytest.mark.parametrize("name", AGENTS.names())
def test_every_agent_can_be_named_three_ways(tmp_path: Path, name: str) -> None:
    found = [
        read(tmp_path, "name: x", f"--agent={name}"),
        read(tmp_path, f"name: x\nagent: {name}"),
        read(tmp_path, f"name: x\nagent: {{class_path: {name}}}"),
    ]
    assert [one.config.agent.name for one in found] == [name] * 3
    assert found[0] == found[1] == found[2]
    assert read(tmp_path, found[0].text) == found[0]


def test_another_agent_drops_the_options_of_the_recipes(tmp_path: Path) -> None:
    recipe = "agent: {class_path: PPOAgent, init_args: {hidden: 8}}"
    other = read(tmp_path, recipe, "--agent=GaussianAgent", "--agent.std=0.5").config.agent
    assert other.options == GaussianOptions(std=0.5)
    assert read(tmp_path, recipe, "--agent.gamma=0.9").config.agent.options.hidden == 8


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_reads_and_reads_back(tmp_path: Path, name: str) -> None:
    settings = load_settings(find_recipe(name))
    assert settings.config.name == name
    assert read(tmp_path, settings.text) == settings


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = "data: {train_list: a.csv, val_list: b.csv, root: videos}"
    config = read(tmp_path, f"{data}\nmodel: {{glance: {{name: resnet18, weights: my.safetensors}}}}").config
    assert config.data.train_list == str(tmp_path / "a.csv")
    assert config.data.root == str(tmp_path / "videos")
    assert config.model.glance.weights == str(tmp_path / "my.safetensors")
    assert config.model.focus.weights == "none"
    assert read(tmp_path, "data: {embedded: moving_digits}").config.data.root == str(tmp_path / "data/moving_digits")


def test_the_skipping_policy_follows_the_agent_but_for_its_overrides(tmp_path: Path) -> None:
    recipe = "agent: {class_path: PPOAgent, init_args: {hidden: 8, gamma: 0.5}}\nskip: {options: {hidden: '64'}}"
    settings = read(tmp_path, recipe, "--skip.options.n_epochs=3")
    assert settings.config.skip.options == PPOOptions(hidden=64, gamma=0.5, n_epochs=3)
    # Only the overrides are written, so that a change of the agent is one of the skipping policy, too.
    assert settings.values["skip"]["options"] == {"hidden": 64, "n_epochs": 3}
    again = read(tmp_path, settings.text, "--agent.gamma=0.25").config
    assert again.skip.options == PPOOptions(hidden=64, gamma=0.25, n_epochs=3)
    other = read(tmp_path, settings.text, "--agent=CenterAgent").config
    assert other.skip.options == PPOOptions(hidden=64, n_epochs=3)


def test_the_skipping_policy_may_be_of_another_class_than_the_agent(tmp_path: Path) -> None:
    """It then takes the agent's network; options come before or after the class, and mix with those of both."""
    recipe = "agent: {class_path: PPOAgent, init_args: {hidden: 8, gamma: 0.5, n_epochs: 7}}"
    arguments = ["--skip.options.group_size=6", "--skip.agent=GRPOAgent", "--skip.options.ent_coef=0.5"]
    settings = read(tmp_path, recipe, *arguments)
    assert settings.config.skip.options == GRPOOptions(hidden=8, group_size=6, ent_coef=0.5)
    assert settings.values["skip"]["options"] == {"ent_coef": 0.5, "group_size": 6}
    assert read(tmp_path, settings.text).config == settings.config
    with pytest.raises(UserError, match=r"unknown key 'skip\.options\.group_size' of PPOAgent"):
        read(tmp_path, settings.text, "--skip.agent=PPOAgent")


@dataclass(frozen=True, kw_only=True)
class ShareOptions:
    """Options of a method."""

    share: float = 0.5
    """In [0, 1]."""

    def __post_init__(self) -> None:
        require(self, "share", 0 <= self.share <= 1, "a number in [0, 1]")


class Shared(WholeFrames):
    """A method with an option."""

    Options = ShareOptions


def test_methods_are_chosen_by_name_each_with_typed_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_entries", {**METHODS._entries, "Shared": Shared})
    assert read(tmp_path, "name: x").config.methods == {}
    settings = read(tmp_path, "methods:\n  WholeFrames:\n  Shared: {share: '0.25'}")
    assert settings.config.methods == {"WholeFrames": NoOptions(), "Shared": ShareOptions(share=0.25)}
    assert settings.values["methods"] == {"WholeFrames": {}, "Shared": {"share": 0.25}}
    assert read(tmp_path, settings.text) == settings
    changed = read(tmp_path, settings.text, "--methods.Shared.share=1", "--methods.WholeFrames=false").config
    assert changed.methods == {"Shared": ShareOptions(share=1.0)}
    assert read(tmp_path, "name: x", "--methods={Shared: {}}").config.methods == {"Shared": ShareOptions()}
    for argument, said in (
        ("--methods.Shared.share=2", "^methods.Shared.share is 2.0; give a number in"),
        ("--methods.Shared.share=much", "^methods.Shared.share is much; expected a number"),
        ("--methods.Shared.shar=1", "did you mean 'methods.Shared.share'"),
        ("--methods.Shared=1", "^methods.Shared is 1; give a block"),
    ):
        with pytest.raises(UserError, match=said):
            read(tmp_path, "name: x", argument)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stage1: {sgd: {momentum: 1}}", "stage1.sgd.momentum is 1.0"),
        ("stage0: {stills: {sgd: {batch_size: 0}}}", "stage0.stills.sgd.batch_size is 0"),
        ("stage1: {compute: {accumulate: 0}}", "stage1.compute.accumulate is 0"),
        ("model: {classifier: {dropout: 1}}", "model.classifier.dropout is 1.0"),
        ("env: {reward: {baseline_positions: -1}}", "env.reward.baseline_positions is -1"),
        ("agent: {class_path: GaussianAgent, init_args: {std: 0}}", "agent.std is 0.0"),
        ("skip: {options: {gamma: 2}}", "skip.options.gamma is 2.0"),
    ],
)
def test_ranges_are_reported_under_the_key_that_was_given(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}; give"):
        read(tmp_path, text)


def test_values_out_of_range() -> None:
    with pytest.raises(UserError, match=r"^momentum is 1"):
        SGDConfig(momentum=1)
    with pytest.raises(UserError, match=r"^batch_size is 0"):
        Stage2Config(batch_size=0)
    with pytest.raises(UserError, match="threads is -1"):
        ExperimentConfig(threads=-1)


def test_weights_in_a_package_are_no_path() -> None:
    values = parse_settings("adafocus", ["--model.glance.weights=package:some/w.pth"]).values
    assert values["model"]["glance"]["weights"] == "package:some/w.pth"
