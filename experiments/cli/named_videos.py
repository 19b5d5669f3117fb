"""Videos as named on a command line: files, folders of frames or of videos, wildcards, numbers of webcams."""

from __future__ import annotations

import glob
import os.path
import re
from collections.abc import Iterator, Sequence

from adafocus_rl.data.frame_names import image_names
from adafocus_rl.data.own_videos import videos_in
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.run.shipped import demo_clips, is_demo
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.files import user_path

VIDEOS_HELP = (
    "video file, folder of videos or of frames, wildcard such as 'clips/*.mp4', or number of a webcam, such as 0"
)
"""Help text of arguments that ``named_videos`` reads."""

SHOWN = 4
"""Number of clips of the shipped run that are processed if none are named."""


def named_videos(names: Sequence[str], *, run: str = "") -> list[str]:
    """Return the videos of some arguments, each a path or the number of a webcam, in order.

    A folder with images is one video; any other folder stands for the videos in it, at any depth. A name that does not
    exist and has wildcards, which a shell did not expand, stands for the paths that match it.

    Args:
        names: the arguments.
        run: the run that processes them; without any name, that of the package processes some of its own clips.

    Raises:
        UserError: if a name is a URL, or there is none.
    """
    if not names and is_demo(run):
        clips = demo_clips()
        say(f"the first {SHOWN} of the {len(clips)} validation clips in {clips[0].parent}")
        return [str(clip) for clip in clips[:SHOWN]]
    if not names:
        raise UserError("no video is given; name files, folders of videos or of frames, or a webcam by its number")
    return [video for name in names for video in _videos(name)]


def _videos(name: str) -> Iterator[str]:
    path = user_path(name)
    there = os.path.exists(path)  # noqa: PTH110  # False, and no error, for a name that is too long
    if there and path.is_dir() and not image_names(path):
        # A folder without videos is named, too: the message says what is missing in it.
        yield from map(str, videos_in(path) or [path])
    elif not there and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name):
        raise UserError(
            f"{name} is a URL, which is not opened; save some of it as a file first, for example with "
            f"`ffmpeg -i {name} -t 10 clip.mp4`"
        )
    elif not there and glob.has_magic(name):
        # Path.glob takes no absolute patterns. A name that matches nothing is reported like one that does not exist.
        yield from sorted(glob.glob(str(path))) or [name]  # noqa: PTH207
    else:
        yield name
