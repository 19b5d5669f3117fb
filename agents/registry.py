"""The registry of agents."""

from __future__ import annotations

from typing import Any

from adafocus_rl.registry import Registry

# Agent itself looks a saved agent's class up here, and must not be imported: hence Any.
AGENTS: Registry[type[Any]] = Registry(
    "agent",
    "adafocus_rl.agents",
    {
        "AllActionsAgent": "adafocus_rl.agents.all_actions:AllActionsAgent",
        "BestPatchAgent": "adafocus_rl.agents.oracles:BestPatchAgent",
        "CenterAgent": "adafocus_rl.agents.fixed:CenterAgent",
        "DistilAgent": "adafocus_rl.agents.distil:DistilAgent",
        "GRPOAgent": "adafocus_rl.agents.grpo:GRPOAgent",
        "GaussianAgent": "adafocus_rl.agents.fixed:GaussianAgent",
        "HeuristicAgent": "adafocus_rl.agents.heuristic:HeuristicAgent",
        "LeastEntropyAgent": "adafocus_rl.agents.oracles:LeastEntropyAgent",
        "MapCropAgent": "adafocus_rl.agents.map_crop:MapCropAgent",
        "MostConfidentAgent": "adafocus_rl.agents.oracles:MostConfidentAgent",
        "MotionAgent": "adafocus_rl.agents.fixed:MotionAgent",
        "OracleAgent": "adafocus_rl.agents.fixed:OracleAgent",
        "PPOAgent": "adafocus_rl.agents.ppo.agent:PPOAgent",
        "RandomAgent": "adafocus_rl.agents.fixed:RandomAgent",
        "SB3Agent": "adafocus_rl.agents.sb3.agent:SB3Agent",
        "SoftPatchAgent": "adafocus_rl.agents.soft_patch:SoftPatchAgent",
    },
)
"""Agents (``adafocus_rl.agents.Agent``) by class name, for ``--agent=NAME`` and ``adafocus list``."""
