"""``adafocus``: the command line."""

from __future__ import annotations

import contextlib
import errno
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Sequence

from adafocus_rl import __version__
from adafocus_rl.errors import RankError, UserError
from adafocus_rl.experiments.terminal.command_line import CommandParser, how_to_go_on, sentence
from adafocus_rl.experiments.terminal.interrupts import describe, interruptible, leave_quietly
from adafocus_rl.experiments.terminal.launcher import end_at_once, launched, reports, wait_for_first
from adafocus_rl.experiments.terminal.streams import CLOSED, OutputClosed, fill_descriptors, guarded, let_go
from adafocus_rl.printable import printable

COMMANDS = {
    "train": ("train:train", "run the stages of a recipe and print the results table"),
    "evaluate": ("evaluate:evaluate", "evaluate a run again, or another agent on it"),
    "compare": ("compare:compare", "train agents, or variants of one, with many seeds on one recognizer"),
    "tune": ("tune:tune", "search for options of an agent on the training videos of a run"),
    "replay": ("replay:replay", "show what the agents of a run chose, as a page, a film or a picture"),
    "predict": ("predict:predict", "recognise videos from files, folders of frames or a webcam"),
    "branch": ("branch:branch", "begin a run with the recognizer and the features of another"),
    "export": ("export:export", "write the networks of a run as ONNX files, and a page that runs them in a browser"),
    "card": ("card:card", "write a run as a model folder to share, with its measured results"),
    "select": ("select:select_command", "write the frames and patches that a run selects in videos as data"),
    "features": ("features:features", "build or check a run's feature bank"),
    "data": ("data:data", "make, check, index or extract videos and their lists"),
    "flops": ("flops:flops", "count the compute of a recipe, or of the systems in the paper's table"),
    "import-official": ("import_official:import_official", "turn a checkpoint of the public AdaFocus code into a run"),
    "list": ("data:names", "print the names of recipes, agents, methods, encoders, datasets and rewards"),
    "doctor": ("doctor:doctor", "check the installation, and say what is missing and which command brings it"),
    "bench": ("bench:bench", "measure what the project claims to be fast, as ratios"),
}
"""For each command, the function, imported on demand because torch takes seconds to import, and one line of help."""


def process() -> int:
    """Run the command line of this process, as the program ``adafocus`` does: ``main``, then a quiet exit.

    Returns:
        The exit code.
    """
    fill_descriptors()
    code = 1
    try:
        code = main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    except Exception:
        # A bug of ours or of a plug-in, whose messages may contain anything.
        with contextlib.suppress(Exception), guarded():
            _wait_for_first()
            sys.stderr.writelines(f"{printable(line)}\n" for line in traceback.format_exc().rstrip("\n").split("\n"))
    finally:
        leave_quietly()
        let_go()
        end_at_once(code)
    return code


RANKED = ("train",)
"""Commands that several processes of ``torchrun`` carry out together."""

_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_HINTS_FULL = {"train": ", with --resume: what was finished is kept"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; a user's mistake ends it with one sentence on stderr and exit code 2.

    Args:
        argv: command and arguments; None uses the process's.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with guarded(), interruptible():
        try:
            return _run(arguments)
        except OutputClosed:
            return CLOSED
        except RankError as error:
            return _fail(f"{error}{how_to_go_on(arguments)}")
        except UserError as error:
            return _fail(str(error))
        except OSError as error:
            # A path or disk on which an operation fails; without a file name it is a bug of ours.
            if error.filename is None or error.strerror is None:
                raise
            if error.errno in _FULL:
                advice = f"make space and give the same command again{_HINTS_FULL.get(''.join(arguments[:1]), '')}"
            else:
                advice = "check the path and its permissions"
            return _fail(f"{error.filename}: {error.strerror}; {advice}")
        except (MemoryError, RuntimeError) as error:
            explained = _machine_refused(error)
            if explained is None:
                raise
            return _fail(explained)
        except KeyboardInterrupt as error:
            what, code = describe(error)
            if reports():  # otherwise nothing has begun, and the launcher reports what has ended it
                _fail(what + how_to_go_on(arguments))
            return code


def _run(arguments: Sequence[str]) -> int:
    try:
        command = _command(arguments[:1])
        if launched() and arguments[0] not in RANKED:
            raise UserError(f"`adafocus {arguments[0]}` runs in one process; start it without torchrun")
        code = command(arguments[1:])
    except SystemExit:  # --help
        sys.stdout.flush()
        raise
    # A full disk may raise only now.
    sys.stdout.flush()
    return code


def _command(first: Sequence[str]) -> Callable[[Sequence[str]], int]:
    """Return the function of the command named in the first argument; handle ``--help`` and ``--version``."""
    parser = CommandParser(
        prog="adafocus", description="Adaptive patch selection for video recognition: train, evaluate, inspect."
    )
    parser.add_argument("--version", action="version", version=f"adafocus_rl {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    command: Callable[[Sequence[str]], int] = pkgutil.resolve_name(
        f"{__package__}.{COMMANDS[parser.parse_args(first).command][0]}"
    )
    return command


def _machine_refused(error: MemoryError | RuntimeError) -> str | None:
    """Return a message if torch or Python reports that this machine cannot do what was requested; None for our bugs."""
    operation, found, _ = str(error).partition(" does not have a deterministic implementation")
    if found:
        return f"{operation} cannot be computed deterministically here; leave deterministic out, or false"
    if isinstance(error, MemoryError) or re.search(r"out of memory|not enough memory|allocate memory", str(error)):
        reason = f" ({str(error).splitlines()[0]})" if str(error) else ""
        return f"the memory does not suffice{reason}; give smaller sizes: batch_size, compute.accumulate, data.workers"
    return None


def _fail(text: str) -> int:
    _wait_for_first()
    sentence(text)
    return UserError.exit_code


def _wait_for_first() -> None:
    if not reports():
        leave_quietly()  # the launcher's signal ends this process without a message
        wait_for_first()
