"""A window on the screen for render mode ``human``."""

from __future__ import annotations

import os
import sys

from adafocus_rl.data.decode import opencv
from adafocus_rl.envs.render import Picture
from adafocus_rl.errors import UserError


class Window:
    """Shows pictures one after another with OpenCV, or none if ``SDL_VIDEODRIVER`` is ``dummy`` or ``offscreen``.

    Args:
        title: title of the window.
        fps: pictures per second; ``show`` waits for one period.

    Raises:
        UserError: OpenCV was built without windows, or there is no screen.
    """

    def __init__(self, title: str, *, fps: float) -> None:
        self.title = title
        self.milliseconds = max(1, round(1000 / fps))
        self._shown = False
        # Drivers that show nothing, for machines without a screen, by their names in SDL (as with pygame) and Qt.
        self._hidden = os.environ.get("SDL_VIDEODRIVER", "") in ("dummy", "offscreen")
        if self._hidden:
            return
        cv2 = opencv()
        gui = [line.split(":")[1] for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")]
        if gui and gui[0].strip() in ("", "NONE"):
            raise UserError(
                "render_mode is 'human', and this OpenCV cannot open windows (opencv-python-headless?); install "
                "opencv-python, use render_mode='rgb_array', or set SDL_VIDEODRIVER=dummy to show nothing"
            )
        # Checked here, because Qt would terminate the whole process without a screen.
        screen = ("DISPLAY", "WAYLAND_DISPLAY")
        offscreen = os.environ.get("QT_QPA_PLATFORM", "").split(":")[0] in ("offscreen", "minimal", "vnc")
        if sys.platform.startswith("linux") and not offscreen and not any(os.environ.get(name) for name in screen):
            raise UserError(
                "render_mode is 'human', and there is no screen to open a window on (DISPLAY is not set); run it where "
                "there is one, use render_mode='rgb_array', or set SDL_VIDEODRIVER=dummy to show nothing"
            )

    def show(self, picture: Picture) -> None:
        """Show an RGB picture (H, W, 3), and wait for one period."""
        if self._hidden:
            return
        cv2 = opencv()
        cv2.imshow(self.title, picture[..., ::-1].copy())
        cv2.waitKey(self.milliseconds)
        self._shown = True

    def close(self) -> None:
        """Close the window; closing it twice has no effect."""
        if self._shown:
            opencv().destroyWindow(self.title)
            self._shown = False
