"""The bases of a comparison: frozen recognizers and their feature banks.

Almost every variant uses those of the run itself, which are only read. A variant with another grid needs its own bank,
and one with another patch size its own f_L and f_C; these are stored in the comparison's folder as small runs, so that
the code that finishes a run's stage I and banks also finishes theirs.
"""

from __future__ import annotations

import contextlib
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
        folder: run folder with ``checkpoints/stage1.safetensors`` and ``features/``.
        changed: keys and values that differ from the run compared on; empty for that run itself.
        stage: stage of the run that it starts from.
    """

    folder: RunFolder
    changed: tuple[tuple[str, Any], ...] = ()
    stage: Literal[0, 1] = 1

    @property
    def needs(self) -> str:
        """What it does not share with the run, in words."""
        return "its own banks" if self.stage == 1 else "its own stage I and banks"


def base_of(run: RunFolder, stored: Settings, wanted: Settings, folder: Path, *, name: str) -> Base:
    """Return the base that a variant is trained on.

    Args:
        run: the run to compare on.
        stored: its configuration.
        wanted: the variant's configuration.
        folder: folder for recognizers and banks that the run does not have.
        name: the variant's name, for the message.

    Raises:
        UserError: if the variant needs another stage 0, other videos or another f_G.
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
    """Build what a base lacks; if the base is the run itself, only check that it is complete.

    Args:
        base: the base.
        origin: the run to compare on; read only.

    Raises:
        UserError: if a checkpoint or bank of the run is missing, half-written or stale, or the changed keys do not fit.
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
    # A base uses the same store as the run, so that identical tables are built once.
    use_store(base.folder, shared_store(origin.folder))
    with contextlib.closing(run.log):
        if not is_finished(run, RANDOM_PATCHES.name):
            start = RANDOM_PATCHES if base.stage == 1 else ENCODERS
            save_recognizer(run, start.name, _resized(load_recognizer(origin, start.name), run))
            if start is not RANDOM_PATCHES:
                train(run, [1])
        features = RunFeatures(run, load_recognizer(run, RANDOM_PATCHES.name))
        features.validation()
        for kind in {settings.config.stage2.features, settings.config.stage3.features}:
            features.training(kind)


def weights_hash(base: Base) -> str:
    """Return the hash of the recognizer's weights after stage I."""
    return recognizer_hash(base.folder)


def recognizer_hash(folder: RunFolder) -> str:
    """Return the hash of a run's recognizer after stage I.

    Raises:
        UserError: if the run has not finished stage I, or the checkpoint is damaged.
    """
    return _hash_of(folder.checkpoint(RANDOM_PATCHES.name))


def plain_name(text: str) -> str:
    """Return the text in a form that is safe in a file name."""
    return re.sub(r"[^\w.+-]+", "_", text).strip("_")[:60]


def _hash_of(path: Path) -> str:
    return checkpoint.tensors_hash(checkpoint.load(path)[0])


def _resized(recognizer: Recognizer, run: Run) -> Recognizer:
    """Return the recognizer with another grid or patch size and the same weights, whose shapes depend on neither."""
    found = run.new_recognizer(with_weights=False)
    found.load_state_dict(recognizer.state_dict())
    return found.eval()
