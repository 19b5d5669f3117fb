"""Plans of a comparison: one run, or the runs of a cross-validation, and the variants with their configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.bases import Base, base_of
from adafocus_rl.experiments.compare.variants import Variant, check_names
from adafocus_rl.experiments.config.parser import Settings, load_settings
from adafocus_rl.experiments.config.recipe_files import find_recipe, recipe_names
from adafocus_rl.experiments.run.folder import RunFolder, existing_folder, named_folder
from adafocus_rl.files import user_path


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The variants to compare on one run, and the folders of the results."""

    title: str
    folder: RunFolder
    stored: Settings
    bases: dict[str, Base]
    """Base of each variant, by name."""
    settings: dict[str, Settings]
    """Configuration of each variant, by name, in the order of the rows."""
    work: Path
    """Folder of trainings, and of recognizers and banks that the run does not have."""
    out: Path
    """Folder of compare.json and the pictures."""
    seeds: int
    finetune: bool
    methods: tuple[str, ...] = ()
    """Labels of the run's own methods whose rows are added."""


def find_run(name: str, folder: str | None) -> RunFolder:
    """Return a run by name: a run folder, or a recipe's name or path, whose run is in ``folder`` or runs/NAME.

    Raises:
        UserError: if there is no such run.
    """
    is_recipe = name in recipe_names() or name.endswith((".yaml", ".yml"))
    if not is_recipe or named_folder(name).config.is_file():
        if folder is not None:
            raise UserError(f"{name} is a run folder, or no recipe, so --run {folder} says it twice; give one of them")
        return existing_folder(name)
    run = named_folder(folder or f"runs/{load_settings(find_recipe(name)).config.name}")
    if not run.config.is_file():
        raise UserError(
            f"there is no run of {name} in {run.path} to compare on; make it with `adafocus train {name} "
            f"--out {run.path}`, or name one with --run"
        )
    return run


def make_plan(
    run: RunFolder,
    variants: Sequence[Variant],
    arguments: Sequence[str],
    *,
    title: str = "",
    out: str | None = None,
    seeds: int = 5,
    finetune: bool = False,
    methods: Sequence[str] = (),
) -> Plan:
    """Read and check all configurations, before any training.

    Args:
        run: the run to compare on.
        variants: the variants to compare.
        arguments: ``--KEY=VALUE`` arguments that apply to all variants.
        title: name of the ablation; empty for a list of agents.
        out: folder for all output; None uses ``compare`` in the run's folder for output.
        seeds: number of trainings per variant.
        finetune: whether stage III follows each training.
        methods: labels of the run's own methods whose rows are added.

    Raises:
        UserError: if a key, a class or a value is wrong, or a variant needs another stage 0.
    """
    check_names(variants)
    work = user_path(out) if out else run.output / "compare"
    stored = load_settings(run.config)
    settings = {variant.name: variant.settings(run, arguments) for variant in variants}
    return Plan(
        title=title or "agents",
        folder=run,
        stored=stored,
        bases={name: base_of(run, stored, wanted, work / "bases", name=name) for name, wanted in settings.items()},
        settings=settings,
        work=work,
        # The ablations of a run share its trainings, but each has its own table.
        out=work if out or not title else work / title,
        seeds=seeds,
        finetune=finetune,
        methods=tuple(dict.fromkeys(methods)),
    )
