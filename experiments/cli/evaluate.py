"""``adafocus evaluate``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.options import AGENT_HELP, FEATURES_HELP, add_deploy_options
from adafocus_rl.experiments.terminal.command_line import CommandParser, command_text


def evaluate(argv: Sequence[str]) -> int:
    """Run ``adafocus evaluate RUN``."""
    parser = CommandParser(prog="adafocus evaluate", description="Evaluate a run on its validation videos.")
    parser.add_argument("run", help="run folder")
    parser.add_argument("--agent", metavar="AGENT", help=f"evaluate only this agent, and write nothing: {AGENT_HELP}")
    parser.add_argument(
        "--budget",
        nargs="+",
        type=float,
        default=(),  # an empty list would mean an option without a value
        metavar="GMACS",
        help="add the agent with early exit: it stops a video once it is confident, at this mean compute per video",
    )
    add_deploy_options(parser)
    parser.add_argument("--features", metavar="DIR", help=FEATURES_HELP)
    parser.add_argument("--strict", action="store_true", help="stop at the first video that cannot be decoded")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout instead of the table")
    options = parser.parse_args(argv)
    if any(not 0 < budget < math.inf for budget in options.budget):
        raise UserError(f"--budget is {' '.join(f'{budget:g}' for budget in options.budget)}; give numbers above 0")

    from adafocus_rl.experiments.cli.finish import finish, print_found
    from adafocus_rl.experiments.evaluation.evaluate import evaluate as evaluate_run
    from adafocus_rl.experiments.evaluation.evaluate import evaluate_one
    from adafocus_rl.experiments.run.features import RunFeatures
    from adafocus_rl.experiments.run.folder import existing_folder
    from adafocus_rl.experiments.run.handover import load_recognizer
    from adafocus_rl.experiments.run.lock import locked
    from adafocus_rl.experiments.run.run import Run
    from adafocus_rl.experiments.run.steps import RANDOM_PATCHES
    from adafocus_rl.experiments.run.store import use_store
    from adafocus_rl.experiments.training.methods import other_methods

    chosen: dict[str, Any] = {
        "budgets": list(dict.fromkeys(options.budget)),
        "precision": options.precision,
        "compile": options.compile,
    }
    with locked(existing_folder(options.run).path, command_text("adafocus", "evaluate", *argv)):
        run = Run.open(options.run, strict=options.strict)
        run.check_videos()
        use_store(run.folder, options.features)
        features = RunFeatures(run, load_recognizer(run, RANDOM_PATCHES.name))
        if options.agent is None:
            others = partial(other_methods, run, features)
            finish(run, evaluate_run(run, features, others, **chosen), as_json=options.json)
        else:
            print_found(run, evaluate_one(run, features, options.agent, **chosen), as_json=options.json)
    return 0
