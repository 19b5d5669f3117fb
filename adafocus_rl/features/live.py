"""Features computed on demand, as augmentation, continuous actions and single videos require."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from adafocus_rl import ranks
from adafocus_rl.data.dataset import ClipBatch, ClipDataset, ClipLoader, make_loader
from adafocus_rl.errors import UserError
from adafocus_rl.features.motion import frame_differences, thumbnails
from adafocus_rl.features.source import EpisodeFeatures, Share, own_share, video_order
from adafocus_rl.features.specs import EncodedFrames, TableSpec
from adafocus_rl.models.recognizer import Recognizer


class LiveEpisodes(EpisodeFeatures):
    """A batch of clips with the frozen recognizer that encodes them.

    Args:
        recognizer: frozen f_G and f_L, in eval mode and any floating-point type.
        batch: clips (B, T, 3, S, S) and their labels, on any device.
        device: the recognizer's device, on which features are computed.
        before: the frames before these in the same videos, for the motion in the first of these; None for none.
    """

    def __init__(
        self, recognizer: Recognizer, batch: ClipBatch, *, device: torch.device, before: LiveEpisodes | None = None
    ) -> None:
        batch = batch.to(device, non_blocking=True)
        self.recognizer = recognizer
        self.videos = batch.rows
        self.labels = batch.labels
        self.multi_hot = batch.multi_hot
        self.true_boxes = recognizer.focus_frames(batch.true_boxes)
        if recognizer.clip_frames is not None:
            # There is one patch for all frames; its true box is the mean of the frames' true boxes.
            self.true_boxes = self.true_boxes.nanmean(1, keepdim=True)
        clips = recognizer.prepare(batch.clips)
        self.clips = recognizer.focus_steps(clips)
        self._glance_clips = recognizer.glance_frames(clips)
        self._before = None if before is None else before._pictures[:, -1:]

    @property
    def num_steps(self) -> int:
        """T."""
        return self.clips.shape[1]

    @cached_property
    def global_map(self) -> Tensor:  # type: ignore[override]  # a cached property can be written, too
        """(B, T, C, h, w), computed at the first use, because some methods do without f_G."""
        self._run_glance()
        return self.global_map

    @cached_property
    def global_vector(self) -> Tensor:  # type: ignore[override]
        """(B, T, D_G), computed together with the maps."""
        self._run_glance()
        return self.global_vector

    @torch.no_grad()
    def _run_glance(self) -> None:
        maps, vectors = self.recognizer.glance_steps(self._glance_clips)
        self.global_map, self.global_vector = maps.float(), vectors.float()

    @property
    def motion(self) -> Tensor:  # type: ignore[override]  # read-only here
        """(B, T, m, m), computed on every access."""
        if self._before is None:
            return frame_differences(self._pictures)
        return frame_differences(torch.cat((self._before, self._pictures), dim=1))[:, 1:]

    @property
    def _pictures(self) -> Tensor:
        pictures: Tensor = thumbnails(self.frames).float().unflatten(0, (len(self), self.num_steps))
        return pictures

    @property
    def frames(self) -> Tensor:
        """(B · T, f · 3, S, S), the f frames of each step, prepared for f_L."""
        return self.clips.flatten(0, 1)

    def local_at(self, step: Tensor, action: Tensor) -> Tensor:
        """Crop and encode the patches of grid actions."""
        return self.local_at_origin(step, *self.recognizer.grid.place(action))

    def local_at_position(self, step: Tensor, position: Tensor) -> Tensor:
        """Crop and encode the patches at relative positions."""
        return self.local_at_origin(step, self.recognizer.grid.origin(position))

    @torch.no_grad()
    def local_at_origin(self, step: Tensor, origin: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return f_L's features (B, M[, K], D_L) of patches.

        Args:
            step: (B, M) int64, the frame of each patch.
            origin: (B, M[, K], 2) int64, crop origins in pixels.
            scale: (B, M[, K]) int64, the patches' scales; needed if the grid has several.
        """
        rows = torch.arange(len(self), device=step.device)[:, None] * self.num_steps + step
        scale = None if scale is None else scale.flatten(0, 1)
        features = self.recognizer.focus_at(self.frames, origin.flatten(0, 1), scale, rows=rows.flatten()).float()
        return features.view(*origin.shape[:-1], -1)

    @torch.no_grad()
    def kept_local_at(self, step: Tensor, patch: Tensor, keep: Tensor) -> Tensor:
        """Crop and encode the kept patches only; f_L is not called if there are none.

        The host needs the number of kept patches, so this synchronises with the device.
        """
        local = torch.zeros(*step.shape, self.recognizer.focus.vector_dim, device=step.device)
        kept = keep.nonzero(as_tuple=True)
        patch, rows = patch[kept], kept[0] * self.num_steps + step[kept]
        if len(rows):
            grid = self.recognizer.grid
            if patch.is_floating_point():
                origin, scale = grid.origin(patch), None
            else:
                origin, scale = grid.place(patch)
            local[kept] = self.recognizer.focus_at(self.frames, origin, scale, rows=rows).float()
        return local

    @torch.no_grad()
    def full(self) -> Tensor:
        """Encode the whole frames."""
        return self.recognizer.focus_whole(self.frames).float().view(len(self), self.num_steps, -1)

    @torch.no_grad()
    def table(self, table: TableSpec) -> Tensor:
        """Compute the table's rows."""
        rows: Tensor = table.fill(EncodedFrames(self.recognizer, self.clips)).float()
        return rows.view(len(self), self.num_steps, *rows.shape[1:])

    @torch.no_grad()
    def table_at(self, table: TableSpec, step: Tensor, keep: Tensor | None = None) -> Tensor:
        """Compute the table's rows of the frames to keep only; without any, networks process an empty batch.

        The host needs the number of kept frames, so with ``keep`` this synchronises with the device.
        """
        rows = torch.arange(len(self), device=step.device)[:, None] * self.num_steps + step
        chosen = self.frames[rows.flatten() if keep is None else rows[keep]]
        found: Tensor = table.fill(EncodedFrames(self.recognizer, chosen[:, None])).float()
        if keep is None:
            return found.view(*step.shape, *found.shape[1:])
        values = found.new_zeros(*step.shape, *found.shape[1:])
        values[keep] = found
        return values


