"""A batch of rows of a feature bank."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adafocus_rl.errors import UserError
from adafocus_rl.features.motion import frame_differences
from adafocus_rl.features.source import EpisodeFeatures, broadcast
from adafocus_rl.features.specs import TableSpec

if TYPE_CHECKING:
    from adafocus_rl.features.bank import FeatureBank


class BankEpisodes(EpisodeFeatures):
    """A batch of rows of a ``FeatureBank``; large tables are read only on access.

    Args:
        bank: the bank that holds the rows.
        videos: (B,) int64 rows, on the bank's device.
        ahead: reads a table for these videos, if the bank reads ahead.
        map_dtype: type of the maps, for a policy that would round them to it.
    """

    def __init__(
        self,
        bank: FeatureBank,
        videos: Tensor,
        ahead: Callable[[str], Tensor] | None = None,
        *,
        map_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.bank = bank
        self.videos = videos
        self._ahead = ahead
        self._map_dtype = map_dtype
        self.labels = bank.labels[videos]
        self.multi_hot = bank.multi_hot[videos].float()
        self.true_boxes = bank.true_boxes[videos]
        self.global_vector = self._whole("global_vector")

    @cached_property
    def global_map(self) -> Tensor:  # type: ignore[override]  # a cached property can be written, too
        """(B, T, C, h, w), read at the first use, because not every caller needs it."""
        return self._whole("global_map", self._map_dtype)

    @property
    def motion(self) -> Tensor:  # type: ignore[override]  # read-only here
        """(B, T, m, m), from the table ``thumbnail``."""
        return frame_differences(self._whole("thumbnail"))

    def local_at(self, step: Tensor, action: Tensor) -> Tensor:
        """Return rows of the table ``local``."""
        videos = self.videos[:, None].expand_as(step)
        if action.ndim > step.ndim:
            videos, step = videos[..., None], step[..., None]
        return self.bank.table("local", videos, step, action)

    def full(self) -> Tensor:
        """Return rows of the table ``full``."""
        return self._whole("full")

    def table(self, table: TableSpec) -> Tensor:
        """Return rows of a table with which the bank was opened."""
        with _declared():
            return self._whole(table.name)

    def table_at(self, table: TableSpec, step: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return rows of some frames; only these are read."""
        with _declared():
            rows = self.bank.table(table.name, self.videos[:, None].expand_as(step), step)
        return rows if keep is None else torch.where(broadcast(keep, rows), rows, 0.0)

    def overwrite(self, rows: Tensor, other: EpisodeFeatures) -> None:
        """Replace some of these videos; what was read ahead belongs to the former ones."""
        self._ahead = None
        super().overwrite(rows, other)

    def _whole(self, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return rows (B, T, …) of a table.

        Raises:
            KeyError: the bank has no such table.
        """
        if self._ahead is None or name not in self.bank.tables:
            return self.bank.table(name, self.videos, dtype=dtype)
        return self._ahead(name).to(dtype)


@contextmanager
def _declared() -> Iterator[None]:
    """Explain a missing table."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"{error.args[0]}; declare it among the tables of the method that reads it") from None
