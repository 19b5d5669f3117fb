"""Building of a run's feature tables, whole or in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from adafocus_rl import ranks
from adafocus_rl.data.dataset import ClipDataset, make_loader
from adafocus_rl.data.index import missing
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.store import noted_index
from adafocus_rl.experiments.terminal.progress import Ticker, say
from adafocus_rl.features import TableSpec, TableStore, build_bank
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.features.options import Precision
from adafocus_rl.features.other_files import check_files
from adafocus_rl.features.parts import WHOLE, Part, parts_without
from adafocus_rl.features.precision import precision_errors
from adafocus_rl.features.specs import CLIPS
from adafocus_rl.models.recognizer import Recognizer

Split = Literal["train", "val"]

SPLITS: tuple[Split, ...] = ("train", "val")

LARGE_ERROR = 0.05
"""Error of features in lower precision above which a warning is printed."""


def still_clips(run: Run, split: Split) -> ClipDataset:
    """Return the clips of a split with the evaluation transforms."""
    return run.clips.train_still if split == "train" else run.clips.val


def build_tables(
    run: Run,
    recognizer: Recognizer,
    split: Split,
    *,
    store: TableStore,
    tables: Sequence[TableSpec],
    overwrite: bool = False,
    part: Part = WHOLE,
) -> None:
    """Build tables of a split, or finish them; if the job has several ranks, wait until all have built their parts.

    Args:
        run: the run.
        recognizer: frozen f_G and f_L.
        split: ``train`` or ``val``.
        store: store of the tables.
        tables: tables to build.
        overwrite: whether to rebuild tables that already exist.
        part: the part of each table that this process builds.

    Raises:
        UserError: as for ``build_bank``.
    """
    dataset, config = still_clips(run, split), run.config.bank
    counts: list[int] = []

    def progress(done: int, total: int) -> None:
        if not counts:
            ticker.skip(done)  # an earlier process has built them
        counts.append(total - done)
        ticker.to(done, total)

    title = f"bank {split}" if part == WHOLE else f"bank {split}, part {part}"
    # On a CPU, the patches of a chunk of videos may take minutes.
    with Ticker(title, len(dataset)) as ticker, ranks.busy():
        copied = build_bank(
            store,
            recognizer,
            dataset,
            device=run.device,
            workers=run.config.data.workers,
            shard_videos=config.shard_videos,
            chunk_videos=config.chunk_videos,
            tables=tables,
            overwrite=overwrite,
            precision=config.precision,
            eight_bit=config.eight_bit,
            part=part,
            progress=progress,
        )
    if copied:
        say(f"{title}: the features of {copied} videos were copied from tables of other lists in {store.folder}")
    if part.number == 1 and counts[0] and config.precision != "float32":
        _report_error(recognizer, dataset, tables, config.precision)
    ranks.wait()


def expected_tables(
    run: Run, recognizer: Recognizer, split: Split, *, store: TableStore, tables: Sequence[TableSpec], built: bool
) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return the manifests of a split's tables by name, and whether the list of videos was taken from the store.

    Some list formats name videos without suffix or folder, so their paths are known only while the videos exist.

    Args:
        run: the run.
        recognizer: frozen f_G and f_L.
        split: ``train`` or ``val``.
        store: store of the tables.
        tables: the tables.
        built: whether this process builds them, for which it needs the videos.

    Raises:
        UserError: tables in a shared store were computed from other files of the same names, or are damaged.
    """
    dataset, config = still_clips(run, split), run.config.bank
    expected = expected_manifests(
        recognizer, dataset, tables=tables, precision=config.precision, eight_bit=config.eight_bit
    )
    if not built and store.shared:
        check_files(store.find(expected).values(), dataset)
    index = noted_index(run.folder, store, split) if not built and missing(dataset.index) else None
    if index in (None, expected[CLIPS]["index"]):
        return expected, False
    return {name: {**manifest, "index": index} for name, manifest in expected.items()}, True


def missing_parts(
    run: Run, recognizer: Recognizer, *, of: int, stores: Mapping[Split, TableStore], tables: Sequence[TableSpec]
) -> list[int]:
    """Return the numbers of those of ``of`` parts that lack a shard of some table of some split.

    Raises:
        UserError: a table is stale or damaged.
    """
    lacking: set[int] = set()
    for split, store in stores.items():
        expected, _ = expected_tables(run, recognizer, split, store=store, tables=tables, built=False)
        found = store.find(expected)
        lacking.update(parts_without(found.values(), of) if {*found} == {*expected} else range(1, of + 1))
    return sorted(lacking)


def _report_error(
    recognizer: Recognizer, dataset: ClipDataset, tables: Sequence[TableSpec], precision: Precision
) -> None:
    """Report how far the features of one video are from those in float32."""
    for batch in make_loader(dataset, batches=[[row] for row in range(len(dataset))]):
        if len(batch):
            errors = precision_errors(recognizer, batch.clips, tables=tables, precision=precision)
            differences = ", ".join(f"{name} {error:.2%}" for name, error in errors.items())
            say(f"{precision}: features of one video differ from those in float32 by {differences}")
            worst = max(errors, key=errors.__getitem__)
            if errors[worst] > LARGE_ERROR:
                say(
                    f"warning: {precision} changes the features {worst} by more than {LARGE_ERROR:.0%}; set "
                    "bank.precision=float32 and build the bank again if accuracy matters more than time"
                )
            return