class LiveFeatures:
    """A ``FeatureSource`` that decodes and encodes on demand.

    Args:
        recognizer: f_G, f_L and the patch grid; moved to the device, put in eval mode and used without gradients.
        dataset: clips; its seed determines their order, and its random transforms (if any) depend on the epoch.
        device: device of the encoders.
        workers: number of decoding processes of ``batches``.

    Attributes:
        failed: (path, reason) of each video found undecodable so far.
    """

    def __init__(self, recognizer: Recognizer, dataset: ClipDataset, *, device: torch.device, workers: int = 0) -> None:
        self.recognizer = recognizer.to(device).eval()
        self.dataset = dataset
        self.device = device
        self.workers = workers
        self.grid = recognizer.grid
        self.num_steps = recognizer.num_steps(dataset.num_frames)
        self.num_classes = dataset.num_classes
        self.has_boxes = dataset.index.boxes_file is not None
        self.any_position = True
        self.failed: list[tuple[str, str]] = []
        side = recognizer.grid.frame_size
        with torch.no_grad():
            # If each frame is a step, one frame determines all shapes.
            shortest = 1 if recognizer.clip_frames is None else sum(recognizer.clip_frames)
            clip = recognizer.prepare(torch.zeros(1, shortest, 3, side, side, device=device))
            maps, vectors = recognizer.glance_steps(clip)
        self.map_shape = (maps.shape[2], maps.shape[3], maps.shape[4])
        self.vector_dim = vectors.shape[2]
        self.local_dim = recognizer.focus.vector_dim
        self._row = {record.path: row for row, record in enumerate(dataset.index)}
        self._videos = torch.arange(len(dataset))
        self._batches: list[list[int]] = []
        self._loader: ClipLoader | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the loader, whose workers belong to this process; a copy creates its own."""
        return {**vars(self), "_loader": None}

    @property
    def videos(self) -> Tensor:
        """(N,) int64 on CPU, all rows except those found undecodable so far."""
        return self._videos

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> LiveEpisodes:
        """Decode and encode these videos in this process; must not be called during a pass of ``batches``.

        Raises:
            UserError: one of them cannot be decoded; the message names it, with the reason.
        """
        self.dataset.set_epoch(epoch)
        (batch,) = make_loader(self.dataset, batches=[videos.tolist()])
        self._note(batch.failed)
        if batch.failed:
            path, reason = batch.failed[0]
            raise UserError(f"cannot decode {path}: {reason}")
        return LiveEpisodes(self.recognizer, batch, device=self.device)

    def batches(
        self, batch_size: int, *, epoch: int | None = None, share: Share | None = None
    ) -> Iterator[LiveEpisodes]:
        """Yield clips decoded by worker processes; an undecodable video is left out and added to ``failed``.

        A batch without any decodable video is left out, too, unless it is this rank's part of a batch. With ``share``,
        all ranks must complete the pass, after which all know the videos that some rank has found undecodable.
        """
        self.dataset.set_epoch(epoch or 0)
        if self._loader is None:
            # Changed in place: the loader, whose worker processes stay alive, reads this list at the start of a pass.
            pin = self.device.type == "cuda"
            self._loader = make_loader(self.dataset, batches=self._batches, workers=self.workers, pin=pin)
        order = video_order(self._videos, seed=self.dataset.seed, epoch=epoch)
        parts = own_share(order.split(batch_size), share)
        self._batches[:] = [part.tolist() for part in parts if len(part)]
        loaded = iter(self._loader)
        failed: list[tuple[str, str]] = []
        for part in parts:
            batch = next(loaded) if len(part) else self._no_clips()
            self._note(batch.failed)
            failed += batch.failed
            if len(batch) or share == "videos":
                yield LiveEpisodes(self.recognizer, batch, device=self.device)
        next(loaded, None)  # ends the loader's pass
        if share is not None:
            for found in ranks.gather(failed):
                self._note(found)

    def _no_clips(self) -> ClipBatch:
        side = self.grid.frame_size
        clips = torch.empty(0, self.dataset.num_frames, 3, side, side, dtype=torch.uint8)
        return ClipBatch.unlabelled(clips, self.num_classes, rows=torch.empty(0, dtype=torch.int64))

    def _note(self, failed: list[tuple[str, str]]) -> None:
        if failed:
            self.failed.extend(item for item in failed if item not in self.failed)
            bad = torch.tensor([self._row[path] for path, _ in failed])
            self._videos = self._videos[~torch.isin(self._videos, bad)]
