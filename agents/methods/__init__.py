"""Methods, complete systems that recognise videos, with one interface: AdaFocus, AdaFocus+, whole frames."""

from typing import TYPE_CHECKING

from adafocus_rl.on_demand import on_demand

if TYPE_CHECKING:
    from adafocus_rl.agents.methods.adafocus import AdaFocus, act
    from adafocus_rl.agents.methods.adafocus_plus import AdaFocusPlus, OperatingPoint, ScheduledSkipping
    from adafocus_rl.agents.methods.adaframe import AdaFrame, AdaFrameOptions
    from adafocus_rl.agents.methods.arnet import ARNet, ARNetOptions
    from adafocus_rl.agents.methods.base import FIRST_VISIT, Method, check_knob
    from adafocus_rl.agents.methods.early_exit import EarlyExit
    from adafocus_rl.agents.methods.gfnet import GFNet
    from adafocus_rl.agents.methods.gfnet_options import GFNetOptions
    from adafocus_rl.agents.methods.listen_to_look import ListenToLook, ListenToLookOptions
    from adafocus_rl.agents.methods.liteeval import LiteEval, LiteEvalOptions
    from adafocus_rl.agents.methods.multi_agent import MultiAgent, MultiAgentOptions
    from adafocus_rl.agents.methods.outcome import Cost, Outcome, Steps, Visit
    from adafocus_rl.agents.methods.registry import METHODS
    from adafocus_rl.agents.methods.scsampler import SCSampler, SCSamplerOptions
    from adafocus_rl.agents.methods.stream import Stream
    from adafocus_rl.agents.methods.uniform import UniformFrames, UniformFramesOptions
    from adafocus_rl.agents.methods.whole_frames import WholeFrames
    from adafocus_rl.record import FINE_TUNED, RANDOM_PATCHES
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "adafocus_rl.agents.methods.adafocus": ["AdaFocus", "act"],
            "adafocus_rl.agents.methods.adafocus_plus": ["AdaFocusPlus", "OperatingPoint", "ScheduledSkipping"],
            "adafocus_rl.agents.methods.adaframe": ["AdaFrame", "AdaFrameOptions"],
            "adafocus_rl.agents.methods.arnet": ["ARNet", "ARNetOptions"],
            "adafocus_rl.agents.methods.base": ["FIRST_VISIT", "Method", "check_knob"],
            "adafocus_rl.agents.methods.early_exit": ["EarlyExit"],
            "adafocus_rl.agents.methods.gfnet": ["GFNet"],
            "adafocus_rl.agents.methods.gfnet_options": ["GFNetOptions"],
            "adafocus_rl.agents.methods.listen_to_look": ["ListenToLook", "ListenToLookOptions"],
            "adafocus_rl.agents.methods.liteeval": ["LiteEval", "LiteEvalOptions"],
            "adafocus_rl.agents.methods.multi_agent": ["MultiAgent", "MultiAgentOptions"],
            "adafocus_rl.agents.methods.outcome": ["Cost", "Outcome", "Steps", "Visit"],
            "adafocus_rl.agents.methods.registry": ["METHODS"],
            "adafocus_rl.agents.methods.scsampler": ["SCSampler", "SCSamplerOptions"],
            "adafocus_rl.agents.methods.stream": ["Stream"],
            "adafocus_rl.agents.methods.uniform": ["UniformFrames", "UniformFramesOptions"],
            "adafocus_rl.agents.methods.whole_frames": ["WholeFrames"],
            "adafocus_rl.record": ["FINE_TUNED", "RANDOM_PATCHES"],
        },
    )

__all__ = [
    "FINE_TUNED",
    "FIRST_VISIT",
    "METHODS",
    "RANDOM_PATCHES",
    "ARNet",
    "ARNetOptions",
    "AdaFocus",
    "AdaFocusPlus",
    "AdaFrame",
    "AdaFrameOptions",
    "Cost",
    "EarlyExit",
    "GFNet",
    "GFNetOptions",
    "ListenToLook",
    "ListenToLookOptions",
    "LiteEval",
    "LiteEvalOptions",
    "Method",
    "MultiAgent",
    "MultiAgentOptions",
    "OperatingPoint",
    "Outcome",
    "SCSampler",
    "SCSamplerOptions",
    "ScheduledSkipping",
    "Steps",
    "Stream",
    "UniformFrames",
    "UniformFramesOptions",
    "Visit",
    "WholeFrames",
    "act",
    "check_knob",
]
