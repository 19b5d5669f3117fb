"""Compute of agents that do not state it, counted while they act."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch.utils.flop_counter import FlopCounterMode

from adafocus_rl.envs.spaces import Observation


class Predicting(Protocol):
    """What is needed of an agent."""

    device: torch.device

    def predict(self, observation: Observation, *, deterministic: bool) -> object:
        """As ``Agent.predict``."""


def counted_macs(agent: Predicting, observation: Observation) -> int:
    """Return the multiply-accumulates that torch counts in one call of an agent's ``predict``.

    A warning names the agent if nothing can be counted, because its rows would then have the compute of a rule. The
    states of generators are as before afterwards.

    Args:
        agent: the agent.
        observation: (1, …), on CPU.
    """
    name = type(agent).__name__
    advice = f"implement {name}.macs_per_step, which returns the multiply-accumulates of one decision"
    generators = [value for value in vars(agent).values() if isinstance(value, torch.Generator)]
    states = [generator.get_state() for generator in generators]
    if isinstance(observation, torch.Tensor):
        observation = observation.to(agent.device)
    else:
        observation = {name: part.to(agent.device) for name, part in observation.items()}
    devices = [agent.device] if agent.device.type == "cuda" else []
    try:
        # oneDNN runs an LSTM as one operator that is not counted; switching it off warns about other vendors' devices.
        with (
            _silent(),
            torch.random.fork_rng(devices=devices),
            torch.no_grad(),
            torch.backends.mkldnn.flags(enabled=False),
            FlopCounterMode(display=False) as counter,
        ):
            agent.predict(observation, deterministic=True)
    except Exception as error:
        # Other people's code, which may need more than zeros to act on; the results do not depend on it.
        reason = f"its predict fails on zeros ({type(error).__name__}: {error})"
    else:
        if found := int(counter.get_total_flops()) // 2:
            return found
        reason = "torch counts no multiply-accumulates in its predict"
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
    warnings.warn(f"{name} learns, but its compute counts as 0: {reason}; {advice}", UserWarning, stacklevel=3)
    return 0


@contextmanager
def _silent() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
