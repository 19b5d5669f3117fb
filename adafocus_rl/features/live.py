"""Features computed when asked: augmentation, continuous actions, one video from disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from adafocus_rl.data.dataset import ClipBatch, ClipDataset, make_loader
from adafocus_rl.errors import UserError
from adafocus_rl.features.source import EpisodeFeatures
from adafocus_rl.models.recognizer import Recognizer


class LiveEpisodes(EpisodeFeatures):
    """A batch of clips with the frozen recognizer that encodes them.

    Args:
        recognizer: frozen f_G, f_L; in eval mode.
        batch: clips (B, T, 3, S, S) and their labels, on any device.
        device: where features are computed.
    """

    def __init__(self, recognizer: Recognizer, batch: ClipBatch, *, device: torch.device) -> None:
        self.recognizer = recognizer
        self.videos = batch.videos.to(device)
        self.labels = batch.labels.to(device)
        self.multi_hot = batch.multi_hot.to(device)
        self.boxes = batch.boxes.to(device)
        clips = recognizer.prepare(batch.clips.to(device, non_blocking=True))
        self.frames = clips.flatten(0, 1)
        with torch.no_grad():
            maps, vectors = recognizer.glance_features(self.frames)
        self.global_map = maps.unflatten(0, clips.shape[:2]).float()
        self.global_vector = vectors.unflatten(0, clips.shape[:2]).float()

    @torch.no_grad()
    def local_at(self, step: Tensor, action: Tensor) -> Tensor:
        return self.local_at_origin(step, self.recognizer.grid.action_origin(action))

    @torch.no_grad()
    def local_at_origin(self, step: Tensor, origin: Tensor) -> Tensor:
        """f_L features (B, M[, K], D_L) of patches at pixel origins (B, M[, K], 2) of the frames ``step`` (B, M)."""
        rows = torch.arange(len(self), device=step.device)[:, None] * self.num_frames + step
        patches = self.recognizer.grid.crop(self.frames[rows.flatten()], origin.flatten(0, 1))
        features = self.recognizer.focus_features(patches.flatten(0, -4))
        return features.unflatten(0, origin.shape[:-1]).float()

    @torch.no_grad()
    def full(self) -> Tensor:
        return self.recognizer.full_features(self.frames).unflatten(0, (len(self), -1)).float()


class LiveFeatures:
    """A :class:`FeatureSource` that decodes and encodes on demand.

    Args:
        recognizer: f_G, f_L and the patch grid. It is used in eval mode and without gradients.
        dataset: clips; its transforms (random or not) are applied anew at every visit.
        device: where the encoders run.
        workers: decoding processes of :meth:`batches`.
    """

    def __init__(self, recognizer: Recognizer, dataset: ClipDataset, *, device: torch.device, workers: int = 0) -> None:
        self.recognizer = recognizer.to(device).eval()
        self.dataset = dataset
        self.device = device
        self.workers = workers
        self.grid = recognizer.grid
        self.num_frames = dataset.num_frames
        self.num_classes = dataset.num_classes
        self.failed: list[tuple[str, str]] = []
        self._loaders: dict[tuple[int, bool], Iterable[ClipBatch]] = {}
        side = recognizer.grid.frame_size
        with torch.no_grad():
            frame = torch.zeros(1, 3, side, side, device=device)
            maps, vectors = recognizer.glance_features(frame)
            local = recognizer.full_features(frame)
        self.map_shape = (maps.shape[1], maps.shape[2], maps.shape[3])
        self.vector_dim = vectors.shape[1]
        self.local_dim = local.shape[1]

    @property
    def videos(self) -> Tensor:
        return torch.arange(len(self.dataset))

    def episodes(self, videos: Tensor) -> LiveEpisodes:
        """Decodes and encodes these videos now.

        Raises:
            UserError: if one of them cannot be decoded (named, with the reason).
        """
        (batch,) = make_loader(self.dataset, batches=[videos.tolist()])
        if batch.failed:
            path, reason = batch.failed[0]
            raise UserError(f"cannot decode {path}: {reason}")
        return LiveEpisodes(self.recognizer, batch, device=self.device)

    def batches(self, batch_size: int, *, epoch: int | None = None) -> Iterator[LiveEpisodes]:
        """Clips come from worker processes; a video that cannot be decoded is left out and noted in ``failed``."""
        self.dataset.set_epoch(epoch or 0)
        key = (batch_size, epoch is not None)
        if key not in self._loaders:
            self._loaders[key] = make_loader(
                self.dataset, batch_size=batch_size, shuffle=epoch is not None, workers=self.workers
            )
        for batch in self._loaders[key]:
            self.failed.extend(item for item in batch.failed if item not in self.failed)
            if len(batch):
                yield LiveEpisodes(self.recognizer, batch, device=self.device)
