"""Reading the next batch of a bank larger than memory, while the current one is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

from adafocus_rl.features.rows import MappedRows

MOST_READERS = 8
"""Threads that read a batch for a GPU, at most. One thread reads more slowly than a GPU computes."""


class ReadAhead:
    """Whole rows of tables for the batches of one pass.

    When a batch asks for a table, a thread begins to read the same table for the next batch, so that only tables in use
    are read. The rows are those of ``MappedRows.gather``. It is a context manager: after leaving it, rows are still
    returned, but nothing is read ahead.

    For a GPU, a batch is read by as many threads as torch uses on the CPU (``torch.get_num_threads``), at most
    ``MOST_READERS``. On a CPU one thread reads, because the networks need the others.

    Args:
        tables: the tables by name.
        batches: rows (B,) of the videos of each batch, int64 on CPU.
        device: device of the features.
    """

    def __init__(self, tables: Mapping[str, MappedRows], batches: Sequence[Tensor], *, device: torch.device) -> None:
        self.tables = tables
        self.batches = batches
        self.device = device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="adafocus")
        self._readers = readers_for(device)
        # Not the thread that waits for them.
        self._parts = ThreadPoolExecutor(self._readers, thread_name_prefix="adafocus-read")
        self._begun: dict[tuple[int, str], Future[Tensor]] = {}
        self._open = True
        # Copies on a stream of their own overlap with the work of the current batch.
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def rows(self, number: int, name: str) -> Tensor:
        """Return rows (B, T, …) of a table for batch ``number``, float32 on the device."""
        # Earlier batches leave rows that they did not ask for.
        self._begun = {key: reading for key, reading in self._begun.items() if key[0] >= number}
        reading = self._begun.pop((number, name), None)
        videos = self.batches[number]
        host = reading.result() if reading is not None else self._read(name, self._buffer(name, videos), videos)
        self._begin(number + 1, name)
        return self._on_device(name, host, videos)

    def _begin(self, number: int, name: str) -> None:
        if self._open and number < len(self.batches) and (number, name) not in self._begun:
            videos = self.batches[number]
            # The memory is not requested by the thread, because that would disturb the capture of a CUDA graph.
            buffer = self._buffer(name, videos)
            self._begun[number, name] = self._thread.submit(self._read, name, buffer, videos)

    def _buffer(self, name: str, videos: Tensor) -> Tensor:
        return self.tables[name].buffer(videos.shape)

    def _read(self, name: str, buffer: Tensor, videos: Tensor) -> Tensor:
        table = self.tables[name]
        # NumPy copies without Python's lock, each thread into its part of the memory.
        spread = self._parts.map if self._open and self._readers > 1 else map
        parts = [part.numpy() for part in videos.tensor_split(self._readers)]
        list(spread(table.read, buffer.tensor_split(self._readers), parts))
        return table.as_given(buffer, videos) if self.device.type == "cpu" else buffer

    def _on_device(self, name: str, host: Tensor, videos: Tensor) -> Tensor:
        if self.device.type == "cpu":
            return host
        if self._copies is None:
            return self.tables[name].as_given(host.to(self.device), videos.to(self.device))
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._copies):
            rows = host.to(self.device, non_blocking=True)
        current.wait_stream(self._copies)
        rows.record_stream(current)
        return self.tables[name].as_given(rows, videos.to(self.device))

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._begun.clear()
        self._thread.shutdown(cancel_futures=True)
        self._parts.shutdown()


def readers_for(device: torch.device) -> int:
    """Return the number of threads that read a batch for a device."""
    return min(torch.get_num_threads(), MOST_READERS) if device.type == "cuda" else 1
