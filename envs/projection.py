"""The input products of a frozen f_C, which the counterfactuals of all actions share."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from adafocus_rl.features.bank import FeatureBank
from adafocus_rl.features.bank_episodes import BankEpisodes
from adafocus_rl.features.memory import free_memory
from adafocus_rl.features.source import EpisodeFeatures
from adafocus_rl.models.classifiers import Classifier

SHARE = 0.25
"""Share of the free memory that the products of a whole bank may take."""

CHUNK_VIDEOS = 64
"""Videos that are multiplied at a time."""


class LocalProjection:
    """f_C's product with the features of every patch of a bank, computed at the first use.

    With the products in memory, the successors of all A actions cost no product with f_L's features. Products that do
    not fit are computed for each batch instead.

    Args:
        bank: the features.
        classifier: frozen f_C. The products are computed again after its weights have changed.
        dtype: type of the products, that of f_C's weights.
    """

    def __init__(self, bank: FeatureBank, classifier: Classifier, *, dtype: torch.dtype) -> None:
        self.bank = bank
        self.classifier = classifier
        self.dtype = dtype
        rows = int(bank.videos.max()) + 1
        self.shape = (rows, bank.num_steps, bank.grid.num_actions, classifier.projection_dim)
        self._table: Tensor | None = None
        self._versions: list[int] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave the products out: another process computes them again, as it opens the bank again."""
        return {**vars(self), "_table": None}

    @cached_property
    def fits(self) -> bool:
        """Whether the products of the whole bank fit into memory; decided at the first use."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize <= SHARE * free_memory(self.bank.device)

    def of(self, episodes: EpisodeFeatures, when: Tensor) -> Tensor | None:
        """Return the products (B, M, A, P) of all patches in the frames ``when`` (B, M).

        Args:
            episodes: features of B videos.
            when: (B, M) int64.

        Returns:
            None for episodes of another source, and for products that do not fit.
        """
        if not isinstance(episodes, BankEpisodes) or episodes.bank is not self.bank or not self.fits:
            return None
        versions = [parameter._version for parameter in self.classifier.parameters()]
        if self._table is None or versions != self._versions:
            self._table, self._versions = self._multiply(), versions
        return self._table[episodes.videos[:, None], when]

    @torch.no_grad()
    def _multiply(self) -> Tensor:
        table = torch.empty(self.shape, device=self.bank.device, dtype=self.dtype)
        for episodes in self.bank.batches(CHUNK_VIDEOS):
            every = torch.arange(self.shape[2], device=self.bank.device).expand(len(episodes), self.shape[1], -1)
            local = episodes.local(every).to(self.dtype)
            table[episodes.videos] = self.classifier.project(local, self.bank.vector_dim)
        return table
