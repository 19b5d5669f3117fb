"""``adafocus card``."""

from __future__ import annotations

from collections.abc import Sequence

from adafocus_rl.experiments.terminal.command_line import CommandParser
from adafocus_rl.experiments.terminal.progress import say


def card(argv: Sequence[str]) -> int:
    """Run ``adafocus card RUN --out DIR``."""
    parser = CommandParser(
        prog="adafocus card",
        description="Write a run as a model folder to share: README.md with the measured results as Hugging Face reads "
        "them, config.yaml, weights, results.json and report.html. `adafocus predict` opens it as it does a run.",
    )
    parser.add_argument("run", help="run folder")
    parser.add_argument("--out", required=True, metavar="DIR", help="new or empty folder to write")
    parser.add_argument(
        "--license", default="unknown", metavar="ID",
        help="licence of the model, by its identifier on Hugging Face: mit, apache-2.0, cc-by-nc-4.0, …",
    )  # fmt: skip
    parser.add_argument(
        "--dataset", metavar="NAME", help="name of the data (default: the embedded dataset's, or 'own videos')"
    )
    parser.add_argument(
        "--no-page", action="store_true", help="leave out report.html, which shows frames of validation videos"
    )
    parser.add_argument(
        "--push", metavar="OWNER/NAME", help="upload the folder with huggingface_hub; a new repository is private"
    )
    options = parser.parse_args(argv)

    from adafocus_rl.experiments.share.hub import check_repository, hub_client, push
    from adafocus_rl.experiments.share.write import write_model_folder

    client = None
    if options.push is not None:
        check_repository(options.push)
        client = hub_client()
    folder = write_model_folder(
        options.run, options.out, license=options.license, dataset=options.dataset, page=not options.no_page
    )
    say(f"wrote {folder}")
    if (folder / "report.html").is_file():
        say("report.html shows frames and names of validation videos; --no-page leaves it out")
    if client is not None:
        say(f"uploaded to {push(folder, options.push, client)}")
    return 0
