"""Numbers, paths, names, files and third parties' agents that no configuration should hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest

from adafocus_rl.agents import AGENTS, GaussianOptions, PPOOptions, SB3Agent, SB3Options
from adafocus_rl.agents.fixed import CenterAgent
from adafocus_rl.data import DATASETS
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.chosen import Keys
from adafocus_rl.experiments.config.embedded import maker_config
from adafocus_rl.experiments.config.parser import Settings, parse_settings
from adafocus_rl.experiments.run.runtime import find_device
from adafocus_rl.options import options_of

HINTS = dict(Keys().leaves())
PATHS = [
    "data.root", "data.train_list", "data.val_list", "data.stills_list", "data.classes",
    "model.glance.weights", "model.focus.weights",
]  # fmt: skip


def parse(*arguments: str) -> Settings:
    return parse_settings("test", arguments)


def kinds(hint: Any) -> set[Any]:
    """The scalar types in an annotation."""
    return {hint} if not get_args(hint) else {kind for part in get_args(hint) for kind in kinds(part)}


def floats() -> Iterator[tuple[str, Any, str]]:
    """Every option with a number that may be no whole one: what names it, its annotation, what comes before."""
    for key, hint in HINTS.items():
        yield f"--{key}=", hint, ""
    for name in AGENTS.names():
        for key, option in options_of(AGENTS.get(name).Options).items():
            yield f"--agent.{key}=", option.hint, f"--agent={name}"
    for key, option in options_of(PPOOptions).items():
        yield f"--skip.options.{key}=", option.hint, ""
    for name in DATASETS.names():
        for key, option in options_of(maker_config(name)).items():
            yield f"--data.embedded_options.{key}=", option.hint, f"--data.embedded={name}"


FLOATS = [(argument, hint, before) for argument, hint, before in floats() if float in kinds(hint)]


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_every_number_is_finite(value: str) -> None:
    assert len(FLOATS) > 60
    for argument, hint, before in FLOATS:
        count = len([part for part in get_args(hint) if part is float])
        text = f"[{', '.join([value] * max(1, count))}]" if hint not in (float, float | None) else value
        with pytest.raises(UserError, match=r"is .*(nan|inf).*; give (a )?finite number"):
            parse(*filter(None, [before]), f"{argument}{text}")


@pytest.mark.parametrize("value", [".nan", ".inf"])
def test_nested_free_values_are_finite(value: str) -> None:
    with pytest.raises(UserError, match="finite"):
        parse("--agent=SB3Agent", f"--agent.options={{a: [{{b: {value}}}]}}")


@pytest.mark.parametrize("option", ["ent_coef", "vf_coef", "learning_rate", "ent_coef_final"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_options_made_from_code_are_finite_too(option: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^{option} is {value}; give a finite number"):
        PPOOptions(**{option: value})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"^std is {value}"):
        GaussianOptions(std=value)


def test_every_whole_number_has_an_upper_limit() -> None:
    whole = [key for key, hint in HINTS.items() if int in kinds(hint) and key != "seed"]
    assert len(whole) > 30
    for key in whole:
        value = ("[{}]" if HINTS[key] == list[int] else "{}").format
        with pytest.raises(UserError, match=rf"^{key} is .*{10**15}.*; give at most \d+$") as refused:
            parse(f"--{key}={value(10**15)}")
        limit = int(str(refused.value).rpartition(" ")[2])
        with pytest.raises(UserError, match=rf"^{key} is .*{limit + 1}.*; give at most {limit}$"):
            parse(f"--{key}={value(limit + 1)}")


@pytest.mark.parametrize("value", ["9" * 19, "9" * 5000, "-" + "9" * 30, "1e400", "0x" + "f" * 40])
def test_integers_of_any_length(value: str) -> None:
    for key in (key for key, hint in HINTS.items() if int in kinds(hint)):
        with pytest.raises(UserError, match=key):
            parse(f"--{key}={value}")


@pytest.mark.parametrize("value", [0, -1, 2**63 - 1, -(2**63) + 1])
def test_any_seed_that_a_tensor_can_hold(value: int) -> None:
    assert parse(f"--seed={value}").config.seed == value


@pytest.mark.parametrize("agent", ["PPOAgent", "SB3Agent"])
@pytest.mark.parametrize("option", ["hidden", "reduced_channels"])
def test_layers_wider_than_any_memory(agent: str, option: str) -> None:
    with pytest.raises(UserError, match=f"agent.{option} is 1000000000; give at least 1 and at most"):
        parse(f"--agent={agent}", f"--agent.{option}={10**9}")


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "meta",
        "cuda:99",
        "cuda:-1",
        "cuda:" + "9" * 40,
        "hpu",
        "privateuseone",
        "xla",
        "CPU",
        "cpu\0",
        "\ud800",
    ],
)
def test_devices(name: str) -> None:
    with pytest.raises(UserError, match=r"device .* cannot be used here .*; try --device=cpu"):
        find_device(name)


@pytest.mark.parametrize("key", PATHS)
def test_paths(key: str, tmp_path: Path) -> None:
    end = ".pth" if key.endswith("weights") else "/x"
    with pytest.raises(UserError, match=r"~nouser.* home folder of a user who is not known"):
        parse(f"--{key}=~nouser{end}" if end == "/x" else f"--{key}=~nouser/x{end}")
    (tmp_path / "r.yaml").write_text(f'{{{key}: "a\\0b{end}"}}')
    with pytest.raises(UserError, match="no text"):
        parse(f"--config={tmp_path / 'r.yaml'}")
    with pytest.raises(UserError, match="no text"):
        parse(f"--{key}=a\udcff{end}")


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/.."])
def test_a_name_stays_among_the_runs(name: str) -> None:
    with pytest.raises(UserError, match=r"leads out of the folder of runs"):
        parse(f"--name={name}")


def test_odd_letters_in_a_name_are_kept() -> None:
    for name in ("λ é", "a\x85b", "\u2028", "'\"#: -", "\x1b[31m", "null", "1e3", "2024-01-01", "\U0001f600"):
        settings = parse(f"--name={name}")
        assert settings.config.name == name


def test_odd_letters_are_read_back(tmp_path: Path) -> None:
    for name in ("λ é", "a\x85b", "\u2028", "'\"#: -", "\x1b[31m", "null", "1e3", "\U0001f600", "\ufeff"):
        settings = parse(f"--name={name}")
        (tmp_path / "config.yaml").write_text(settings.text, encoding="utf-8")
        assert parse_settings("test", [f"--config={tmp_path / 'config.yaml'}"]) == settings


@dataclass(frozen=True, kw_only=True)
class HostileOptions:
    """Options that only code could fill."""

    call: Callable[[str], int] = len
    """A function."""

    kind: type[Any] = dict
    """A class."""

    thing: object = None
    """An object."""

    maybe: Callable[[], int] | None = None
    """A function, or nothing."""

    calls: list[Callable[[], int]] = field(default_factory=list)
    """Functions."""

    free: Any = None
    """Anything."""

    path: Path = Path("a")
    """A path."""

    block: dict[str, Any] = field(default_factory=dict)
    """Anything by name."""


class HostileAgent(CenterAgent):
    """Has options that only code could fill."""

    Options = HostileOptions


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AGENTS, "_entries", {**AGENTS._entries, "HostileAgent": HostileAgent})


CALL = {"class_path": "os.system", "init_args": {"command": "touch mark"}}


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("option", ["call", "kind", "thing", "maybe", "calls"])
@pytest.mark.parametrize("value", ["os.system", str(CALL), f"[{CALL}]", "{}"])
def test_options_that_only_code_could_fill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"agent\.{option} (takes .* which no file|is .*; expected null)"):
        parse("--agent=HostileAgent", f"--agent.{option}={value}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("hostile")
def test_options_that_take_anything_take_plain_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [f"--agent.free=[{CALL}]", f"--agent.block={CALL}", "--agent.path=/etc/passwd", "--agent.maybe=null"]
    settings = parse("--agent=HostileAgent", *arguments)
    wanted = {"maybe": None, "free": [CALL], "path": Path("/etc/passwd"), "block": CALL}
    assert settings.config.agent.options == HostileOptions(**wanted)
    assert settings.values["agent"]["init_args"] == {**wanted, "path": "/etc/passwd"}
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "config.yaml").write_text(settings.text)
    assert parse_settings("test", ["--config=config.yaml"]) == settings


@pytest.mark.usefixtures("hostile")
def test_help_of_agents(capsys: pytest.CaptureFixture[str]) -> None:
    for name, said in (("PPOAgent", "Discount γ in [0, 1]"), ("HostileAgent", "Anything by name")):
        with pytest.raises(SystemExit):
            parse(f"--agent.help={name}")
        assert said in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rollout_buffer_class": "os.system"}, "agent.options.rollout_buffer_class is os.system; expected null"),
        ({"policy_kwargs": CALL}, "does not take agent.options.policy_kwargs"),
        ({"tensorboard_log": "x"}, "does not take agent.options.tensorboard_log"),
        ({"learning_rate": "os.system"}, "agent.options.learning_rate is os.system; expected a number"),
        ({"clip_range": CALL}, "agent.options.clip_range is .*; expected a number"),
        ({"env": "CartPole-v1"}, "does not take agent.options.env"),
    ],
)
def test_stable_baselines_options(options: dict[str, Any], message: str) -> None:
    from adafocus_rl.envs import FindThePatchVectorEnv

    with pytest.raises(UserError, match=message):
        SB3Agent(FindThePatchVectorEnv(num_envs=1), SB3Options(options=options))
