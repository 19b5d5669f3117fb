"""A search with optuna: trials one after another, kept in a journal, so that an interrupted search goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adafocus_rl.errors import UserError, needs_extra
from adafocus_rl.experiments.compare.bases import base_of, recognizer_hash
from adafocus_rl.experiments.compare.variants import Variant, flat
from adafocus_rl.experiments.config.parser import Settings, load_settings
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.experiments.tune.objective import Goal, Objective
from adafocus_rl.experiments.tune.space import Dimension
from adafocus_rl.files import naming, write_json, write_text
from adafocus_rl.folders import make_folders
from adafocus_rl.seeding import derive_seed
from adafocus_rl.yaml_text import dump_yaml

JOURNAL, RESULT, BEST, ABLATION = "journal.log", "tune.json", "best.yaml", "compare.yaml"
"""Names of the files of a search."""

REASON = "reason"
"""Attribute of a failed trial; those of killed processes have none."""

STARTUP = 5
"""Number of trials before one is ended early because it is below the median of the others."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched for."""

    folder: RunFolder
    """The run."""
    out: Path
    """Folder for all output."""
    agent: Variant
    """The agent, and the options of it that stay as they are."""
    space: Sequence[Dimension]
    """The keys to change."""
    file: Path
    """The file of the space, for messages."""
    goal: Goal
    """What is maximised."""
    trials: int
    """Number of trials, those of earlier calls included."""
    arguments: Sequence[str] = ()
    """``--KEY=VALUE`` arguments that apply to all trials."""

    def settings(self, values: Mapping[str, Any]) -> Settings:
        """Return the configuration with these values of keys of the space.

        Raises:
            UserError: if a key is unknown, or a value does not fit.
        """
        file = self.file if values else None
        variant = Variant(name=self.agent.name, overrides={**self.agent.overrides, **values}, file=file)
        return variant.settings(self.folder, self.arguments)


def require_optuna() -> Any:
    """Return optuna, quiet about what this command reports itself.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise needs_extra("`adafocus tune`", "optuna", extra="hpo") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def check(search: Search) -> None:
    """Check every key of the space, at both ends of its range or with all of its values.

    Raises:
        UserError: if a key is unknown, a value does not fit, or a key changes more than stage II.
    """
    stored = load_settings(search.folder.config)
    search.settings({})  # a mistake in the agent's options is none of the space
    for dimension in search.space:
        for value in dimension.values:
            wanted = search.settings({dimension.key: value})
            if base_of(search.folder, stored, wanted, search.out, name=dimension.key).changed:
                raise UserError(
                    f"{search.file}: {dimension.key} changes the features or f_C; give keys of the agent, env or stage2"
                )
            if wanted.config.stage2.features != "bank":
                raise UserError("stage2.features is live, but `adafocus tune` trains on the bank; leave it at bank")


def carry_out(search: Search) -> dict[str, Any]:
    """Do the trials that are missing, and write the result, the best values and an ablation that tests them.

    Args:
        search: the search, checked.

    Returns:
        The content of tune.json.

    Raises:
        UserError: if the run is not complete, or no trial has a result.
    """
    optuna = require_optuna()
    run = Run.open(search.folder.path)
    run.check_videos()
    objective = Objective(run, search.goal)
    make_folders(search.out)
    with naming(search.out / JOURNAL):
        study = _study(optuna, search, run.config.seed)
        while (number := len(_counted(study))) < search.trials:
            # A function of the number of trials, so that a search that goes on proposes what one without a break does.
            study.sampler = optuna.samplers.TPESampler(seed=derive_seed(run.config.seed, "tune", number) % 2**32)
            trial = _try(optuna, search, study, objective)
            say(f"trial {number + 1} of {search.trials}: {_line(trial)}")
    return _write(search, study, objective)


def _try(optuna: Any, search: Search, study: Any, objective: Objective) -> Any:
    """Carry out one trial and return it."""
    trial = study.ask()
    values = {dimension.key: dimension.suggest(trial) for dimension in search.space}

    def report(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        config = search.settings(values).config
        found, top1 = objective.value(config, search.out / "trials" / f"{trial.number:04d}", report)
    except optuna.TrialPruned:
        return study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except UserError as error:
        # Values that diverge are a result of a search.
        say(f"warning: {error}")
        trial.set_user_attr(REASON, str(error))
        return study.tell(trial, state=optuna.trial.TrialState.FAIL)
    trial.set_user_attr("top1", top1)
    return study.tell(trial, found)


def _study(optuna: Any, search: Search, seed: int) -> Any:
    """Open the search of this identity, or begin it with the values that the run has now."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    identity = json.dumps(
        [
            recognizer_hash(search.folder), search.settings({}).values, search.goal, seed,
            [repr(dimension) for dimension in search.space],
        ]
    )  # fmt: skip
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(search.out / JOURNAL))),
        study_name=hashlib.sha256(identity.encode()).hexdigest()[:16],
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
    )
    if not study.trials:
        now = dict(flat(search.settings({}).values))
        known = {one.key: now.get(one.key.replace("agent.", "agent.init_args.", 1)) for one in search.space}
        study.enqueue_trial({one.key: known[one.key] for one in search.space if one.holds(known[one.key])})
    for trial in study.trials:
        # Of a killed process: its values are tried again, and it does not count.
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
    return study


def _counted(study: Any) -> list[Any]:
    """Return the trials that are done, without those of killed processes."""
    return [
        trial
        for trial in study.trials
        if trial.state.name in ("COMPLETE", "PRUNED") or (trial.state.name == "FAIL" and REASON in trial.user_attrs)
    ]


def _line(trial: Any) -> str:
    values = ", ".join(f"{key}={_short(value)}" for key, value in trial.params.items())
    reached = {"COMPLETE": f"{trial.value:.4f}" if trial.value is not None else "", "PRUNED": "ended early"}
    return f"{reached.get(trial.state.name, 'failed')} ({values})"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(search: Search, study: Any, objective: Objective) -> dict[str, Any]:
    """Write and return the result; write the best values as an overlay, and as an ablation beside the run's own.

    Raises:
        UserError: if no trial was trained to its end.
    """
    trials = _counted(study)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if not complete:
        raise UserError(f"none of the {len(trials)} trials has a result; the reasons are above")
    best = max(complete, key=lambda trial: float(trial.value))
    content = {
        "run": str(search.folder.path),
        "agent": search.agent.name,
        "objective": search.goal,
        "videos": {"train": len(objective.train.videos), "held_out": len(objective.held_out.videos)},
        "best": trials.index(best) + 1,
        "trials": [
            {
                "state": trial.state.name.lower(),
                "values": dict(trial.params),
                search.goal: trial.value,
                "epochs": len(trial.intermediate_values),
                **trial.user_attrs,
            }
            for trial in trials
        ],
    }
    write_json(search.out / RESULT, content)
    overrides = {**search.agent.overrides, **best.params}
    write_text(search.out / BEST, dump_yaml(_overlay(overrides)))
    both = [{"name": "as it was", "overrides": search.agent.overrides}, {"name": "tuned", "overrides": overrides}]
    write_text(search.out / ABLATION, dump_yaml(both))
    return content


def _overlay(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys as the nested blocks of a recipe."""
    nested: dict[str, Any] = {}
    for key, value in overrides.items():
        path = key.replace("agent.", "agent.init_args.", 1) if key.startswith("agent.") else key
        path = "agent.class_path" if key == "agent" else path
        *above, last = path.split(".")
        block = nested
        for name in above:
            block = block.setdefault(name, {})
        block[last] = value
    return nested
