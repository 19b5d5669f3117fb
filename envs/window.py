"""A window on the screen for render mode ``human``."""

from __future__ import annotations

import os
import sys

from adafocus_rl.data.decode import opencv
from adafocus_rl.envs.render import Picture
from adafocus_rl.errors import UserError


class Window:
    """Shows pictures one after another with OpenCV.

    Args:
        title: of the window.
        fps: pictures per second; :meth:`show` waits that long.

    Raises:
        UserError: this OpenCV has no windows, or there is no screen.
    """

    def __init__(self, title: str, *, fps: float) -> None:
        self.title = title
        self.milliseconds = max(1, round(1000 / fps))
        self._shown = False
        cv2 = opencv()
        gui = [line.split(":")[1] for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")]
        if gui and gui[0].strip() in ("", "NONE"):
            raise UserError(
                "render_mode is 'human', and this OpenCV cannot open windows (opencv-python-headless?); install "
                "opencv-python, or use render_mode='rgb_array'"
            )
        # Asked here, because without a screen Qt would end the whole process.
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError(
                "render_mode is 'human', and there is no screen to open a window on (DISPLAY is not set); run it where "
                "there is one, or use render_mode='rgb_array'"
            )

    def show(self, picture: Picture) -> None:
        """Shows an RGB picture (H, W, 3), and waits for one period."""
        cv2 = opencv()
        cv2.imshow(self.title, picture[..., ::-1].copy())
        cv2.waitKey(self.milliseconds)
        self._shown = True

    def close(self) -> None:
        """Closes the window; again is no mistake."""
        if self._shown:
            opencv().destroyWindow(self.title)
            self._shown = False
