"""Nothing that a file or a command line says is imported or called, whichever command reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.variants import as_arguments, read_ablation
from adafocus_rl.experiments.config.parser import parse_settings

MARK = "mark"
CALLS: list[dict[str, Any]] = [
    {"class_path": "os.system", "init_args": {"command": f"touch {MARK}"}},
    {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", MARK]}},
    {"class_path": "builtins.exec", "init_args": {"source": f"open('{MARK}', 'w')"}},
    {"class_path": "builtins.eval", "init_args": {"source": f"open('{MARK}', 'w')"}, "dict_kwargs": {"globals": {}}},
    {"class_path": "antigravity.x", "init_args": {}},
    {"class_path": "evil_module.Agent", "init_args": {"path": MARK}},
    {"class_path": "evil_module.PPOAgent"},
    {"class_path": "torch.hub.load", "init_args": {"repo_or_dir": ".", "model": "evil", "source": "local"}},
]


def places(call: dict[str, Any]) -> list[dict[str, Any]]:
    """The call everywhere in a recipe where something could take it for its own."""
    name = call["class_path"]
    return [
        {"data": {"embedded": "moving_digits", "embedded_options": {"x": call}}},
        {"data": {"embedded": "moving_digits", "embedded_options": {"side": [call, {"deeper": [call]}]}}},
        {"data": {"embedded": "moving_digits", "embedded_options": call}},
        {"data": call},
        {"data": {"root": call}},
        {"data": {"format": name}},
        {"skip": {"options": call}},
        {"skip": {"options": {"learning_rate": call}}},
        {"skip": {"lambdas": [call]}},
        {"agent": call},
        {"agent": name},
        {"agent": {"class_path": call}},
        {"agent": {"class_path": "PPOAgent", "init_args": {"hidden": call}}},
        {"agent": {"class_path": "PPOAgent", "init_args": call}},
        {"agent": {"class_path": "PPOAgent", "dict_kwargs": {"policy": call}}},
        {"agent": {"class_path": "SB3Agent", "dict_kwargs": call}},
        {"agent": {"class_path": "SB3Agent", "init_args": {"algorithm": call}}},
        {"env": {"reward": call}},
        {"env": {"reward": {"kind": call}}},
        {"model": call},
        {"model": {"glance": call}},
        {"model": {"glance": {"name": call}}},
        {"model": {"mean": [call, 1, 1]}},
        {"stage1": {"sgd": call}},
        {"name": call},
        {"x": call},
        {"config": call},
        call,
    ]


TEXTS = [
    f"name: !!python/object/apply:os.system ['touch {MARK}']",
    "name: !!python/name:os.system",
    "agent: !!python/module:antigravity",
    "data: {embedded_options: {x: !!python/object/new:evil_module.Agent {}}}",
    "name: !evil 3",
    "config: /etc/passwd",
    "data: /etc/passwd",
    "print_config: true",
    "agent.help: PPOAgent",
]
ARGUMENTS = [
    "--agent=antigravity.x",
    "--agent.class_path=os.system",
    f"--agent={json.dumps(CALLS[0])}",
    f"--agent.init_args={json.dumps(CALLS[0])}",
    f"--agent.hidden={json.dumps(CALLS[0])}",
    f"--agent.dict_kwargs={json.dumps(CALLS[0])}",
    f"--data.embedded_options={json.dumps({'x': CALLS[0]})}",
    f"--data.embedded_options.x={json.dumps(CALLS[0])}",
    f"--skip.options.hidden={json.dumps(CALLS[0])}",
    f"--env.reward={json.dumps(CALLS[0])}",
    "--data=/etc/passwd",
    "--agent=/etc/passwd",
    "--agent.help=antigravity.x",
]

# Everything that reads a configuration, in one process that reports what was called, imported or written.
PROGRAM = f"""
import contextlib, io, json, sys, traceback
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import gymnasium

import adafocus_rl.envs
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli import entry
from adafocus_rl.models import official

for module, _ in entry.COMMANDS.values():
    import_module("adafocus_rl.experiments.cli." + module.split(":")[0])
found = SimpleNamespace(options={{"model.num_classes": 10}}, family="adafocus", recognizer={{}}, policy={{}},
                        path=Path("x.pth.tar"))
official.read_official = lambda files: found
before, called, wrong = set(sys.modules), [], []
CALLS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "webbrowser.open")
sys.addaudithook(lambda event, arguments: called.append([event, repr(arguments)]) if event in CALLS else None)


