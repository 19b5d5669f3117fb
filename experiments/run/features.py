"""Frozen features of a run, from its banks on disk or computed live by the encoders."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from adafocus_rl import ranks
from adafocus_rl.agents.methods import METHODS
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.experiment import ExperimentConfig
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.store import note_index, store_of
from adafocus_rl.experiments.run.tables import Split, build_tables, expected_tables, still_clips
from adafocus_rl.features import DEFAULT_TABLES, FeatureBank, FeatureSource, LiveFeatures, TableSpec, TableStore
from adafocus_rl.features.parts import Part
from adafocus_rl.folders import first_folder
from adafocus_rl.models.recognizer import Recognizer

Kind = Literal["bank", "live"]


class RunFeatures:
    """Feature sources of a run, each opened on first use.

    Args:
        run: the run.
        recognizer: frozen f_G and f_L.
        build: whether to build banks that are missing or incomplete; otherwise they must be complete.
        tables: tables of the banks; None for the default tables and those of the run's methods.

    Attributes:
        seconds: time spent opening sources and building banks.
    """

    def __init__(
        self,
        run: Run,
        recognizer: Recognizer,
        *,
        build: bool = True,
        tables: Sequence[TableSpec] | None = None,
    ) -> None:
        self.run = run
        self.recognizer = recognizer
        self.build = build
        self.tables = tables_of(run.config) if tables is None else tuple(tables)
        self.seconds = 0.0
        self._opened: dict[tuple[Split, Kind], FeatureSource] = {}

    def training(self, kind: Kind) -> FeatureSource:
        """Return the features of the training videos: ``bank`` with the evaluation transforms, ``live`` augmented."""
        return self._open("train", kind)

    def validation(self) -> FeatureSource:
        """Return the features of the validation videos: from the bank, or live if no bank can hold them."""
        return self._open("val", "live" if self.run.config.live_validation else "bank")

    def _open(self, split: Split, kind: Kind) -> FeatureSource:
        if (split, kind) not in self._opened:
            started = time.monotonic()
            self._opened[split, kind] = self._bank(split) if kind == "bank" else self._live(split)
            self.seconds += time.monotonic() - started
        return self._opened[split, kind]

    def _bank(self, split: Split) -> FeatureBank:
        return open_bank(self.run, self.recognizer, split, build=self.build, tables=self.tables)

    def _live(self, split: Split) -> LiveFeatures:
        dataset = self.run.clips.train if split == "train" else self.run.clips.val
        workers = self.run.config.data.workers
        return LiveFeatures(self.recognizer, dataset, device=self.run.device, workers=workers)


def tables_of(config: ExperimentConfig) -> tuple[TableSpec, ...]:
    """Return the tables of a run's banks: the default tables, and those of the run's methods."""
    wanted = [
        table
        for name, options in config.methods.items()
        for table in METHODS.get(name).tables_of(options, config.model)
    ]
    return tuple({table.name: table for table in (*DEFAULT_TABLES, *wanted)}.values())


def open_bank(
    run: Run,
    recognizer: Recognizer,
    split: Split,
    *,
    build: bool = True,
    overwrite: bool = False,
    store: TableStore | None = None,
    tables: Sequence[TableSpec] | None = None,
) -> FeatureBank:
    """Open the run's feature bank of a split.

    Args:
        run: the run.
        recognizer: frozen f_G and f_L.
        split: ``train`` or ``val``.
        build: whether to build the bank if it is missing or incomplete.
        overwrite: whether to rebuild tables that already exist.
        store: store of its tables; None for the run's.
        tables: tables of the bank; None for the default tables and those of the run's methods.

    Raises:
        UserError: if the bank was built from other weights, videos or transforms, or is incomplete and ``build`` is
            False.
    """
    dataset = still_clips(run, split)
    config = run.config.bank
    tables = tables_of(run.config) if tables is None else tables
    store = store_of(run.folder, split) if store is None else store
    if run.folder.shipped and not (store.shared or store.folder.exists()):
        # Whoever opens it finds its bank, as in a run that has been trained here, and needs no lock for that.
        with first_folder(store.folder) as folder:
            build_tables(run, recognizer, split, store=TableStore(folder), tables=tables_of(run.config))
    if build:
        # Each rank builds a part, so that all must come here.
        part = Part(ranks.rank() + 1, ranks.world())
        build_tables(run, recognizer, split, store=store, tables=tables, overwrite=overwrite, part=part)
    expected, unfound = expected_tables(run, recognizer, split, store=store, tables=tables, built=build)
    bank = FeatureBank(
        store,
        device=run.device,
        seed=run.config.seed,
        expected=expected,
        resident=config.resident,
        index=dataset.index,
    )
    if unfound and any(_labels(bank, row) != {*dataset.index[row].labels} for row in bank.videos.tolist()):
        raise UserError(
            f"the feature bank in {store.folder} has other labels than the list, whose videos are not there, either; "
            "bring back the list that the run was trained with, or rebuild it with `adafocus features build RUN "
            "--overwrite`"
        )
    if build and ranks.is_first():
        store.sweep(bank.tables.values())
        if store.shared:
            note_index(run.folder, split, dataset.index.hash())
    run.clips.note_failures(bank.failed)
    return bank


def _labels(bank: FeatureBank, row: int) -> set[int]:
    return {*bank.multi_hot[row].nonzero().flatten().tolist()}
