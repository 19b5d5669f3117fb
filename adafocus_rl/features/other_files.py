"""Tables of a shared store that another run computed from other files of the same names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache

from adafocus_rl.data.clip_source import clip_source
from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features.manifest import videos_in_shard
from adafocus_rl.features.shards import StoredTable, shard_folder
from adafocus_rl.features.sources import read_sources


def check_files(tables: Iterable[StoredTable], dataset: ClipDataset) -> None:
    """Check that the finished shards of these tables were computed from the dataset's files, wherever they lay then.

    The hash of a list leaves out the folder of its relative paths, so that moved videos keep their tables. A copy of
    the videos in another size therefore has the same tables. Sizes and times of files tell them apart. They are
    compared only for shards of another folder, because this takes a look at every file. Shards without a list of
    sources, and files that cannot be found, pass.

    Raises:
        UserError: a file differs from the one that a shard was computed from.
    """
    root = os.path.realpath(dataset.index.root)
    source_of = cache(lambda row: clip_source(dataset, row))
    for table in tables:
        for number in table.marks:
            sources = read_sources(shard_folder(table.folder, number), videos_in_shard(table.manifest, number))
            if sources is None or sources.root == root:
                continue
            for row, then in enumerate(sources.clips, start=number * table.shard_videos):
                now = source_of(row) if then is not None else None
                if then is not None and now is not None and then.moved != now.moved:
                    raise UserError(
                        f"the features in {table.folder} were computed from other files: {dataset.index[row].path} in "
                        f"{sources.root} had another size or time of its last change than in {root} now; give another "
                        "folder with --features, or compute them again with `adafocus features build RUN --overwrite`"
                    )
