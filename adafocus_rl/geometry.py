"""Patch geometry: every conversion between actions, positions, pixel boxes and crops.

Conventions of the whole project: coordinates are (row, column); a *position* is relative, in [0, 1]²; a *box* is (top,
left, height, width) in pixels of the frame from which patches are cropped; a square frame has side S and a square patch
has side P.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adafocus_rl.errors import UserError


class PatchGrid:
    """A g×g grid of square patches on a square frame (AdaFocus, section 3.2; public code's ``standard_actions``).

    Action a is grid row ``a // g`` and column ``a % g``, the relative position ``(row, column) / (g - 1)`` and the crop
    origin ``floor(position · (S − P))``, so the first and the last patch touch the frame's edges.

    Args:
        grid: g, positions per side, at least 1; a grid of 1 has one patch, in the centre.
        frame_size: S, side of the frame in pixels.
        patch_size: P, side of the patch in pixels, at most S.

    Raises:
        UserError: the patch does not fit in the frame, or the grid is empty.
    """

    def __init__(self, *, grid: int, frame_size: int, patch_size: int) -> None:
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

    def __repr__(self) -> str:
        return f"PatchGrid(grid={self.grid}, frame_size={self.frame_size}, patch_size={self.patch_size})"

    @property
    def num_actions(self) -> int:
        """A = g²."""
        return self.grid * self.grid

    @property
    def last_offset(self) -> int:
        """S − P, the largest crop origin."""
        return self.frame_size - self.patch_size

    def position(self, action: Tensor) -> Tensor:
        """Return the relative positions (…, 2), float32 in [0, 1], of grid actions (…), int64."""
        row_col = self._row_col(action)
        if self.grid == 1:
            return torch.full(row_col.shape, 0.5, device=action.device)
        return row_col / (self.grid - 1)

    def action(self, position: Tensor) -> Tensor:
        """Return the grid action (…), int64, nearest to each relative position (…, 2)."""
        row_col = (_wide(position).clamp(0, 1) * (self.grid - 1)).round().long()
        return row_col[..., 0] * self.grid + row_col[..., 1]

    def origin(self, position: Tensor) -> Tensor:
        """Return the crop origins (…, 2), int64 pixels in [0, S − P], of relative positions (…, 2)."""
        return (_wide(position).clamp(0, 1) * self.last_offset).floor().long()

    def origin_position(self, origin: Tensor) -> Tensor:
        """Return relative positions (…, 2), float32 in [0, 1], of crop origins (…, 2): the inverse of ``origin``.

        Each is the middle of the interval of positions with this origin, so that rounding never leads to a neighbouring
        pixel; for the last offset, it is 1.
        """
        if self.last_offset == 0:
            return torch.full(origin.shape, 0.5, device=origin.device)
        return ((origin + 0.5) / self.last_offset).clamp(max=1)

    def action_origin(self, action: Tensor) -> Tensor:
        """Return the crop origins (…, 2), int64 pixels, of grid actions (…).

        The arithmetic is integer, because ``floor`` of a rounded product can be one pixel below the intended origin.
        """
        if self.grid == 1:
            return self.origin(self.position(action))
        return self._row_col(action) * self.last_offset // (self.grid - 1)

    def uniform_origin(self, uniform: Tensor) -> Tensor:
        """Map uniform numbers (…, 2) in [0, 1) to crop origins (…, 2), int64; 0 … S − P are equally likely."""
        # Clamped because the product with a number just below 1 may round up to S − P + 1.
        return (_wide(uniform) * (self.last_offset + 1)).floor().long().clamp(max=self.last_offset)

    def box(self, origin: Tensor) -> Tensor:
        """Return the pixel boxes (…, 4) as (top, left, height, width), int64, of crop origins (…, 2)."""
        side = torch.full_like(origin, self.patch_size)
        return torch.cat((origin, side), dim=-1)

    def centered_position(self, box: Tensor) -> Tensor:
        """Return the relative positions (…, 2) whose patches are centred as closely as possible on boxes (…, 4).

        The position of a NaN box is NaN, unless the patch is the whole frame.
        """
        if self.last_offset == 0:
            return torch.full((*box.shape[:-1], 2), 0.5, device=box.device)
        center = box[..., :2] + box[..., 2:] / 2
        return ((center - self.patch_size / 2) / self.last_offset).clamp(0, 1)

    def crop(self, frames: Tensor, origin: Tensor) -> Tensor:
        """Crop patches from frames in one batched gather, without a loop over samples or host synchronisation.

        Args:
            frames: (N, C, S, S), any dtype and device.
            origin: (N, 2) for one patch per frame or (N, K, 2) for K patches per frame; int64 in [0, S − P], on the
                frames' device. The range is not checked, because that would synchronise with the device; every origin
                computed by this class is in range.

        Returns:
            (N, C, P, P) or (N, K, C, P, P) in the frames' dtype and in channels-last layout, which the local encoder
            uses.

        Raises:
            ValueError: the frames are not S×S, or the shape of the origins does not match them.
        """
        side = self.frame_size
        if frames.ndim != 4 or frames.shape[-2:] != (side, side):
            raise ValueError(f"frames have shape {tuple(frames.shape)}; this grid crops frames (N, C, {side}, {side})")
        if origin.shape[0] != frames.shape[0] or origin.shape[-1] != 2 or origin.ndim not in (2, 3):
            raise ValueError(
                f"origins {tuple(origin.shape)} do not fit frames {tuple(frames.shape)}: give (N, 2) or (N, K, 2)"
            )
        pixels = frames.permute(0, 2, 3, 1)
        sample = torch.arange(frames.shape[0], device=frames.device)
        if origin.ndim == 3:
            sample = sample[:, None]
            pixels = pixels.contiguous()  # worth a copy when every frame is read K times
        # A view of all windows of the frame: indexing whole windows copies rows of pixels and is several times faster
        # than indexing every pixel.
        windows = pixels.unfold(1, self.patch_size, 1).unfold(2, self.patch_size, 1).movedim(3, -1)
        return windows[sample, origin[..., 0], origin[..., 1]].contiguous().movedim(-1, -3)

    def _row_col(self, action: Tensor) -> Tensor:
        """Return the grid rows and columns (…, 2) of grid actions (…), int64."""
        return torch.stack((action // self.grid, action % self.grid), dim=-1)


def _wide(x: Tensor) -> Tensor:
    """Convert to at least float32: bfloat16's eight bits cannot hold a pixel coordinate."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
