"""The arithmetic of docs/scale.md is right, and its rates are those of docs/benchmarks.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "scale.md").read_text(encoding="utf-8")
BENCHMARKS = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
FRAMES, CELLS = 16, 49
VIDEOS = {
    "ActivityNet": (10_024, 4_926, 200),
    "Kinetics-400": (240_000, 20_000, 400),
    "ten million clips": (10**7, 0, 400),
}
FEATURES = 2 * FRAMES * (1280 * 49 + 1280 + CELLS * 2048 + 2048 + 32 * 32)
SIDE = 8 + FRAMES * 16 + 1
"""Bytes of a video in ``clips`` besides one for each class."""


def number(text: str) -> float:
    return float(text.replace(",", ""))


def rows(section: str) -> dict[str, list[str]]:
    """The table of a section with a row for each dataset."""
    part = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in found if row[0] in VIDEOS}


def rate(name: str, column: int) -> float:
    """A number of docs/benchmarks.md, by the beginning of its row."""
    (line,) = [line for line in BENCHMARKS.splitlines() if line.startswith(f"| {name} |")][:1]
    return number(re.sub(r"[^\d.,]", "", line.strip("|").split("|")[column]))


BUILD = rate("bank-build, float32, H.264, 294 patches", 3) / 6 * FRAMES / 1000
STEPS = rate("PPOAgent | RecurrentPPO", 2)


def test_the_size_of_a_video(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
    said = int(code.rsplit("# ", 1)[1])
    assert int(capsys.readouterr().out) == said == FEATURES + SIDE + 200
    maps, patches = FRAMES * 1280 * 49, FRAMES * CELLS * 2048
    text = (
        f"takes {said - maps + 8 * FRAMES:,} bytes, with\n`[global_map, local]` {said - maps - patches + 16 * FRAMES:,}"
    )
    assert text in PAGE
    assert f"`local` takes {2 * FRAMES * CELLS * 2048:,} and `global_map` {2 * FRAMES * 1280 * 49:,}" in PAGE


def test_disk_and_memory() -> None:
    for name, (videos, bank, small, large) in rows("Disk").items():
        train, val, classes = VIDEOS[name]
        assert number(videos) == train + val
        assert number(bank.removesuffix(" GB")) == round((train + val) * (FEATURES + SIDE + classes) / 1e9)
        assert [number(small), number(large)] == [-(-(train + val) // size) for size in (64, 1024)]
    assert f"{SIDE} bytes for each video" in PAGE
    sides = [(train + val) * (SIDE + classes) for train, val, classes in VIDEOS.values()]
    assert f"{sides[0] / 1e6:.0f} MB for ActivityNet, {sides[1] / 1e6:.0f} MB for\n" in PAGE
    assert f"{sides[2] / 1e9:.1f} GB for ten million clips" in PAGE
    assert f"64 · 16 · 62,720 numbers in float16 and\n  in float32: {64 * 16 * 62_720 * 6 / 1e6:.0f} MB" in PAGE


def test_rates_and_times() -> None:
    low = rate("bank-build, bfloat16, H.264, 294 patches", 3) / 6 * FRAMES / 1000
    recognise = rate("deployed float32 | f_L on whole frames, both with decoding (H.264)", 2) / 1000
    share = rate("bank-read, with PPO", 5)
    for text in (
        f"{rate('bank-build, float32, H.264, 294 patches', 3):,} ms for 6 frames | {BUILD:.1f} s per video",
        f"{rate('bank-build, bfloat16, H.264, 294 patches', 3):,} ms for 6 frames | {low:.1f} s per video",
        f"{STEPS:,.0f} steps/s | {1000 * FRAMES / STEPS:.1f} ms per video",
        f"ratio {share} | {1000 * FRAMES / STEPS / share:.1f} ms per video",
        f"{1000 * recognise:.0f} ms | {1000 * recognise:.0f} ms per video",
    ):
        assert text in PAGE
    for name, (one, many, policy, recognised) in rows("Time on CPUs").items():
        train, val, _ = VIDEOS[name]
        hours = {
            one: (train + val) * BUILD / 3600, many: (train + val) * BUILD / 3600 / 16,
            policy: 50 * train * FRAMES / STEPS / 3600, **({recognised: val * recognise / 3600} if val else {}),
        }  # fmt: skip
        for said, value in hours.items():
            amount, unit = said.split()
            assert number(amount) == pytest.approx(value / {"days": 24, "hours": 1}[unit], abs=0.051), said
    read = FRAMES * 2 * (1280 * 49 + 1280 + 2 * 2048)
    assert f"{read / 1e6:.1f} MB, so {STEPS:,.0f} steps/s need {read / FRAMES * STEPS / 1e6:.0f} MB/s" in PAGE


def test_rates_and_times_on_a_gpu() -> None:
    build = rate("bank-build, float32, H.264, 25,088 patches", 3)
    mapped, resident = (rate("bank-read, with PPO, 512 videos", column) for column in (3, 4))
    for text in (
        f"{build:,} ms for 32 videos | {build / 32:.1f} ms per video",
        f"{resident} ms for 512 videos | {resident / 512:.2f} ms per video",
        f"{mapped} ms for 512 videos | {mapped / 512:.2f} ms per video",
        f"2.2 MB per video: {FRAMES * 2 * (1280 * 49 + 1280 + 2 * 2048) * 512 / mapped / 1e6:.1f} GB/s",
    ):
        assert text in PAGE
    for name, (bank, policy) in rows("Time on a GPU").items():
        train, val, _ = VIDEOS[name]
        for said, ms in ((bank, (train + val) * build / 32), (policy, 50 * train * mapped / 512)):
            amount, unit = said.split()
            assert number(amount) == pytest.approx(ms / {"days": 864e5, "hours": 36e5, "minutes": 6e4}[unit], abs=0.051)
