"""What agents are compared on: a frozen recognizer and its feature banks.

Almost always those of the run itself, which are only read. A variant with another grid needs a bank of its own, and
one with another patch size an f_L and f_C of its own; these lie in the comparison's folder as small runs, so that what
finishes a run's stage I and its banks finishes theirs.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.compare.variants import as_arguments, changed_keys, variant_settings
from adafocus_rl.experiments.config.parser import Settings
from adafocus_rl.experiments.run.features import RunFeatures
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.handover import is_finished, load_recognizer, save_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import BANK, ENCODERS, RANDOM_PATCHES, STILLS, first_affected, keys_of, matters
from adafocus_rl.experiments.run.store import shared_store, use_store
from adafocus_rl.experiments.terminal.command_line import command_text
from adafocus_rl.experiments.training.train import train
from adafocus_rl.models.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class Base:
    """A frozen recognizer with its banks.

    Attributes:
        folder: one with ``checkpoints/stage1.safetensors`` and ``features/``.
        changed: keys in which it differs from the run that is compared on; empty for that run itself.
        stage: the run's stage that it starts from.
    """

    folder: RunFolder
    changed: tuple[tuple[str, Any], ...] = ()
    stage: Literal[0, 1] = 1

    @property
    def needs(self) -> str:
        """What it has of its own."""
        return "its own banks" if self.stage == 1 else "its own stage I and banks"


def base_of(run: RunFolder, stored: Settings, wanted: Settings, folder: Path, *, name: str) -> Base:
    """Which recognizer and banks a variant is trained on.

    Args:
        run: the run that is compared on.
        stored: its configuration.
        wanted: the variant's.
        folder: where recognizers and banks that the run does not have belong.
        name: the variant's, for the message.

    Raises:
        UserError: the variant needs another stage 0, other videos or another f_G.
    """
    changed = {
        key: value
        for key, value in changed_keys(stored.values, wanted.values).items()
        if matters(key, keys_of((STILLS, ENCODERS, RANDOM_PATCHES, BANK)))
    }
    if not changed:
        return Base(folder=run)
    foreign = [key for key in changed if first_affected([key]) in (STILLS, ENCODERS)]
    if foreign:
        raise UserError(
            f"{name!r} changes {foreign[0]}, which stage 0 or the videos depend on, so nothing of {run.path} fits it; "
            "train it as a run of its own with `adafocus train`"
        )
    same_recognizer = first_affected(changed) is BANK
    origin = run.checkpoint((RANDOM_PATCHES if same_recognizer else ENCODERS).name)
    identity = json.dumps([sorted(changed.items()), _hash_of(origin)])
    title = "-".join(f"{key.split('.')[-1]}-{value}" for key, value in changed.items())
    return Base(
        folder=RunFolder(folder / f"{plain_name(title)}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"),
        changed=tuple(changed.items()),
        stage=1 if same_recognizer else 0,
    )


def prepare(base: Base, origin: Run) -> None:
    """Make what is missing of a base that is not the run itself; in the run nothing is made, but all is checked.

    Args:
        base: which.
        origin: the run that is compared on; read only.

    Raises:
        UserError: a checkpoint or a bank of the run is missing, half-written or stale; or the changed keys do not fit.
    """
    if not base.changed:
        features = RunFeatures(origin, load_recognizer(origin, RANDOM_PATCHES.name), build=False)
        features.validation()
        features.training(origin.config.stage2.features)
        return
    arguments = as_arguments(dict(base.changed))
    settings = variant_settings(origin.folder, arguments)
    run = Run(base.folder, settings.config, resume=True)
    run.check_videos()
    base.folder.describe(
        config_text=settings.text, command=f"# {origin.folder.path} with {command_text(*arguments)}, {base.needs}"
    )
    # A base keeps its features where the run does, so tables that are the same are built once.
    use_store(base.folder, shared_store(origin.folder))
    if not is_finished(run, RANDOM_PATCHES.name):
        start = RANDOM_PATCHES if base.stage == 1 else ENCODERS
        save_recognizer(run, start.name, _resized(load_recognizer(origin, start.name), run))
        if start is not RANDOM_PATCHES:
            train(run, [1])
    features = RunFeatures(run, load_recognizer(run, RANDOM_PATCHES.name))
    features.validation()
    for kind in {settings.config.stage2.features, settings.config.stage3.features}:
        features.training(kind)
    run.log.close()


def weights_hash(base: Base) -> str:
    """Of the recognizer after stage I."""
    return _hash_of(base.folder.checkpoint(RANDOM_PATCHES.name))


def plain_name(text: str) -> str:
    """The text as part of a file name."""
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")[:60]


def _hash_of(path: Path) -> str:
    return checkpoint.tensors_hash(checkpoint.load(path)[0])


def _resized(recognizer: Recognizer, run: Run) -> Recognizer:
    """The same weights with another grid or patch size, of which no weight's shape depends."""
    found = run.new_recognizer(with_weights=False)
    found.load_state_dict(recognizer.state_dict())
    return found.eval()
