"""Banks copied to a URL and back: the same bytes, resumed after failures, and nothing damaged is taken."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from adafocus_rl.data.dataset import ClipDataset
from adafocus_rl.errors import UserError
from adafocus_rl.features import FeatureBank, TableStore, build_bank
from adafocus_rl.features.copies import Copied, pull, push
from adafocus_rl.features.expected import expected_manifests
from adafocus_rl.features.parts import Part
from adafocus_rl.features.remote import RemoteFolder
from adafocus_rl.models.recognizer import Recognizer

CPU = torch.device("cpu")
URL = "memory://bucket/features"
SHARDS = 18
"""Six tables of three shards."""

Made = tuple[Recognizer, ClipDataset]


@pytest.fixture(scope="module")
def made(
    shared_list: Path, make_dataset: Callable[..., ClipDataset], make_recognizer: Callable[..., Recognizer]
) -> Made:
    return make_recognizer(), make_dataset(shared_list)


@pytest.fixture(scope="module")
def original(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "bank"
    build_bank(folder, *made, device=CPU, shard_videos=2)
    return folder


@pytest.fixture
def bank(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "bank"))


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    """The file system of ``memory://``, empty."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def _push(folder: Path, **options: Any) -> Copied:
    return push(TableStore(folder).tables().values(), RemoteFolder(URL), **options)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_bank_comes_back_as_it_went(bank: Path, made: Made, tmp_path: Path, kind: str) -> None:
    remote = RemoteFolder(URL if kind == "memory" else f"file://{tmp_path}/there/too")
    tables = TableStore(bank).tables().values()
    counts: list[tuple[int, int]] = []
    assert push(tables, remote, progress=lambda *pair: counts.append(pair)) == Copied(SHARDS, 0, 0)
    assert counts == [(done, SHARDS) for done in range(1, SHARDS + 1)]
    assert push(tables, remote) == Copied(0, SHARDS, 0)
    expected = expected_manifests(*made)
    store = TableStore(tmp_path / "back")
    assert pull(expected, store, remote, part=Part(2, 3)) == Copied(6, 0, 0)
    with pytest.raises(UserError, match="half-written: 1 of 3 shards"):
        FeatureBank(store, device=CPU, expected=expected)
    assert pull(expected, store, remote) == Copied(12, 6, 0)
    assert _content(tmp_path / "back") == _content(bank)
    assert pull(expected, store, remote) == Copied(0, SHARDS, 0)
    shared = TableStore(tmp_path / "shared", shared=True, owner="one")
    assert pull(expected, shared, remote).copied == SHARDS
    assert len(FeatureBank(shared, device=CPU, expected=expected).videos) == 6


def test_what_is_not_finished_is_counted_and_follows_later(bank: Path, made: Made, tmp_path: Path) -> None:
    shutil.move(bank / "local" / "shard_00001", tmp_path / "kept")
    assert _push(bank) == Copied(SHARDS - 1, 0, 1)
    store = TableStore(tmp_path / "back")
    assert pull(expected_manifests(*made), store, RemoteFolder(URL)) == Copied(SHARDS - 1, 0, 1)
    shutil.move(tmp_path / "kept", bank / "local" / "shard_00001")
    assert _push(bank, part=Part(1, 3)) == Copied(0, 6, 0)
    assert _push(bank) == Copied(1, SHARDS - 1, 0)


def test_a_copy_that_failed_goes_on(
    bank: Path, made: Made, tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = type(memory).open
    left = 5

    def failing(own: Any, path: str, mode: str = "rb", **options: Any) -> Any:
        nonlocal left
        left -= path.endswith(".npy")
        if left < 0:
            raise RuntimeError("the connection was reset\nby peer")  # not every driver raises OSError
        return real(own, path, mode, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "open", failing)
        # `clips` has four arrays, so one of its shards is complete, and one file of the next.
        with pytest.raises(
            UserError, match=r"memory://bucket/\S+\.npy cannot be .* \(the connection was reset\); check"
        ):
            _push(bank)
    marks = [path for path in memory.store if path.endswith("done.json")]
    assert len(marks) == 1
    assert _push(bank) == Copied(SHARDS - 1, 1, 0)
    left = 5
    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "open", failing)
        with pytest.raises(UserError, match="the connection was reset"):
            pull(expected_manifests(*made), TableStore(tmp_path / "back"), RemoteFolder(URL))
    assert not list((tmp_path / "back").rglob(".part_*"))
    assert pull(expected_manifests(*made), TableStore(tmp_path / "back"), RemoteFolder(URL)) == Copied(SHARDS - 1, 1, 0)
    assert _content(tmp_path / "back") == _content(bank)


