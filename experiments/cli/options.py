"""Options that several commands share."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, get_args

from adafocus_rl.data.formats import ListFormat
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.terminal.command_line import CommandParser
from adafocus_rl.features.options import Precision

if TYPE_CHECKING:
    from adafocus_rl.experiments.predict import Predictor

FEATURES_HELP = "keep the features in this folder, which other runs may share; the run remembers it"
"""Help text of the option ``--features`` in all commands that have it."""

AGENT_HELP = "a name of `adafocus list` or a label of the results table, with options: best_patch:width=4"
"""Help text of options that name an agent."""

RECORDED_SECONDS = 4.0
"""Seconds to record from a webcam if none are given."""

MOST_SECONDS = 60
"""Maximum seconds to record from a webcam: all frames are held in memory, some 30 MB per second."""


def add_system_options(parser: CommandParser) -> None:
    """Add the options that name the system with which videos are recognised: arguments of ``Predictor.load``."""
    parser.add_argument("--agent", metavar="AGENT", help=f"another agent: {AGENT_HELP}")
    parser.add_argument("--method", metavar="NAME", help="another method: WholeFrames, …, with the run's options")
    parser.add_argument(
        "--knob", type=float, metavar="X", help="operating point of the method; for the run's agent, λ of its π′"
    )
    parser.add_argument("--device", help="cpu, cuda, … (default: the run's)")
    add_deploy_options(parser)


def add_deploy_options(parser: CommandParser) -> None:
    """Add the options of the networks' deployed form: arguments of ``Run.deploy``."""
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help="type in which f_G and f_L compute when they run on frames (default: float32)",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile f_G and f_L with torch.compile, which takes a minute or more and needs a C++ compiler",
    )


def load_system(options: Namespace, *, probabilities: bool = False) -> Predictor:
    """Load the system that the options of ``add_system_options`` name; see ``Predictor.load``."""
    from adafocus_rl.experiments.predict import Predictor

    return Predictor.load(
        options.run,
        agent=options.agent,
        method=options.method,
        knob=options.knob,
        device=options.device,
        probabilities=probabilities,
        precision=options.precision,
        compile=options.compile,
    )


def add_seconds_option(parser: CommandParser, *, otherwise: str = "") -> None:
    """Add the option for the seconds of a webcam.

    Args:
        parser: the command's parser.
        otherwise: what the help says about other uses.
    """
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help=f"seconds to record from a webcam (default: {RECORDED_SECONDS:g}{otherwise})",
    )


def recorded_seconds(given: float | None) -> float:
    """Return the seconds to record from a webcam.

    Raises:
        UserError: if they are out of range.
    """
    seconds = RECORDED_SECONDS if given is None else given
    if not 0 < seconds <= MOST_SECONDS:
        raise UserError(f"--seconds is {seconds}; give a number above 0, and at most {MOST_SECONDS}")
    return seconds


def add_list_options(parser: CommandParser) -> None:
    """Add the options that control how a list file is read."""
    parser.add_argument("--root", metavar="DIR", help="folder that the list's paths start from (default: the list's)")
    parser.add_argument("--classes", metavar="FILE", help="class names (default: the file of names beside the list)")
    parser.add_argument("--format", choices=get_args(ListFormat), help="format of the list (default: detected)")
    parser.add_argument(
        "--template", help="names of the frames in folders, such as 'image_{:05d}.jpg' (default: found per folder)"
    )
