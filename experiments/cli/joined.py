"""The processes of a command that ``torchrun`` starts several times."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from adafocus_rl import ranks
from adafocus_rl.experiments.run.runtime import find_device
from adafocus_rl.experiments.terminal.launcher import report_here
from adafocus_rl.experiments.terminal.progress import console


@contextmanager
def joined(device: str, *, timeout: float) -> Iterator[None]:
    """Join the job's other processes within the block; only the first one prints. Without ``torchrun``, do nothing.

    Args:
        device: name of the device in the configuration.
        timeout: seconds without a sign of life after which a process is given up.

    Raises:
        UserError: if the device cannot be used, or the other processes cannot be reached.
    """
    if not ranks.launched():
        yield
        return
    cuda = find_device(device).type == "cuda"
    joining = True
    try:
        with ranks.process_group(cuda=cuda, timeout=timeout):
            joining = False
            if not ranks.is_first():
                console.quiet = True
                warnings.simplefilter("ignore")
            yield
    except SystemExit:
        raise
    except BaseException:
        if not joining:
            report_here()
        raise
