"""Parsing of the arguments of ``reset(seed=…, options=…)``."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adafocus_rl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Reset:
    """A reset of some of B environments.

    Attributes:
        mask: (B,) bool on the host, the environments to reset.
        rows: (R,) their numbers.
        seed: one seed for all, one for each of the R (None: no new seed), or None.
        videos: (R,) int64 requested index rows, on CPU; None takes the next ones in order.
    """

    mask: NDArray[np.bool_]
    rows: NDArray[np.int64]
    seed: int | list[int | None] | None
    videos: Tensor | None

    @staticmethod
    def read(seed: int | Sequence[int | None] | None, options: dict[str, Any], num_envs: int) -> Reset:
        """Check the arguments of ``reset()``.

        Raises:
            UserError: the number of seeds, videos or mask entries is not B, or the mask selects no environment.
        """
        mask = np.ones(num_envs, dtype=np.bool_)
        if "reset_mask" in options:
            mask = _array(options["reset_mask"])
            if mask.shape != (num_envs,) or mask.dtype != np.bool_ or not mask.any():
                raise UserError(
                    f"options['reset_mask'] is {options['reset_mask']!r}; give {num_envs} booleans, at least one of "
                    "them true"
                )
        rows = np.flatnonzero(mask)
        videos = None
        if "videos" in options:
            wanted = _array(options["videos"])
            if wanted.shape != (num_envs,):
                raise UserError(f"options['videos'] has shape {wanted.shape}; this environment needs ({num_envs},)")
            videos = torch.from_numpy(wanted[rows]).long()
        return Reset(mask=mask, rows=rows, seed=_seed(seed, mask), videos=videos)


def _array(values: Any) -> NDArray[Any]:
    return values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _seed(seed: int | Sequence[int | None] | None, mask: NDArray[np.bool_]) -> int | list[int | None] | None:
    """Convert the seeds of the masked environments to Python integers."""
    if seed is None:
        return None
    try:
        if isinstance(seed, (list, tuple, np.ndarray)):
            seeds = [None if one is None else operator.index(one) for one in seed]
        else:
            return operator.index(seed)  # type: ignore[arg-type]  # also accepts NumPy integers
    except TypeError:
        raise UserError(f"reset(seed={seed!r}): give an int, or a list with an int or None for each video") from None
    if len(seeds) != len(mask):
        raise UserError(f"reset() got {len(seeds)} seeds; give one int, or one for each of the {len(mask)} videos")
    return [one for one, wanted in zip(seeds, mask, strict=True) if wanted]
