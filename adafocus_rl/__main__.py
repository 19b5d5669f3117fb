"""``python -m adafocus_rl``: the command line where the ``adafocus`` script is not installed."""

import sys

from adafocus_rl.experiments.cli.entry import process

sys.exit(process())
