"""What ``torchrun`` tells the processes that it starts, read without importing torch."""

from __future__ import annotations

import os

_reports: list[bool] = []


def launched() -> bool:
    """Return whether ``torchrun`` started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def report_here() -> None:
    """Let this process report the end of its job, whichever its rank."""
    _reports.append(True)


def reports() -> bool:
    """Return whether this process reports what ends the job.

    Before the processes know one another, each finds the same mistake in the options, and the first one reports it.
    """
    return bool(_reports) or not launched() or os.environ.get("RANK", "0") == "0"
