"""Patch geometry: every conversion between actions, positions, pixel boxes and crops.

Conventions of the whole project: coordinates are (row, column); a *position* is relative, in [0, 1]²; a *box* is (top,
left, height, width) in pixels of the frame from which patches are cropped; a square frame has side S, and f_L processes
patches of side P. With several scales, patches of other sides are cropped and resized to P.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from adafocus_rl.crops import LARGE_PATCH, copied, wide, windows
from adafocus_rl.errors import UserError


class PatchGrid:
    """A g×g grid of square patches on a square frame (AdaFocus, section 3.2; public code's ``standard_actions``).

    Action a is grid row ``a // g`` and column ``a % g``, the relative position ``(row, column) / (g - 1)`` and the crop
    origin ``floor(position · (S − P))``, so the first and the last patch touch the frame's edges.

    With several scales, each has such a grid of its own, with S − side in place of S − P: action a has the scale
    ``a // g²`` and the position ``a % g²``. The patch of scale s is cropped with the side ``round(s · P)``, at most S,
    and resized to P pixels, so f_L's input, and with it the compute, is the same for every scale.

    In all methods, ``scale`` (…,) int64 is the index of each patch's scale, for the same leading axes as the other
    argument. It may be left out if the grid has one scale. ``action`` and ``centered_position``, which place a patch
    that is asked for without a size, then take the scale nearest to 1 (``base_scale``) on any grid.

    Args:
        grid: g, positions per side and scale, at least 1; a grid of 1 has one patch per scale, in the centre.
        frame_size: S, side of the frame in pixels.
        patch_size: P, side of f_L's input in pixels, at most S.
        scales: the scales, at least one. They must have different sides.

    Attributes:
        scales: the scales, in the order of the actions.
        sides: side in pixels of the patches of each scale, before they are resized.
        base_scale: index of the scale whose side is nearest to P; of two, the first.

    Raises:
        UserError: the patch does not fit in the frame, the grid is empty, or the scales cannot be used.
    """

    def __init__(self, *, grid: int, frame_size: int, patch_size: int, scales: Sequence[float] = (1.0,)) -> None:
        if grid < 1:
            raise UserError(f"grid is {grid}; a patch grid needs at least 1 position per side")
        if not 1 <= patch_size <= frame_size:
            raise UserError(
                f"patch_size {patch_size} does not fit in frame_size {frame_size}; "
                f"give a patch of 1 to {frame_size} pixels"
            )
        self.grid = grid
        self.frame_size = frame_size
        self.patch_size = patch_size
        self.scales = tuple(float(scale) for scale in scales)
        self.sides = _sides(self.scales, patch_size, frame_size)
        self.base_scale = min(range(len(self.sides)), key=lambda number: abs(self.sides[number] - patch_size))
        self._boxes = {torch.device("cpu"): self._every_box()}

    def __repr__(self) -> str:
        scales = "" if self.scales == (1.0,) else f", scales={self.scales}"
        return f"PatchGrid(grid={self.grid}, frame_size={self.frame_size}, patch_size={self.patch_size}{scales})"

    @property
    def num_actions(self) -> int:
        """A = g² times the number of scales."""
        return len(self.scales) * self.grid * self.grid

    @property
    def each(self) -> tuple[PatchGrid, ...]:
        """A grid of one scale for each scale; their actions, one after the other, are those of this grid."""
        if len(self.scales) == 1:
            return (self,)
        sizes = {"grid": self.grid, "frame_size": self.frame_size, "patch_size": self.patch_size}
        return tuple(PatchGrid(**sizes, scales=(scale,)) for scale in self.scales)

    @property
    def side(self) -> int:
        """Side of the patches in pixels of the frame, on a grid of one scale.

        Raises:
            ValueError: the grid has several.
        """
        self._check_scale(None)
        return self.sides[0]

    @property
    def last_offset(self) -> int:
        """S − side, the largest crop origin on a grid of one scale."""
        return self.frame_size - self.side

    def scale(self, action: Tensor) -> Tensor:
        """Return the index of the scale (…), int64, of grid actions (…), int64."""
        return action // (self.grid * self.grid)

    def position(self, action: Tensor) -> Tensor:
        """Return the relative positions (…, 2), float32 in [0, 1], of grid actions (…), int64."""
        row_col = self._row_col(action)
        if self.grid == 1:
            return torch.full(row_col.shape, 0.5, device=action.device)
        return row_col / (self.grid - 1)

    def action(self, position: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the grid action (…), int64, nearest to each relative position (…, 2), of the base scale by default."""
        row_col = (wide(position).clamp(0, 1) * (self.grid - 1)).round().long()
        first = self.base_scale if scale is None else scale
        return first * (self.grid * self.grid) + row_col[..., 0] * self.grid + row_col[..., 1]

    def origin(self, position: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the crop origins (…, 2), int64 pixels in [0, S − side], of relative positions (…, 2)."""
        return (wide(position).clamp(0, 1) * self._last_offset(scale)).floor().long()

    def origin_position(self, origin: Tensor) -> Tensor:
        """Return relative positions (…, 2), float32 in [0, 1], of crop origins (…, 2): the inverse of ``origin``.

        Each is the middle of the interval of positions with this origin, so that rounding never leads to a neighbouring
        pixel; for the last offset, it is 1. Only for a grid of one scale.
        """
        if self.last_offset == 0:
            return torch.full(origin.shape, 0.5, device=origin.device)
        return ((origin + 0.5) / self.last_offset).clamp(max=1)

    def action_origin(self, action: Tensor) -> Tensor:
        """Return the crop origins (…, 2), int64 pixels, of grid actions (…)."""
        return self.action_box(action)[..., :2]

    def place(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the crop origins (…, 2) and the scales (…) of grid actions (…), as ``crop`` takes them.

        The scales are None if there is only one.
        """
        return self.action_origin(action), self.scale(action) if len(self.scales) > 1 else None

    def uniform_origin(self, uniform: Tensor, scale: Tensor | None = None) -> Tensor:
        """Map uniform numbers (…, 2) in [0, 1) to crop origins (…, 2), int64; 0 … S − side are equally likely."""
        last = self._last_offset(scale)
        # Limited because the product with a number just below 1 may round up to S − side + 1.
        return (wide(uniform) * (last + 1)).floor().long().clamp(max=last)

    def box(self, origin: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the pixel boxes (…, 4) as (top, left, height, width), int64, of crop origins (…, 2)."""
        return torch.cat((origin, torch.zeros_like(origin) + self._side(scale)), dim=-1)

    def action_box(self, action: Tensor) -> Tensor:
        """Return the pixel boxes (…, 4), int64, of grid actions (…)."""
        # Looked up, because the arithmetic on a few numbers takes a dozen operations.
        boxes = self._boxes.get(action.device)
        if boxes is None:
            # It stays there, so that later calls do not wait for a transfer.
            boxes = self._boxes[action.device] = self._boxes[torch.device("cpu")].to(action.device)
        return boxes[action]

    def fitting_scale(self, box: Tensor) -> Tensor:
        """Return the scale (…), int64, whose patches suit boxes (…, 4).

        This is the smallest scale whose side is at least the longer side of the box, or the largest scale if there is
        none; for a NaN box, the base scale.
        """
        longer = box[..., 2:].amax(-1)
        sides = _on_device(self.sides, box.device)
        # Sides that are too small come after all others, the largest of them first.
        rank = torch.where(sides >= longer[..., None], sides, 2 * self.frame_size - sides)
        return torch.where(longer.isnan(), self.base_scale, rank.argmin(-1))

    def centered_position(self, box: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the relative positions (…, 2) whose patches are centred as closely as possible on boxes (…, 4).

        The patches are of the base scale by default. The position of a NaN box is NaN, unless the patch is the whole
        frame.
        """
        side = _on_device(self.sides, box.device)[self.base_scale if scale is None else scale][..., None]
        last = self.frame_size - side
        center = box[..., :2] + box[..., 2:] / 2
        return torch.where(last == 0, 0.5, ((center - side / 2) / last.clamp(min=1)).clamp(0, 1))

    def crop(
        self, frames: Tensor, origin: Tensor, scale: Tensor | None = None, *, rows: Tensor | None = None
    ) -> Tensor:
        """Crop patches from frames in one batched gather (large single ones on CPU one by one, which is faster).

        Patches of another side than P are resized to P, bilinearly and anti-aliased, in at least float32; integers are
        rounded. With several scales, every origin is cropped at each scale, of which one is kept, so that the work
        depends on shapes only.

        Args:
            frames: (F, C, S, S), any dtype and device.
            origin: (N, 2) for one patch per frame or (N, K, 2) for K patches per frame; int64 in [0, S − side], on the
                frames' device. The range is not checked, because that would synchronise with the device; every origin
                computed by this class is in range.
            scale: (N,) or (N, K) int64.
            rows: (N,) int64, the frame of each; None for one after the other, N = F. It saves a copy of the frames.

        Returns:
            (N, C, P, P) or (N, K, C, P, P) in the frames' dtype and in channels-last layout, which the local encoder
            uses.

        Raises:
            ValueError: the frames are not S×S, or the shape of the origins, the scales or the rows does not match.
        """
        side = self.frame_size
        if frames.ndim != 4 or frames.shape[-2:] != (side, side):
            raise ValueError(f"frames have shape {tuple(frames.shape)}; this grid crops frames (N, C, {side}, {side})")
        count = frames.shape[0] if rows is None else len(rows)
        if origin.shape[0] != count or origin.shape[-1] != 2 or origin.ndim not in (2, 3):
            raise ValueError(
                f"origins {tuple(origin.shape)} do not fit frames {tuple(frames.shape)}: give (N, 2) or (N, K, 2)"
            )
        self._check_scale(scale)
        if scale is not None and scale.shape != origin.shape[:-1]:
            raise ValueError(f"scales {tuple(scale.shape)} do not fit origins {tuple(origin.shape)}: give one for each")
        if frames.device.type == "cpu" and origin.ndim == 2 and self.sides == (self.patch_size,) >= (LARGE_PATCH,):
            return copied(frames, range(count) if rows is None else rows.tolist(), origin, self.patch_size)
        pixels = frames.permute(0, 2, 3, 1)
        if origin.ndim == 3:
            # Worth a copy when every frame is read K times.
            pixels, rows = (pixels if rows is None else pixels[rows]).contiguous(), None
        if rows is None:
            rows = torch.arange(count, device=pixels.device)
        if origin.ndim == 3:
            rows = rows[:, None]
        patches = self._windows(pixels, rows, origin, self.sides[0])
        for number, side in enumerate(self.sides[1:], start=1):
            assert scale is not None
            chosen = (scale == number)[..., None, None, None]
            patches = torch.where(chosen, self._windows(pixels, rows, origin, side), patches)
        return patches

    def _windows(self, pixels: Tensor, rows: Tensor, origin: Tensor, side: int) -> Tensor:
        """Crop windows of one side, resized to P; those beyond the frame are moved into it."""
        if len(self.sides) > 1:
            origin = origin.clamp(max=self.frame_size - side)
        return windows(pixels, rows, origin, side, self.patch_size)

    def _every_box(self) -> Tensor:
        """Return the pixel boxes (A, 4), int64, of all grid actions.

        The arithmetic is integer, because ``floor`` of a rounded product can be one pixel below the intended origin.
        """
        action = torch.arange(self.num_actions, device="cpu")
        scale = self.scale(action)
        if self.grid == 1:
            return self.box(self.origin(self.position(action), scale), scale)
        return self.box(self._row_col(action) * self._last_offset(scale) // (self.grid - 1), scale)

    def _row_col(self, action: Tensor) -> Tensor:
        """Return the grid rows and columns (…, 2) of grid actions (…), int64."""
        return torch.stack((action // self.grid % self.grid, action % self.grid), dim=-1)

    def _side(self, scale: Tensor | None) -> int | Tensor:
        """Return the side of patches: a number for one scale, and (…, 1) for several."""
        self._check_scale(scale)
        if scale is None or len(self.sides) == 1:
            return self.sides[0]
        return _on_device(self.sides, scale.device)[scale][..., None]

    def _last_offset(self, scale: Tensor | None) -> int | Tensor:
        """Return the largest crop origin, as ``_side``."""
        return self.frame_size - self._side(scale)

    def _check_scale(self, scale: Tensor | None) -> None:
        if scale is None and len(self.sides) > 1:
            raise ValueError(f"this grid has patches of {len(self.sides)} scales; give the scale of each patch")


def _sides(scales: tuple[float, ...], patch_size: int, frame_size: int) -> tuple[int, ...]:
    """Return the side of each scale's patches.

    Raises:
        UserError: there is no scale, a patch would have no pixels, or two scales have the same side.
    """
    if not scales or not all(0 < scale < float("inf") for scale in scales):
        raise UserError(f"patch_scales is {[*scales]}; give one or more numbers above 0")
    sides = tuple(min(round(scale * patch_size), frame_size) for scale in scales)
    if 0 in sides:
        raise UserError(f"patch_scales is {[*scales]}, but {min(scales)} · {patch_size} pixels is less than one pixel")
    if len({*sides}) < len(sides):
        raise UserError(
            f"patch_scales is {[*scales]}, which gives patches of {', '.join(map(str, sides))} pixels in frames of "
            f"{frame_size}; give scales with different sides"
        )
    return sides


@lru_cache
def _on_device(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Return numbers as int64 (n,) on a device, where they stay, so that their use does not wait for a transfer."""
    return torch.tensor(values, device=device)