def make(run):
    try:
        gymnasium.make("AdaFocus/PatchSelection-v0", run=run)
    except UserError:
        return 2
    return 0


with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
    for text in json.loads(Path("texts.json").read_text()):
        Path("r.yaml").write_text(text)
        Path("run").mkdir(exist_ok=True)
        Path("run/config.yaml").write_text(text)
        for command in (
            ["train", "r.yaml", "--out", "out"], ["train", "moving_digits", "--out", "out", "--config", "r.yaml"],
            ["flops", "r.yaml"], ["data", "check", "x.csv", "--recipe", "r.yaml"], ["compare", "r.yaml"],
            ["compare", "run", "--agents", "PPOAgent"], ["predict", "run", "x.mp4"], ["features", "check", "run"],
            ["replay", "run"], ["evaluate", "run"], ["gymnasium.make"],
            ["import-official", "x.pth.tar", "--out", "out", "--recipe", "r.yaml"],
        ):
            try:
                code = make("run") if command[0] == "gymnasium.make" else entry.main(command)
            except BaseException:
                code = traceback.format_exc()
            if code != 2:
                wrong.append([text, command, code])
new = sorted(set(sys.modules) - before)
print(json.dumps({{"called": called, "new": new, "wrong": wrong, "marked": Path("{MARK}").exists(),
                  "passwd": "root:x:" in said.getvalue()}}))
"""


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """A folder with modules that leave a mark when they are imported."""
    for name in ("evil_module", "hubconf"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / MARK)!r}, 'w')\nclass Agent: pass\n")
    return tmp_path


@pytest.mark.slow
def test_no_command_runs_what_a_file_says(traps: Path) -> None:
    recipes = [json.dumps(recipe) for call in CALLS[:1] for recipe in places(call)]
    others = [json.dumps({"agent": call}) for call in CALLS]
    (traps / "texts.json").write_text(json.dumps([*recipes, *others, *TEXTS]))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, cwd=traps, timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(traps), os.environ.get("PYTHONPATH", "")))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["called"] == []
    assert not found["marked"]
    assert not found["passwd"]
    assert not {"antigravity", "evil_module", "hubconf", "this"} & {*found["new"]}


@pytest.mark.parametrize("call", CALLS, ids=[call["class_path"] for call in CALLS])
def test_a_call_is_refused_everywhere(traps: Path, monkeypatch: pytest.MonkeyPatch, call: dict[str, Any]) -> None:
    monkeypatch.chdir(traps)
    monkeypatch.syspath_prepend(str(traps))
    for recipe in places(call):
        (traps / "r.yaml").write_text(json.dumps(recipe))
        with pytest.raises(UserError):
            parse_settings("test", ["--config=r.yaml"])
    assert not (traps / MARK).exists()
    assert not {"antigravity", "evil_module"} & {*sys.modules}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_arguments_are_refused(
    traps: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    monkeypatch.chdir(traps)
    with pytest.raises(UserError) as caught:
        parse_settings("test", ["--data.embedded=moving_digits", argument])
    assert "root:x" not in str(caught.value)
    assert capsys.readouterr().out == ""
    assert not (traps / MARK).exists()


@pytest.mark.parametrize("key", ["config", "print_config", "help", "agent.help", "x=y", ""])
def test_an_ablation_sets_values_only(traps: Path, capsys: pytest.CaptureFixture[str], key: str) -> None:
    (traps / "a.yaml").write_text(json.dumps([{"name": "a", "overrides": {key: "/etc/passwd"}}]))
    _, variants = read_ablation(str(traps / "a.yaml"))
    with pytest.raises(UserError, match="key"):
        parse_settings("test", as_arguments(variants[0].overrides))
    assert capsys.readouterr().out == ""


def test_what_a_third_party_s_library_takes_stays_plain(traps: Path) -> None:
    """Stable-Baselines3's own options are free; a call among them is a block of text to it."""
    (traps / "r.yaml").write_text(json.dumps({"agent": {"class_path": "SB3Agent", "init_args": {"options": CALLS[0]}}}))
    settings = parse_settings("test", [f"--config={traps / 'r.yaml'}"])
    assert settings.config.agent.options.options == CALLS[0]
    assert settings.values["agent"]["init_args"]["options"] == CALLS[0]
