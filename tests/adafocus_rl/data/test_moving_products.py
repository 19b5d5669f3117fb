"""The products over photographs: read from files written here, boxes exact, splits disjoint, the same from a seed."""

from __future__ import annotations

import dataclasses
import gzip
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision
from numpy.typing import NDArray
from PIL import Image

from adafocus_rl.data import DATASETS, MovingProductsConfig, make_moving_products, photographs
from adafocus_rl.data.decode import decode_frames
from adafocus_rl.data.fashion_mnist import CLASSES, Products, read_fashion_mnist
from adafocus_rl.data.index import VideoIndex, missing, read_boxes
from adafocus_rl.data.moving_products import Renderer
from adafocus_rl.data.photographs import read_photographs
from adafocus_rl.data.product_clips import outline, render_product_clip, render_product_stills
from adafocus_rl.errors import UserError

COUNTS = {"train": 30, "t10k": 20}


def idx(values: NDArray[np.uint8]) -> bytes:
    """An array in the IDX format."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def products(part: str) -> Products:
    """Bright rectangles with a darker place inside; no two are alike."""
    count = COUNTS[part]
    images = np.zeros((count, 28, 28), np.uint8)
    for i in range(count):
        top, left = 2 + i % 5, 3 + i // 5
        images[i, top : top + 20, left : left + 14] = (200 if part == "train" else 150) + i
        images[i, top + 5 : top + 8, left + 5 : left + 8] = 0
    return Products(images=images, labels=np.arange(count) % 10)


def write_source(folder: Path, *, compressed: bool = True) -> Path:
    folder.mkdir(parents=True)
    for part in COUNTS:
        found = products(part)
        for kind, values in (("images-idx3", found.images), ("labels-idx1", found.labels.astype(np.uint8))):
            name, content = f"{part}-{kind}-ubyte", idx(values)
            if compressed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> MovingProductsConfig:
    """Two clips of each split, from tiny sources."""
    folder = tmp_path_factory.mktemp("sources")
    write_source(folder / "products")
    (folder / "photographs").mkdir()
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate([(60, 90), (100, 70)]):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8))
        coarse.resize((width, height)).save(folder / "photographs" / f"{number}.png")
    return MovingProductsConfig(
        source=str(folder / "products"), photographs=str(folder / "photographs"), train_videos=2, val_videos=2,
        still_videos=1, frames=6, side=64, product=(28, 36), still_side=40, distractors=2, noise=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(small: MovingProductsConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "products"
    make_moving_products(out, small)
    return out


GREY = (np.full((100, 120, 3), 100, np.uint8),)


@pytest.mark.parametrize("number", range(10))
def test_boxes_enclose_the_product_to_the_pixel(small: MovingProductsConfig, number: int) -> None:
    config = dataclasses.replace(
        small, distractors=0, tint=0.0, light=(1.0, 1.0), frames=12, product=(28, 50), still_side=52
    )
    frames, boxes = render_product_clip(config, products("train"), GREY, number, "train", number)
    assert frames.shape == (12, 64, 64, 3)
    present = ~np.isnan(boxes[:, 0])
    assert 0.5 * 12 - 1 <= present.sum() <= 0.9 * 12 + 1
    assert np.abs(np.diff(present.astype(int))).sum() <= 2  # one contiguous stretch
    for frame, (top, left, height, width) in zip(frames, boxes, strict=True):
        rows, columns, _ = np.nonzero(np.abs(frame.astype(int) - 100) > 2)
        if np.isnan(top):
            assert len(rows) == 0
            continue
        assert height / width == pytest.approx(20 / 14, abs=0.12)  # the rectangles above, in whole pixels
        for pixels, start, length in ((rows, top, height), (columns, left, width)):
            assert np.floor(start) <= pixels.min() <= start + 1
            assert start + length - 2 <= pixels.max() < np.ceil(start + length)
        # What a product encloses belongs to it, however dark.
        inside = frame[round(top + height * 6.5 / 20), round(left + width * 6.5 / 14)]
        assert inside.max() < 60


def test_the_background_is_a_window_of_one_photograph_that_pans(small: MovingProductsConfig) -> None:
    config = dataclasses.replace(small, distractors=0, light=(1.0, 1.0), presence=(0.3, 0.3))
    halves = read_photographs(small.photographs, 89)["train"]
    sides = [window for half in halves for window in (half, half[:, ::-1])]
    moved = 0
    for number in range(6):
        frames, boxes = render_product_clip(config, products("train"), halves, 0, "train", number)
        corners = []
        for frame in frames[np.isnan(boxes[:, 0])]:
            found = []
            for photograph in sides:
                first = (photograph[:-63, :-63] == frame[0, 0]).all(-1)
                found += [
                    (top, left)
                    for top, left in np.argwhere(first).tolist()
                    if np.array_equal(photograph[top : top + 64, left : left + 64], frame)
                ]
            assert len(found) == 1
            corners.append(found[0])
        moved += len({*corners}) > 1
    assert moved == 6


def test_distractors_and_background_say_nothing_about_the_class(small: MovingProductsConfig) -> None:
    config = dataclasses.replace(small, presence=(0.5, 0.5))
    halves = read_photographs(small.photographs, 89)["train"]
    one, boxes = render_product_clip(config, products("train"), halves, 3, "train", 0)
    other, same = render_product_clip(config, products("train"), halves, 4, "train", 0)
    absent = np.isnan(boxes[:, 0])
    assert np.array_equal(absent, np.isnan(same[:, 0]))
    assert np.array_equal(one[absent], other[absent])
    assert not np.array_equal(one[~absent], other[~absent])
    bare, _ = render_product_clip(dataclasses.replace(config, distractors=0), products("train"), halves, 3, "train", 0)
    assert not np.array_equal(one[absent], bare[absent])


def test_a_distractor_has_a_products_pixels_in_other_places(small: MovingProductsConfig) -> None:
    # At the image's own size and whole pixels nothing is interpolated, so the pieces have the image's brightness.
    config = dataclasses.replace(
        small, distractors=1, product=(28, 28), speed=(0.0, 0.0), tint=0.0, presence=(0.1, 0.1), light=(0.0, 0.0)
    )
    same = dataclasses.replace(products("train"), images=products("train").images[:1].repeat(30, axis=0))
    image = same.images[0]
    differing = 0
    for number in range(5):
        frames, boxes = render_product_clip(config, same, GREY, 0, "train", number)
        pieces = frames[np.isnan(boxes[:, 0])][0, ..., 0]
        assert pieces.sum() == pytest.approx(image.astype(int).sum(), rel=0.12)  # blurred edges lose a little
        rows, columns = np.nonzero(pieces)
        whole = np.ptp(rows) <= 20 and np.ptp(columns) <= 14
        differing += not whole
    assert differing >= 4


def test_outline_fills_what_a_product_encloses() -> None:
    image = products("train").images[0]
    assert outline(image).sum() == 20 * 14
    image[:5, :10] = 5  # too dark to belong to it
    assert outline(image).sum() == 20 * 14 - 3 * 7
    assert not outline(np.zeros((28, 28), np.uint8)).any()


def test_splits_share_neither_products_nor_photographs(small: MovingProductsConfig, tmp_path: Path) -> None:
    halves = np.zeros((60, 90, 3), np.uint8)
    halves[:, 45:] = 255
    Image.fromarray(halves).save(tmp_path / "halves.png")
    Image.fromarray(halves.transpose(1, 0, 2)).save(tmp_path / "upright.png")
    # The training products are brighter than 200, the test ones at most 170: over black or white, each shows.
    config = dataclasses.replace(small, photographs=str(tmp_path), tint=0.0, light=(1.0, 1.0), presence=(1.0, 1.0))
    for split, corner in (("train", 0), ("stills", 0), ("val", 255)):
        for number in range(3):
            frames, _ = Renderer(config)(number, split, number)
            values = np.bincount(frames.ravel(), minlength=256)
            assert values.argmax() == corner
            if split != "val":
                assert frames.max() > 190
            else:
                assert np.percentile(frames[frames < 250], 99) < 250
    found = read_fashion_mnist(small.source)
    seen = {image.tobytes() for image in found["train"].images}
    assert not any(image.tobytes() in seen for image in found["val"].images)


def test_stills_show_another_product_in_each_frame(small: MovingProductsConfig) -> None:
    stills = render_product_stills(small, products("train"), GREY, 3, 0)
    assert stills.shape == (6, 40, 40, 3)
    assert len({still.tobytes() for still in stills}) == 6
    following = render_product_stills(small, products("train"), GREY, 3, 1)
    assert not {still.tobytes() for still in stills} & {still.tobytes() for still in following}


def test_files_and_lists_agree(small: MovingProductsConfig, folder: Path) -> None:
    names = "classes.txt dataset.json stills stills.csv train train.csv train_boxes.csv val val.csv val_boxes.csv"
    assert sorted(path.name for path in folder.iterdir()) == names.split()
    for split, count in (("train", 2), ("val", 2), ("stills", 1)):
        index = VideoIndex.read(folder / f"{split}.csv")
        assert len(index) == count
        assert missing(index) == []
        assert index.class_names == CLASSES
        for i, record in enumerate(index):
            frames, boxes = Renderer(small)(record.labels[0], split, i)
            stored = decode_frames(index.full_path(i), range(6)).astype(float)
            assert np.abs(stored - frames).mean() < 8
            if boxes is not None:
                np.testing.assert_allclose(read_boxes(index)[record.path], boxes, atol=1e-4)


def test_the_same_bytes_again_and_other_bytes_from_another_seed(
    small: MovingProductsConfig, folder: Path, tmp_path: Path
) -> None:
    calls: list[tuple[int, int]] = []
    make_moving_products(tmp_path / "again", small, lambda done, total: calls.append((done, total)), workers=0)
    assert calls == [(n, 5) for n in range(1, 6)]
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(folder)).read_bytes(), path
    # Other processes render with a copy.
    one, _ = pickle.loads(pickle.dumps(Renderer(small)))(1, "val", 0)  # noqa: S301 - our own bytes
    assert np.array_equal(one, Renderer(small)(1, "val", 0)[0])
    assert not np.array_equal(one, Renderer(dataclasses.replace(small, seed=1))(1, "val", 0)[0])
    assert not np.array_equal(one, Renderer(small)(1, "val", 1)[0])


def test_a_complete_folder_needs_no_sources(small: MovingProductsConfig, tmp_path: Path) -> None:
    shutil.copytree(str(small.source), tmp_path / "source")
    config = dataclasses.replace(small, source=str(tmp_path / "source"), train_videos=1, val_videos=1, still_videos=0)
    lists = make_moving_products(tmp_path / "products", config)
    assert {*lists} == {"train", "val"}
    shutil.rmtree(tmp_path / "source")
    read_fashion_mnist.cache_clear()
    assert make_moving_products(tmp_path / "products", config) == lists
    with pytest.raises(UserError, match="dataset-fashion-mnist"):
        make_moving_products(tmp_path / "other", config)
    assert [path.name for path in tmp_path.iterdir()] == ["products"]


@pytest.mark.parametrize("below", ["", "FashionMNIST/raw", "raw"])
def test_products_are_read_as_torchvision_reads_them(below: str, tmp_path: Path) -> None:
    write_source(tmp_path / below / "", compressed=False) if below else write_source(tmp_path / "flat")
    found = read_fashion_mnist(str(tmp_path if below else tmp_path / "flat"))
    for split, part in (("train", "train"), ("val", "t10k")):
        assert np.array_equal(found[split].images, products(part).images)
        assert np.array_equal(found[split].labels, products(part).labels)
    if below == "FashionMNIST/raw":
        theirs = torchvision.datasets.FashionMNIST(tmp_path, train=False)
        assert np.array_equal(theirs.data.numpy(), found["val"].images)
        assert [name.lower() for name in theirs.classes] == [name.lower() for name in CLASSES]


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("train-images-idx3-ubyte", None, "there is no train-images-idx3-ubyte"),
        ("t10k-labels-idx1-ubyte", None, "install Debian's package dataset-fashion-mnist, or give the folder"),
        ("train-images-idx3-ubyte", b"", "is no IDX file"),
        ("train-images-idx3-ubyte", idx(np.zeros((3, 28, 28), np.uint8))[:-1], "is cut short"),
        ("train-images-idx3-ubyte", struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "is cut short"),
        ("train-images-idx3-ubyte", idx(np.zeros((30, 32, 32), np.uint8)), "28×28 pixels"),
        ("train-labels-idx1-ubyte", idx(np.zeros(29, np.uint8)), "29 labels"),
        ("train-labels-idx1-ubyte", idx(np.arange(30, dtype=np.uint8) % 11), "each of 0 to 9"),
        ("train-labels-idx1-ubyte", idx(np.arange(30, dtype=np.uint8) % 9), "each of 0 to 9"),
    ],
)
def test_missing_and_damaged_products(tmp_path: Path, name: str, content: bytes | None, fragment: str) -> None:
    source = write_source(tmp_path / "source", compressed=False)
    if content is None:
        (source / name).unlink()
    else:
        (source / name).write_bytes(content)
    with pytest.raises(UserError, match=fragment) as caught:
        read_fashion_mnist(str(source))
    assert str(source) in str(caught.value)


def test_without_scikit_image_the_sentence_says_what_to_install(
    small: MovingProductsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photographs, "find_spec", lambda package: None)
    read_photographs.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'adafocus_rl\[products\]', or give a folder"):
        make_moving_products(tmp_path / "out", dataclasses.replace(small, photographs=None))
    assert list(tmp_path.iterdir()) == []


def test_photographs_of_scikit_image() -> None:
    pytest.importorskip("skimage")
    halves = read_photographs(None, 313)
    assert [len(halves[split]) for split in ("train", "val")] == [11, 11]
    assert all(min(half.shape[:2]) == 313 and half.shape[2] == 3 for split in halves.values() for half in split)


def test_photographs_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no \.jpg or \.png image in .*nowhere"):
        read_photographs(str(tmp_path / "nowhere"), 100)
    with pytest.raises(UserError, match=r"no \.jpg or \.png image in"):
        read_photographs(str(tmp_path), 100)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"the photograph .*broken\.png cannot be used"):
        read_photographs(str(tmp_path), 100)


@pytest.mark.parametrize(
    "options",
    [
        {"train_videos": 0}, {"frames": 1}, {"side": 95}, {"product": (20, 40)}, {"product": (40, 224)},
        {"product": (64, 40)}, {"still_side": 64}, {"still_side": 300}, {"distractors": -1}, {"scramble_block": 8},
        {"presence": (0.0, 0.5)}, {"speed": (3.0, 1.0)}, {"light": (-1.0, 1.0)}, {"tint": 1.5}, {"noise": -0.1},
        {"crf": 52},
    ],
)  # fmt: skip
def test_senseless_configurations_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(options))} is "):
        MovingProductsConfig(**options)  # type: ignore[arg-type]


def test_it_is_registered() -> None:
    assert DATASETS.get("moving_products") is make_moving_products
