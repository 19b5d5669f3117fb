"""The processes of one job that ``torchrun`` starts: the rank of this process, and what the ranks compute together.

Without ``torchrun``, and with one process of it, a job has one rank, and every function here returns its argument
without communication. All ranks must call a function that communicates, in the same order. A rank waits for the others
as long as they give signs of life (``beat``): a rank that hangs or has ended raises an error in those that wait for it.
"""

from adafocus_rl.ranks.exchange import (
    added,
    copy_first,
    counts,
    exchanging,
    first,
    from_first,
    gather,
    join,
    own,
    own_part,
    part_sizes,
    sum_gradients,
    total,
    wait,
)
from adafocus_rl.ranks.group import (
    beat,
    busy,
    is_first,
    launched,
    local_rank,
    local_world,
    process_group,
    rank,
    world,
)

__all__ = [
    "added",
    "beat",
    "busy",
    "copy_first",
    "counts",
    "exchanging",
    "first",
    "from_first",
    "gather",
    "is_first",
    "join",
    "launched",
    "local_rank",
    "local_world",
    "own",
    "own_part",
    "part_sizes",
    "process_group",
    "rank",
    "sum_gradients",
    "total",
    "wait",
    "world",
]
