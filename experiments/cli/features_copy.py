"""``adafocus features push|pull``: copy the shards of a run's banks to a URL, or from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from adafocus_rl.experiments.terminal.progress import Ticker, say

if TYPE_CHECKING:
    from adafocus_rl.experiments.run.run import Run
    from adafocus_rl.experiments.run.tables import Split
    from adafocus_rl.features import TableStore
    from adafocus_rl.features.parts import Part
    from adafocus_rl.features.remote import RemoteFolder
    from adafocus_rl.models.recognizer import Recognizer


def copy(
    run: Run,
    recognizer: Recognizer,
    stores: Mapping[Split, TableStore],
    *,
    way: Literal["push", "pull"],
    remote: RemoteFolder,
    part: Part,
) -> dict[str, dict[str, int]]:
    """Copy shards and say how many; return the counts by split."""
    from adafocus_rl.experiments.run.features import tables_of
    from adafocus_rl.experiments.run.tables import expected_tables
    from adafocus_rl.features.copies import pull, push

    counts: dict[str, dict[str, int]] = {}
    for split, store in stores.items():
        expected, _ = expected_tables(run, recognizer, split, store=store, tables=tables_of(run.config), built=False)
        with Ticker(f"{way} {split}", 0) as ticker:
            if way == "push":
                copied = push(store.find(expected).values(), remote, part=part, progress=ticker.to)
            else:
                copied = pull(expected, store, remote, part=part, progress=ticker.to)
        counts[split] = asdict(copied)
        ends = (store.folder, remote.url) if way == "push" else (remote.url, store.folder)
        lacking = f"; {copied.missing} are missing in {ends[0]}" if copied.missing else ""
        say(f"{ends[1]}: {copied.copied} shards of {split} copied, {copied.kept} were there already{lacking}")
    return counts
