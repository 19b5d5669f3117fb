"""``adafocus tune``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.cli.options import AGENT_HELP
from adafocus_rl.experiments.terminal.command_line import CommandParser, at_most, command_text, print_json
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.experiments.terminal.tables import PlainTable
from adafocus_rl.files import user_path

SHOWN = 10
"""Number of trials in the table."""


def tune(argv: Sequence[str]) -> int:
    """Run ``adafocus tune RUN --space FILE``."""
    parser = CommandParser(
        prog="adafocus tune",
        description="Search for options of an agent with optuna: trials train stage II on three quarters of the run's "
        "training videos, and are measured on the last quarter. A rerun does only what is missing. Further arguments "
        "--KEY=VALUE change the configuration of all trials.",
    )
    parser.add_argument("run", help="run folder, at least after stage 1 and with its bank")
    parser.add_argument("--agent", metavar="AGENT", help=f"the agent (default: the run's): {AGENT_HELP}")
    parser.add_argument(
        "--space", required=True, metavar="FILE", help="YAML: keys, each with {low, high, log} or a list of values"
    )
    parser.add_argument("--trials", type=at_most(100_000), default=30, metavar="N", help="trials (default: 30)")
    parser.add_argument(
        "--objective", choices=("reward", "top1"), default="reward",
        help="what is maximised: the mean return of the run's own reward (default), or top-1",
    )  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="folder for all output (default: RUN/tune)")
    parser.add_argument("--json", action="store_true", help="print tune.json on stdout instead of the table")
    options, rest = parser.parse_known_args(argv)
    if options.trials < 1:
        raise UserError(f"--trials is {options.trials}; give at least 1")
    if unexpected := [argument for argument in rest if not argument.startswith("--") or "=" not in argument]:
        raise UserError(f"unexpected argument {unexpected[0]!r}; keys of the configuration are given as --KEY=VALUE")

    from adafocus_rl.experiments.compare.variants import agent_variant
    from adafocus_rl.experiments.config.parser import load_settings
    from adafocus_rl.experiments.run.folder import existing_folder
    from adafocus_rl.experiments.run.lock import locked
    from adafocus_rl.experiments.tune.objective import Goal
    from adafocus_rl.experiments.tune.space import read_space
    from adafocus_rl.experiments.tune.study import ABLATION, BEST, Search, carry_out, check, require_optuna

    assert options.objective in get_args(Goal)
    require_optuna()
    folder = existing_folder(options.run)
    search = Search(
        folder=folder,
        out=user_path(options.out) if options.out else folder.output / "tune",
        agent=agent_variant(options.agent or load_settings(folder.config).config.agent.name),
        space=read_space(user_path(options.space)),
        file=user_path(options.space),
        goal=options.objective,
        trials=options.trials,
        arguments=rest,
    )
    check(search)
    with locked(search.out, command_text("adafocus", "tune", *argv)):
        content = carry_out(search)
    if options.json:
        print_json(content)
    else:
        _print(content)
    counts = content["videos"]
    say(
        f"chosen on {counts['held_out']} of the run's training videos, after training on {counts['train']}; the "
        "validation videos had no part in it. f_C knows all of these videos from stage I, so the numbers above are "
        "higher than on new ones."
    )
    say(f"wrote {search.out / BEST}; `adafocus train RECIPE --config {search.out / BEST}` uses it, and")
    say(f"`adafocus compare {options.run} --ablation {search.out / ABLATION} --seeds 5` measures what it is worth")
    return 0


def _print(content: Mapping[str, Any]) -> None:
    """Print the best trials."""
    goal = content["objective"]
    complete = [(number, trial) for number, trial in enumerate(content["trials"], 1) if trial["state"] == "complete"]
    measured = list(dict.fromkeys((goal, "top1")))
    table = PlainTable(f"{content['agent']}: the best of {len(content['trials'])} trials")
    table.column("trial", *measured, *complete[0][1]["values"])
    for number, trial in sorted(complete, key=lambda one: -float(one[1][goal]))[:SHOWN]:
        cells = [*(trial[name] for name in measured), *trial["values"].values()]
        table.row(str(number), *(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells))
    table.print()
