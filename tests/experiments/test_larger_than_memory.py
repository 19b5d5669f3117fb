"""Banks several times larger than the memory that a process may take: training on one, and building one.

``RLIMIT_DATA`` bounds a process's own memory; pages of mapped files, which the system drops when it needs their place,
do not count. It needs no privileges, unlike control groups.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adafocus_rl.features import TableStore
from adafocus_rl.features.manifest import BANK_FORMAT, BANK_VERSION
from adafocus_rl.features.shards import ShardWriter, shard_folder
from adafocus_rl.features.specs import CLIPS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, needs RLIMIT_DATA")

MEGABYTE = 1 << 20
SLACK = 64 * MEGABYTE
"""By how much peaks may differ between epochs: some ten arrays of a batch, which exist at the same time or do not."""

COMMON = """
    import json, resource, sys, threading
    from pathlib import Path

    def status(name):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024

    class Peak:
        '''Largest own memory since the last look.'''
        def __init__(self):
            self.value, self.end = 0, threading.Event()
            threading.Thread(target=self.watch, daemon=True).start()
        def watch(self):
            while not self.end.wait(0.005):
                self.value = max(self.value, status("RssAnon"))
        def take(self):
            value, self.value = max(self.value, status("RssAnon")), 0
            return value
"""

TRAIN = """
    import torch
    from adafocus_rl.agents import PPOAgent
    from adafocus_rl.agents.ppo.options import PPOOptions
    from adafocus_rl.envs import PatchSelectionVectorEnv
    from adafocus_rl.features import FeatureBank
    from adafocus_rl.models.classifiers import create_classifier

    folder, limit, resident = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    bank = FeatureBank(folder, device=torch.device("cpu"), resident=resident)
    size = sum(table.num_bytes for table in bank.tables.values())
    classifier = create_classifier("gru", input_dim=512 + 2048, num_classes=5, hidden=16, dropout=0.0).eval()
    env = PatchSelectionVectorEnv(bank, classifier.requires_grad_(False), num_envs=32)
    agent = PPOAgent(env, PPOOptions(hidden=16, reduced_channels=4))
    peak, peaks, losses = Peak(), [], []
    for epoch in range(3):
        losses.append(agent.train_epoch(env, epoch, epochs=3)["train/loss"])
        peaks.append(peak.take())
    print(json.dumps({"size": size, "resident": bank.resident, "peaks": peaks, "losses": [*map(float, losses)]}))
