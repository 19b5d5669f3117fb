"""The registry of methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adafocus_rl.registry import Registry

if TYPE_CHECKING:
    from adafocus_rl.agents.methods.base import Method

METHODS: Registry[type[Method]] = Registry(
    "method",
    "adafocus_rl.methods",
    {
        "ARNet": "adafocus_rl.agents.methods.arnet:ARNet",
        "AdaFrame": "adafocus_rl.agents.methods.adaframe:AdaFrame",
        "GFNet": "adafocus_rl.agents.methods.gfnet:GFNet",
        "ListenToLook": "adafocus_rl.agents.methods.listen_to_look:ListenToLook",
        "LiteEval": "adafocus_rl.agents.methods.liteeval:LiteEval",
        "MultiAgent": "adafocus_rl.agents.methods.multi_agent:MultiAgent",
        "SCSampler": "adafocus_rl.agents.methods.scsampler:SCSampler",
        "UniformFrames": "adafocus_rl.agents.methods.uniform:UniformFrames",
        "WholeFrames": "adafocus_rl.agents.methods.whole_frames:WholeFrames",
    },
)
"""Methods by class name. A configuration enables them (``methods.NAME``); ``adafocus list`` shows them."""
