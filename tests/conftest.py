"""For all tests: the `gpu` marker, few threads, the same examples for everyone, features without videos."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from adafocus_rl.features.source import EpisodeFeatures, Share, own_share, video_order
from adafocus_rl.geometry import PatchGrid

# Two test processes on two cores: torch's own threads would only fight over them.
torch.set_num_threads(1)

# What is started in the background (`make test &`, nohup) ignores these signals, and so does all that it starts.
for _name, _usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) == signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _usual)

# Before anything computes on a GPU, so that tests of determinism do not depend on those before them.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# Not into the user's: the run that comes with the package is copied there. The processes of pytest-xdist inherit it.
if "ADAFOCUS_CACHE" not in os.environ:
    os.environ["ADAFOCUS_CACHE"] = tempfile.mkdtemp(prefix="adafocus-cache-")
    atexit.register(shutil.rmtree, os.environ["ADAFOCUS_CACHE"], ignore_errors=True)

# A property test that fails on one machine must fail on all, and a busy machine is not a failure.
settings.register_profile(
    "adafocus",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "adafocus"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def cuda() -> Iterator[torch.device]:
    """A GPU that computes in float32, for tests marked `gpu`: TF32 has three digits, which hides mistakes."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield torch.device("cuda")
    torch.backends.cudnn.allow_tf32 = before


class MadeUpEpisodes(EpisodeFeatures):
    """Rows of a :class:`MadeUpFeatures`."""

    def __init__(self, source: MadeUpFeatures, videos: Tensor) -> None:
        self.source = source
        self.videos = videos.to(source.device)
        self.labels = source.labels[self.videos]
        self.multi_hot = torch.nn.functional.one_hot(self.labels, source.num_classes).float()
        self.true_boxes = source.true_boxes[self.videos]
        self.global_map = source.maps[self.videos]
        self.global_vector = source.vectors[self.videos]
        self.motion = source.motion[self.videos]

    def local_at(self, step: Tensor, action: Tensor) -> Tensor:
        """Rows of the table of patches."""
        videos = self.videos[:, None].expand_as(step)
        if action.ndim > step.ndim:
            videos, step = videos[..., None], step[..., None]
        return self.source.patches[videos, step, action]

    def local_at_position(self, step: Tensor, position: Tensor) -> Tensor:
        """Between the patches of the corners (0, 0), (0, 1), (1, 0) and (1, 1), at the positions' pixels."""
        grid = self.source.grid
        row, col = (grid.origin(position) / grid.last_offset).unbind(-1)
        weight = torch.stack(((1 - row) * (1 - col), (1 - row) * col, row * (1 - col), row * col), dim=-1)
        side = grid.grid
        corners = self.source.patches[self.videos][..., [0, side - 1, side * (side - 1), side * side - 1], :]
        each = corners[torch.arange(len(self), device=step.device)[:, None], step]
        each = each if position.ndim == step.ndim + 1 else each[:, :, None]
        return (weight[..., None] * each).sum(-2)

    def full(self) -> Tensor:
        """The mean over all patches."""
        return self.source.patches[self.videos].mean(2)


class MadeUpFeatures:
    """A FeatureSource without videos and networks: tables of random numbers, which a test may overwrite."""

    def __init__(
        self,
        *,
        videos: int = 7,
        frames: int = 4,
        grid: int = 3,
        patch_scales: Sequence[float] = (1.0,),
        classes: int = 3,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.seed = seed
        self.grid = PatchGrid(grid=grid, frame_size=12, patch_size=4, scales=patch_scales)
        self.num_steps, self.num_classes = frames, classes
        self.map_shape, self.vector_dim, self.local_dim = (2, 3, 3), 5, 6
        draw = torch.Generator().manual_seed(seed)
        self.maps = torch.randn(videos, frames, *self.map_shape, generator=draw).to(device)
        self.vectors = torch.randn(videos, frames, self.vector_dim, generator=draw).to(device)
        self.patches = torch.randn(videos, frames, self.grid.num_actions, self.local_dim, generator=draw).to(device)
        self.motion = torch.rand(videos, frames, 6, 6, generator=draw).to(device)
        self.motion[:, 0] = 0
        self.labels = torch.randint(classes, (videos,), generator=draw).to(device)
        self.true_boxes = torch.full((videos, frames, 4), float("nan"), device=device)
        self.has_boxes = False
        self.any_position = True
        self.failed: list[tuple[str, str]] = []
        self._videos = torch.arange(videos)

    @property
    def videos(self) -> Tensor:
        """All rows."""
        return self._videos

    def episodes(self, videos: Tensor, *, epoch: int = 0) -> MadeUpEpisodes:
        """The same in every epoch."""
        return MadeUpEpisodes(self, videos)

    def batches(
        self, batch_size: int, *, epoch: int | None = None, share: Share | None = None
    ) -> Iterator[MadeUpEpisodes]:
        """All videos once."""
        for videos in own_share(video_order(self.videos, seed=self.seed, epoch=epoch).split(batch_size), share):
            yield self.episodes(videos)


@pytest.fixture(scope="session")
def made_up() -> type[MadeUpFeatures]:
    """The class :class:`MadeUpFeatures`, for tests of environments and agents."""
    return MadeUpFeatures


@pytest.fixture
def full_after() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """A block in which no file can grow beyond some bytes: the disk is full, as far as a program can tell."""
    resource = pytest.importorskip("resource", reason="needs POSIX")

    @contextlib.contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Python ignores the signal that comes with it, so that writes fail with EFBIG.
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
