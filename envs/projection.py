"""The input products of a frozen f_C with the features of a bank, which are the same in every pass over the videos."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from adafocus_rl.features.bank import FeatureBank
from adafocus_rl.features.bank_episodes import BankEpisodes
from adafocus_rl.features.memory import free_memory
from adafocus_rl.features.source import EpisodeFeatures
from adafocus_rl.models.classifiers import Classifier

SHARE = 0.25
"""Share of the free memory that a table of products may take."""

CHUNK_VIDEOS = 64
"""Videos that are multiplied at a time."""

Kind = Literal["vector", "local"]
"""The feature that f_C is multiplied with: the frames' global vectors, or the features of all their patches."""


class BankProducts:
    """f_C's products with the features of a bank.

    Products that do not fit into memory are computed for each batch instead. Those with the global vectors are computed
    at the first use, because every step reads them. Those with all patches are worth it only where the outcomes of all
    actions are wanted, so they are computed at the first such use, and then read for single actions, too.

    Args:
        bank: the features.
        classifier: frozen f_C. The products are computed again after its weights have changed.
        dtype: type of the products, that of f_C's weights.
    """

    def __init__(self, bank: FeatureBank, classifier: Classifier, *, dtype: torch.dtype) -> None:
        self.bank = bank
        self.classifier = classifier
        self.dtype = dtype
        rows, frames, width = int(bank.videos.max()) + 1, bank.num_steps, classifier.projection_dim
        self._shapes: dict[Kind, tuple[int, ...]] = {
            "vector": (rows, frames, width),
            "local": (rows, frames, bank.grid.num_actions, width),
        }
        self._tables: dict[Kind, Tensor] = {}
        self._versions: list[int] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave the products out: another process computes them again, as it opens the bank again."""
        return {**vars(self), "_tables": {}}

    @cached_property
    def fits(self) -> dict[Kind, bool]:
        """Whether each table fits into memory; decided at the first use."""
        most = SHARE * free_memory(self.bank.device)
        return {kind: torch.Size(shape).numel() * self.dtype.itemsize <= most for kind, shape in self._shapes.items()}

    def vectors(self, episodes: EpisodeFeatures, when: Tensor) -> Tensor | None:
        """Return the products (B, M, P) with the global vectors of the frames ``when`` (B, M) int64 of B videos.

        Returns:
            None for episodes of another source, and for products that do not fit.
        """
        table = self._table("vector") if self._has("vector", episodes) else None
        return None if table is None else table[episodes.videos[:, None], when]

    def every_patch(self, episodes: EpisodeFeatures, when: Tensor) -> Tensor | None:
        """Return the products (B, M, A, P) with all patches of the frames; arguments as in ``vectors``."""
        table = self._table("local") if self._has("local", episodes) else None
        return None if table is None else table[episodes.videos[:, None], when]

    def patches(self, episodes: EpisodeFeatures, when: Tensor, action: Tensor) -> Tensor | None:
        """Return the products (B, M[, K], P) with the patches that actions (B, M[, K]) select in the frames.

        Returns:
            None as in ``vectors``, and as long as ``every_patch`` was not called with the present weights.
        """
        if not self._has("local", episodes) or not self._is_known("local"):
            return None
        videos = episodes.videos[:, None]
        if action.ndim > when.ndim:
            videos, when = videos[..., None], when[..., None]
        return self._table("local")[videos, when, action]

    def _has(self, kind: Kind, episodes: EpisodeFeatures) -> bool:
        return isinstance(episodes, BankEpisodes) and episodes.bank is self.bank and self.fits[kind]

    def _is_known(self, kind: Kind) -> bool:
        """Return whether a table was computed with the present weights; tables of other weights are dropped."""
        versions = [parameter._version for parameter in self.classifier.parameters()]
        if versions != self._versions:
            self._tables, self._versions = {}, versions
        return kind in self._tables

    @torch.no_grad()
    def _table(self, kind: Kind) -> Tensor:
        if not self._is_known(kind):
            shape, device = self._shapes[kind], self.bank.device
            table = torch.empty(shape, device=device, dtype=self.dtype)
            for episodes in self.bank.batches(CHUNK_VIDEOS):
                if kind == "vector":
                    product = self.classifier.project(episodes.global_vector.to(self.dtype))
                else:
                    every = torch.arange(shape[2], device=device).expand(len(episodes), shape[1], -1)
                    product = self.classifier.project(episodes.local(every).to(self.dtype), self.bank.vector_dim)
                table[episodes.videos] = product
            self._tables[kind] = table
        return self._tables[kind]
