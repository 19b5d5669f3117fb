"""``adafocus export``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adafocus_rl.experiments.cli.options import AGENT_HELP
from adafocus_rl.experiments.export.web_runtime import PACKAGE, find_runtime
from adafocus_rl.experiments.terminal.command_line import CommandParser
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.files import new_folder


def export(argv: Sequence[str]) -> int:
    """Run ``adafocus export RUN --out DIR``."""
    parser = CommandParser(
        prog="adafocus export",
        description="Write the networks of a run as ONNX files: f_G with a step of the agent, f_L, and a step of f_C, "
        "each compared with PyTorch; and export.json, which docs/export.md describes.",
    )
    parser.add_argument("run", help="run folder")
    parser.add_argument("--to", choices=("onnx",), default="onnx", help="format (default: onnx)")
    parser.add_argument("--out", required=True, metavar="DIR", help="new or empty folder to write")
    parser.add_argument("--agent", metavar="AGENT", help=f"another agent: {AGENT_HELP}")
    parser.add_argument(
        "--web",
        metavar="SOURCE",
        help=f"also write try.html, a page that recognises videos in a browser; SOURCE is the npm package {PACKAGE}, a "
        "folder or a .tgz file, or `npm` to fetch it (33 MB)",
    )
    options = parser.parse_args(argv)

    from adafocus_rl.experiments.export.onnx_files import require_onnx
    from adafocus_rl.experiments.export.write import export_onnx
    from adafocus_rl.experiments.predict import Predictor

    # All that can be wrong without the run is checked before its networks are loaded.
    require_onnx()
    folder = new_folder(options.out, "export folder")
    runtime = find_runtime(options.web) if options.web else None
    predictor = Predictor.load(options.run, agent=options.agent, device="cpu")

    def progress(path: Path, remark: str) -> None:
        say(f"wrote {path} ({remark})")

    export_onnx(predictor, folder, runtime=runtime, progress=progress)
    if runtime is None:
        say(f"for a page that runs it in a browser, give --web with the npm package {PACKAGE}")
    return 0
