"""Randomness that does not depend on order: seeds from names, random numbers from counters.

With a stateful generator, the random patches of a video change with the batch size, the number of workers and the order
of videos. Here every random choice is a function of its purpose: ``derive_seed(seed, epoch, video)`` seeds a small
generator, and ``hash_uniform(seed, video, frame, sample)`` is the random number itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def derive_seed(*parts: int | str) -> int:
    """Derive a seed in [0, 2⁶³) from integers and names, the same in every process and on every platform.

    ``derive_seed(0, "train", 3)`` and ``derive_seed(0, "train", 4)`` are unrelated, so neighbouring videos,
    epochs or runs do not share random streams as ``seed + i`` would.
    """
    # repr tells 1 from "1" and ("ab", "c") from ("a", "bc"); int() makes a NumPy integer equal to Python's.
    plain = tuple(part if isinstance(part, str) else int(part) for part in parts)
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_all(*parts: int | str) -> None:
    """Seed Python's ``random``, NumPy's global generator and torch's on all devices from ``derive_seed``."""
    seed = derive_seed(*parts)
    random.seed(seed)
    # Third-party code (such as scikit-learn) still draws from NumPy's global state, which takes a seed of 32 bits.
    np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002
    torch.manual_seed(seed)


def compute_deterministically() -> None:
    """Make torch compute the same bits from the same numbers in this process, on CUDA too, at some cost in speed.

    By default, kernels on a GPU add numbers in an order that changes from call to call. A cuBLAS handle reads its
    workspace setting when it is created, so call this before the first matrix product on a GPU.

    Source: torch's notes on reproducibility. An operation that has no deterministic kernel raises a RuntimeError.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)


@contextlib.contextmanager
def isolated(*parts: int | str, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed the global generators from ``parts`` within the context, and restore their states at its end.

    Meant for third-party code that draws from Python's and NumPy's global generators and from torch's on CPU and on
    ``device``.

    Args:
        parts: integers and names, as for ``derive_seed``.
        device: the device on which the code draws.
    """
    seed, device = derive_seed(*parts), torch.device(device)
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    elsewhere = device.type != "cpu"
    devices, kind = ([device], device.type) if elsewhere else ([], "cuda")
    with torch.random.fork_rng(devices, device_type=kind):
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        if elsewhere:
            torch.get_device_module(device).manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


def hash_uniform(seed: int | Tensor, *counters: Tensor) -> Tensor:
    """Return uniform float64 numbers in [0, 1), each a pure function of the seed and of its own counters.

    The numbers are the same on CPU and GPU, for any shape and in any batch. Counters that differ in a single place
    yield unrelated numbers. Source: the finaliser of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable
    pseudorandom number generators"), applied once per counter to the hash so far.

    Args:
        seed: any integer, such as one from ``derive_seed``; or an int64 tensor of seeds that broadcasts with the
            counters, where each seed yields the same numbers as it does alone.
        counters: one or more integer tensors on one device that broadcast together, for example (B, T).

    Returns:
        float64 tensor of the broadcast shape on the counters' device.

    Raises:
        TypeError: a counter is not of an integer type.
        ValueError: no counter is given.
    """
    # The upper 53 bits fill a float64's mantissa exactly.
    return _shift_right(_hash(seed, counters), 11).to(torch.float64) * 2.0**-53


def hash_randint(high: int, seed: int | Tensor, *counters: Tensor) -> Tensor:
    """Return uniform integers in [0, high), each a pure function of the seed and of its own counters.

    Args:
        high: exclusive upper bound, 1 to 2³¹; the bias of any value is below high · 2⁻⁵³.
        seed: any integer, or a tensor of them, as in ``hash_uniform``.
        counters: one or more integer tensors on one device that broadcast together.

    Returns:
        int64 tensor of the broadcast shape on the counters' device.

    Raises:
        TypeError: a counter is not of an integer type.
        ValueError: ``high`` is out of range or no counter is given.
    """
    if not 1 <= high <= 1 << 31:
        raise ValueError(f"high is {high}; expected 1 to 2**31")
    # u ≤ 1 − 2⁻⁵³, so the product stays below ``high`` after rounding and truncates to high − 1 at most.
    return (hash_uniform(seed, *counters) * high).to(torch.int64)


def _hash(seed: int | Tensor, counters: tuple[Tensor, ...]) -> Tensor:
    """Return an int64 hash of the seed and the broadcast counters; relies on torch's int64 wrapping modulo 2⁶⁴."""
    if not counters:
        raise ValueError("no counter is given; the hash needs at least one")
    for counter in counters:
        if counter.is_floating_point() or counter.is_complex() or counter.dtype == torch.bool:
            raise TypeError(f"a counter has dtype {counter.dtype}; expected an integer type")
    state: Tensor | int
    if isinstance(seed, Tensor):
        state = _mix(seed.to(torch.int64) + _signed(_GOLDEN))
    else:
        state = _signed(_mix_int((seed + _GOLDEN) & _MASK64))
    for counter in counters:
        # Adding the odd constant per position keeps (a, b) and (b, a) apart, and 0 from staying 0.
        state = _mix(counter.to(torch.int64) * _signed(_GOLDEN) + _signed(_GOLDEN) + state)
    assert isinstance(state, Tensor)
    return state


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def _mix_int(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK64
    return x ^ (x >> 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift 64 bits right logically: torch's shift is arithmetic, so the copies of the sign bit are masked out."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(x: int) -> int:
    """Return the int64 with the same 64 bits as the unsigned ``x``: torch accepts no integer above 2⁶³ − 1."""
    return x - (1 << 64) if x >= 1 << 63 else x
