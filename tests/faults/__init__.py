"""Crashes, full disks, power cuts, signals and second processes for everything that writes: ``make test-faults``.

A *scenario* (`faults.scenarios`) is a command and the command that goes on with it. Its process is a fork of a server
(`faults.server`), in which every change of a file is a numbered *point* (`faults.injection`); at a chosen one the
process is killed, stopped, or told that the disk is full. Then the work is gone on with, and what lies in the folder
(`faults.state`) is compared with what a run leaves that nothing has happened to. For a power cut the folder is first
put into the state of a disk that has lost all that was not flushed (`faults.disk`). ``python -m faults --help``, with
``tests`` on the path, has the options.
"""

from __future__ import annotations

import sys
from pathlib import Path

# For pytest, which imports this package alone: the material comes from `fuzz`, beside it.
if (_beside := str(Path(__file__).parents[1])) not in sys.path:
    sys.path.append(_beside)
