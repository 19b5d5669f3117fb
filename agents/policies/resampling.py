"""Bilinear interpolation of a map at the patches of a grid, as matrices of weights over the map's cells."""

from __future__ import annotations

import torch
from torch import Tensor

from adafocus_rl.geometry import PatchGrid


def patch_weights(grid: PatchGrid, cells: tuple[int, int], *, points: int = 1) -> Tensor:
    """Return the weights (A, h·w) with which the cells of a map contribute to each patch of the grid.

    A patch's value is the mean of the map at points × points places, spread evenly over the patch, each interpolated
    bilinearly between the centres of cells (``torch.nn.functional.grid_sample`` with ``align_corners=False``). Beyond
    the outermost centres, the map has the value of the nearest cell. Each row sums to 1.

    Args:
        grid: the patches, of a frame that the map covers.
        cells: (h, w), size of the map.
        points: points per side of a patch; 1 takes the patch's centre.
    """
    sides = [[_side_weights(one, count, points) for count in cells] for one in grid.each]
    return torch.cat([torch.kron(rows, columns) for rows, columns in sides])


def _side_weights(grid: PatchGrid, cells: int, points: int) -> Tensor:
    """Return the weights (g, cells) along one side, for a grid of one scale."""
    origin = grid.action_origin(torch.arange(grid.grid) * grid.grid)[:, :1]
    inside = (torch.arange(points) + 0.5) / points * grid.side
    places = (origin + inside) * cells / grid.frame_size - 0.5
    return interpolation(places, cells).mean(1)


def interpolation(places: Tensor, count: int) -> Tensor:
    """Return the weights (…, count) of linear interpolation between the places 0 … count − 1.

    Args:
        places: (…) float; places outside the range are moved to its nearest end.
        count: number of places.
    """
    distance = (places.clamp(0, count - 1)[..., None] - torch.arange(count, device=places.device)).abs()
    return (1 - distance).clamp(min=0)
