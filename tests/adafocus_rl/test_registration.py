"""Gymnasium's ids: there as soon as the package is imported, and no import slower for it."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings

import gymnasium as gym
import pytest
from gymnasium.envs.registration import load_env_creator

import adafocus_rl
from adafocus_rl import ENVIRONMENTS


def test_importing_the_package_registers_the_ids_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, adafocus_rl, gymnasium\n"
        "print(*sorted(name for name in gymnasium.registry if name.startswith('AdaFocus/')))\n"
        "print(*sorted({'torch', 'cv2', 'stable_baselines3', 'adafocus_rl.envs'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ids, heavy = done.stdout.splitlines()
    assert ids.split() == sorted(ENVIRONMENTS)
    assert heavy == ""


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_id_has_something_that_makes_it(name: str) -> None:
    spec = gym.spec(name)
    assert (spec.entry_point, spec.vector_entry_point) == ENVIRONMENTS[name]
    for entry_point in ENVIRONMENTS[name]:
        assert callable(load_env_creator(entry_point))


def test_registering_twice_is_no_mistake() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(adafocus_rl)