"""

BUILD = """
    import torch
    from adafocus_rl.data.dataset import ClipDataset
    from adafocus_rl.data.index import VideoIndex
    from adafocus_rl.data.transform_options import TransformConfig
    from adafocus_rl.features import TableSpec, build_bank
    from adafocus_rl.models import ModelConfig, Recognizer
    from adafocus_rl.models.config import ClassifierConfig, EncoderConfig

    folder, videos, allowed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    config = ModelConfig(
        glance=EncoderConfig(name="small_glance"), focus=EncoderConfig(name="small_focus"), frame_size=32,
        glance_size=16, patch_size=16, grid=3, num_classes=10, classifier=ClassifierConfig(hidden=8),
    )
    options = TransformConfig(frame_size=32, resize_short=0, crop="none")
    dataset = ClipDataset(VideoIndex.read(videos), num_frames=4, transform=options, train=False, seed=0, num_classes=10)
    # A megabyte for each frame.
    wide = TableSpec(name="wide", fill=lambda chunk: chunk.frames.flatten(1).repeat(1, 171)[:, : 1 << 19])
    peak, peaks = Peak(), []

    def progress(done, total):
        if done == int(sys.argv[6]):  # what libraries take and keep does not count
            limit = status("VmData") + allowed
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
            peaks.append(peak.take())
        elif done in (total // 2, total):
            peaks.append(peak.take())

    build_bank(
        folder, Recognizer(config), dataset, device=torch.device("cpu"), shard_videos=int(sys.argv[4]),
        chunk_videos=int(sys.argv[5]), tables=[wide], progress=progress,
    )
    print(json.dumps({"peaks": peaks}))
"""


def _run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(COMMON) + textwrap.dedent(program)
    # Arenas of threads would reserve memory that they do not use.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=900)


def _bank(folder: Path, *, shards: int, videos: int) -> None:
    """Write a bank of random features whose shards are links to the same files, so that the disk need not be large."""
    random = np.random.default_rng(0)
    shapes = {"global_map": (512, 7, 7), "global_vector": (512,), "local": (49, 2048), "full": (2048,)}
    common = {
        "format": BANK_FORMAT, "format_version": BANK_VERSION, "videos": shards * videos, "frames": 8,
        "index": "made up", "transforms": {}, "shard_videos": videos,
    }  # fmt: skip
    tables: dict[str, dict[str, Any]] = {CLIPS: {"classes": 5, "boxes": None}}
    tables |= {name: {"shape": [*shape], "dtype": "float16"} for name, shape in shapes.items()}
    tables["local"] |= {"grid": 7, "frame_size": 224, "patch_size": 128}
    for name, entries in tables.items():
        table = TableStore(folder).begin({**common, "table": name, **entries})
        writer = ShardWriter(table, 0)
        if name == CLIPS:
            labels = random.integers(5, size=videos)
            arrays: dict[str, Any] = {
                "label": labels, "multi_hot": np.eye(5, dtype=np.uint8)[labels],
                "valid": np.ones(videos, dtype=np.bool_),
                "boxes": np.full((videos, 8, 4), np.nan, dtype=np.float32),
            }  # fmt: skip
        else:
            arrays = {name: random.random((videos, 8, *shapes[name]), dtype=np.float32).astype(np.float16)}
        writer.add(np.arange(videos), arrays)
        writer.finish()
        for number in range(1, shards):
            shutil.copytree(shard_folder(table.folder, 0), shard_folder(table.folder, number), copy_function=os.link)


@pytest.mark.slow
@pytest.mark.long
def test_training_on_a_bank_four_times_larger_than_the_memory_allowed(tmp_path: Path) -> None:
    """The limit includes the libraries. A process that holds the bank in memory fails under it."""
    limit = 1250 * MEGABYTE
    _bank(tmp_path, shards=128, videos=22)
    done = _run(TRAIN, tmp_path, limit, "auto")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["size"] > 4 * limit
    assert not found["resident"]
    assert max(found["peaks"]) < limit
    assert max(found["peaks"][1:]) < found["peaks"][0] + SLACK
    assert np.isfinite(found["losses"]).all()
    done = _run(TRAIN, tmp_path, limit, "always")
    assert done.returncode != 0
    assert "alloc" in done.stderr.lower()


@pytest.mark.slow
@pytest.mark.long
def test_building_a_bank_four_times_larger_than_the_memory_allowed(tmp_path: Path, recipe: Path) -> None:
    """The limit is what the build may take beyond the libraries and its first chunk."""
    allowed, rows = 48 * MEGABYTE, 64
    for number in range(rows):
        os.link(next((recipe.parent / "data" / "train").glob("*.mp4")), tmp_path / f"{number}.mp4")
    videos = tmp_path / "list.csv"
    videos.write_text("path,label\n" + "".join(f"{number}.mp4,{number % 10}\n" for number in range(rows)))
    done = _run(BUILD, tmp_path / "bank", videos, allowed, 8, 1, 2)
    assert done.returncode == 0, done.stderr
    first, half, end = json.loads(done.stdout)["peaks"]
    assert sum(file.stat().st_size for file in (tmp_path / "bank").rglob("*.npy")) > 4 * allowed
    assert half < first + allowed
    assert end < half + MEGABYTE * 16
    # The limit acts: all videos at once do not fit.
    done = _run(BUILD, tmp_path / "large", videos, allowed, 64, 64, 0)
    assert done.returncode != 0
    assert "alloc" in done.stderr.lower()
