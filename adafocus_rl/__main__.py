"""``python -m adafocus_rl``: the command line, where no ``adafocus`` is installed."""

import sys

from adafocus_rl.experiments.cli.entry import process

sys.exit(process())
