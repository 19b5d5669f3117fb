"""Commands that compute nothing, and imports, do not load the libraries that are slow to import."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from adafocus_rl.agents import AGENTS
from adafocus_rl.agents.methods import METHODS
from adafocus_rl.data import DATASETS
from adafocus_rl.envs import REWARDS
from adafocus_rl.experiments.cli.data import ACTIONS
from adafocus_rl.experiments.cli.entry import COMMANDS
from adafocus_rl.models import CLASSIFIERS, ENCODERS
from adafocus_rl.registry import Registry

SLOW = [
    *("torch", "torchvision", "stable_baselines3", "tensorboard", "matplotlib"),
    *("cv2", "av", "sklearn", "scipy", "PIL"),
]
SLOW_BESIDE_TORCH = [name for name in SLOW if name not in ("torch", "av", "PIL")] + ["torch._dynamo", "sympy"]

PACKAGES = [
    *("adafocus_rl", "adafocus_rl.agents", "adafocus_rl.agents.methods", "adafocus_rl.data", "adafocus_rl.envs"),
    *("adafocus_rl.features", "adafocus_rl.models", "adafocus_rl.experiments.config.parser"),
]


def loaded(script: str, names: list[str]) -> list[str]:
    """Which of some modules are loaded in a fresh process at the end of a script."""
    script += f"\nimport json, sys\nsys.stderr.write(json.dumps([name for name in {names!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return found


def test_commands_that_compute_nothing() -> None:
    """One after the other in one process: the first that loads something is the culprit."""
    helps = [[name, "--help"] for name in COMMANDS] + [["data", name, "--help"] for name in ACTIONS]
    commands = [["--version"], ["--help"], ["list"], ["list", "--json"], *helps]
    script = f"""
import sys
from adafocus_rl.experiments.cli.entry import main
for command in {commands!r}:
    try:
        code = main(command)
    except SystemExit as end:
        code = end.code
    assert not code, command
    culprits = [name for name in {SLOW!r} if name in sys.modules]
    assert not culprits, f"{{command}} loads {{culprits}}"
"""
    assert loaded(script, SLOW) == []


def test_a_mistake_in_the_options_is_found_before_torch_is_loaded() -> None:
    script = "from adafocus_rl.experiments.cli.entry import main\nassert main(['predict', 'runs/x', '--topp=3']) == 2"
    assert loaded(script, SLOW) == []


def test_packages() -> None:
    assert loaded(f"import {', '.join(PACKAGES)}", SLOW) == []


def test_classes_need_torch_but_nothing_slow_on_top_of_it() -> None:
    script = (
        "from adafocus_rl.agents import *\nfrom adafocus_rl.envs import *\nfrom adafocus_rl.features import FeatureBank"
    )
    assert loaded(script, SLOW_BESIDE_TORCH) == []


@pytest.mark.parametrize(
    "registry", [AGENTS, METHODS, REWARDS, ENCODERS, CLASSIFIERS, DATASETS], ids=lambda one: one.kind
)
def test_every_entry_is_where_its_registry_says(registry: Registry[Any]) -> None:
    for name in registry:
        found = registry.get(name)
        assert callable(found)
        if registry in (AGENTS, METHODS):
            assert found.__name__ == name