def test_a_damaged_shard_is_not_taken(bank: Path, made: Made, tmp_path: Path, memory: Any) -> None:
    _push(bank)
    path = next(path for path in memory.store if path.endswith("shard_00001/full.npy"))
    content = bytearray(memory.cat_file(path))
    content[-5] ^= 1
    memory.pipe_file(path, bytes(content))
    store = TableStore(tmp_path / "back")
    with pytest.raises(UserError, match=r"memory://bucket/features/full-\w+/shard_00001 is damaged"):
        pull(expected_manifests(*made), store, RemoteFolder(URL))
    assert not (tmp_path / "back" / "full" / "shard_00001").exists()
    memory.pipe_file(path, bytes(content[:-1]))
    with pytest.raises(UserError, match="is damaged"):
        pull(expected_manifests(*made), store, RemoteFolder(URL))
    manifest = next(path for path in memory.store if "/full-" in path and path.endswith("manifest.json"))
    memory.pipe_file(manifest, b"{}")
    with pytest.raises(UserError, match=r"manifest.json is damaged"):
        pull(expected_manifests(*made), TableStore(tmp_path / "other"), RemoteFolder(URL))


@pytest.mark.skipif(os.name == "nt", reason="needs pipes")
@pytest.mark.parametrize("name", ["manifest.json", "shard_00001/done.json", "shard_00001/full.npy"])
def test_a_pipe_is_no_file(bank: Path, made: Made, tmp_path: Path, name: str) -> None:
    """Opening one would wait forever."""
    remote = RemoteFolder(f"file://{tmp_path}/there")
    push(TableStore(bank).tables().values(), remote)
    path = next((tmp_path / "there").glob("full-*")) / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match=r"cannot be read or written \(it is no regular file\)"):
        pull(expected_manifests(*made), TableStore(tmp_path / "back"), remote)


def test_a_shard_that_is_damaged_here_is_not_complete_there(bank: Path, memory: Any) -> None:
    path = bank / "full" / "shard_00001" / "full.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"full.npy is damaged"):
        _push(bank)
    assert not [path for path in memory.store if "/full-" in path and path.endswith("shard_00001/done.json")]


def test_only_a_run_s_own_features_are_taken(
    bank: Path, made: Made, tmp_path: Path, make_recognizer: Callable[..., Recognizer]
) -> None:
    _push(bank)
    other = expected_manifests(make_recognizer(mean=0.4), made[1])
    del other["clips"]
    with pytest.raises(UserError, match="memory://bucket/features has no features of this run"):
        pull(other, TableStore(tmp_path / "back"), RemoteFolder(URL))


def test_shards_of_another_size_are_not_mixed(bank: Path, made: Made, tmp_path: Path) -> None:
    _push(bank)
    build_bank(tmp_path / "wide", *made, device=CPU, shard_videos=3)
    with pytest.raises(UserError, match="is of other shards than"):
        _push(tmp_path / "wide")
    with pytest.raises(UserError, match="has other shards than"):
        pull(expected_manifests(*made), TableStore(tmp_path / "wide"), RemoteFolder(URL))


@pytest.mark.parametrize("url", ["there", "/there", "s3:/a", "http://a/b", "simplecache::memory://a", "zip://a", "::"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(
        UserError, match="is no URL that features can be copied to; give one that begins with one of s3://"
    ):
        RemoteFolder(url)


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="the package is installed")
def test_a_missing_package_is_named() -> None:
    with pytest.raises(UserError, match="s3:// needs the package s3fs; install it with pip"):
        RemoteFolder("s3://bucket/features")
