"""The processes of a command that ``torchrun`` starts several times."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from adafocus_rl import ranks
from adafocus_rl.experiments.run.runtime import find_device
from adafocus_rl.experiments.terminal.command_line import how_to_go_on, sentence
from adafocus_rl.experiments.terminal.launcher import gpu_may_wait, report_here
from adafocus_rl.experiments.terminal.progress import console
from adafocus_rl.ranks.gpu_watch import end_process


@contextmanager
def joined(device: str, *, timeout: float, arguments: Sequence[str]) -> Iterator[None]:
    """Join the job's other processes within the block; only the first one prints. Without ``torchrun``, do nothing.

    Args:
        device: name of the device in the configuration.
        timeout: seconds without a sign of life after which a process is given up.
        arguments: the command and its arguments.

    Raises:
        UserError: if the device cannot be used, or the other processes cannot be reached.
    """
    if not ranks.launched():
        yield
        return
    cuda = find_device(device).type == "cuda"
    joining = True

    def end(error: BaseException) -> NoReturn:
        try:
            if not isinstance(error, SystemExit):
                sentence(f"{error}{how_to_go_on(arguments)}")
        finally:
            end_process(error)

    try:
        with ranks.process_group(cuda=cuda, timeout=timeout, end=end):
            joining = False
            if not ranks.is_first():
                console.quiet = True
                warnings.simplefilter("ignore")
            yield
    except BaseException as error:
        if not joining:
            if cuda:
                gpu_may_wait()
            if not isinstance(error, SystemExit):
                report_here()
        raise
