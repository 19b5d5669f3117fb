"""The page of an export in a browser: the same frames, patches and probabilities as in PyTorch, and no requests."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from adafocus_rl.data.encode import write_video
from adafocus_rl.experiments.export import page as page_module
from adafocus_rl.experiments.export.web_runtime import PACKAGE, TESTED, WebRuntime, find_runtime
from adafocus_rl.experiments.export.write import export_onnx
from adafocus_rl.experiments.predict import Prediction, Predictor

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

Browser = Any
READY = "!document.querySelector('#file').disabled"
FAILED = "document.querySelector('#status').className === 'failed'"
STATUS = "document.querySelector('#status').textContent"


@pytest.fixture(scope="module")
def runtime() -> WebRuntime:
    """ONNX Runtime Web: of the environment variable, or where `make test` puts it."""
    source = Path(os.environ.get("ONNXRUNTIME_WEB", Path(sys.prefix) / f"{PACKAGE}-{TESTED}.tgz"))
    if not source.exists():
        pytest.skip(f"no {PACKAGE}: `npm pack {PACKAGE}@{TESTED}`, and name the .tgz in ONNXRUNTIME_WEB")
    return find_runtime(str(source))


@pytest.fixture(scope="module")
def predictor(finished: Path) -> Predictor:
    return Predictor.load(finished, device="cpu")


@pytest.fixture(scope="module")
def exported(predictor: Predictor, runtime: WebRuntime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    export_onnx(predictor, folder, runtime=runtime)
    return folder


@pytest.fixture(scope="module")
def video(recipe: Path) -> Path:
    return Path(yaml.safe_load(recipe.read_text())["data"]["root"]) / "val" / "00000.mp4"


def give(browser: Browser, path: Path) -> dict[str, Any]:
    """Chooses a file as a reader does; the page's own event says what was found."""
    listen(browser)
    document = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
    browser.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)
    return found(browser)


def listen(browser: Browser) -> None:
    browser.run("document.addEventListener('recognised', (event) => { window.found = event.detail; }, {once: true})")
    browser.run("delete window.found")


def found(browser: Browser) -> dict[str, Any]:
    browser.wait(f"window.found || {FAILED}", seconds=60)
    assert not browser.run(FAILED), browser.run(STATUS)
    result: dict[str, Any] = browser.run("window.found")
    return result


def frames_of(result: dict[str, Any]) -> NDArray[np.uint8]:
    """The frames that the networks were given, from their pictures on the page."""
    pictures = [base64.b64decode(frame["picture"].split(",")[1]) for frame in result["frames"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")) for picture in pictures])


def check_same(result: dict[str, Any], expected: Prediction) -> None:
    """On the same frames, to rounding."""
    assert [frame["box"] for frame in result["frames"]] == expected.boxes.tolist()
    probabilities = np.array([frame["probabilities"] for frame in result["frames"]])
    assert np.abs(probabilities - expected.trace.logits[0].softmax(-1).numpy()).max() < 1e-4
    assert result["gmacs"] == pytest.approx(expected.gmacs, rel=1e-9)
    assert result["wholeGmacs"] == pytest.approx(expected.full_frame_gmacs, rel=1e-9)
    assert result["ms"] > 0
    assert result["wholeMs"] > 0


LATE_FRAMES = """
window.order = [];
const request = HTMLVideoElement.prototype.requestVideoFrameCallback;
HTMLVideoElement.prototype.requestVideoFrameCallback = function (done) {
  return request.call(this, () => setTimeout(() => { order.push("arrived"); done(); }, 100));
};
const draw = CanvasRenderingContext2D.prototype.drawImage;
CanvasRenderingContext2D.prototype.drawImage = function (...given) {
  order.push("drawn");
  return draw.apply(this, given);
};
"""
"""Frames arrive later than the event ``seeked``, as on a busy machine, and their order is written down."""


def test_a_video_is_recognised_as_by_predict(
    browser: Browser, exported: Path, predictor: Predictor, video: Path, screenshots: Path
) -> None:
    browser.open(exported / "try.html")
    browser.wait(READY, seconds=60)
    browser.run(LATE_FRAMES)
    result = give(browser, video)
    # The first frame of the film, and then each that was sought before it is drawn.
    assert browser.run("order") == ["arrived"] + ["arrived", "drawn"] * 4
    frames = frames_of(result)
    check_same(result, predictor.predict_frames(frames))
    decoded = predictor.predict(video).clip.permute(0, 2, 3, 1).numpy()
    # The same frames of the file; a browser has its own conversion of colours.
    assert np.abs(frames.astype(int) - decoded).mean() < 3
    labels = [predictor.names[int(np.argmax(frame["probabilities"]))] for frame in result["frames"]]
    assert browser.run("document.querySelector('#answer').textContent").strip("\u2068").startswith(labels[-1])
    assert browser.run("document.querySelectorAll('#strip svg').length") == 4
    assert browser.run("document.querySelectorAll('#chart polyline').length") == 5
    browser.click("#strip li:nth-child(2) button")
    assert browser.run("document.querySelector('#caption').textContent").startswith("Frame 2: ")
    drawn = browser.run(
        "['y', 'x', 'height', 'width'].map((key) => +document.querySelector('#stage rect').getAttribute(key))"
    )
    assert drawn == result["frames"][1]["box"]
    assert browser.run("document.querySelector('#gmacs-ratio').textContent") == (
        f"{result['wholeGmacs'] / result['gmacs']:.2f}×"
    )
    browser.screenshot(screenshots / "try_light.png", whole=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A static server of a folder, as `python -m http.server`; the folder, and its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_large_models_come_from_a_server_and_frames_are_resized(
    browser: Browser,
    predictor: Predictor,
    run: Path,
    runtime: WebRuntime,
    server: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A photograph-like film, for which the page has to resize and crop as torchvision does."""
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["data"]["resize_short"] = 37
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    resizing = Predictor.load(run, device="cpu")
    folder, address = server
    monkeypatch.setattr(page_module, "EMBEDDED", 0)
    export_onnx(resizing, folder / "export", runtime=runtime)
    noise = np.random.default_rng(0).integers(0, 256, (8, 10, 15, 3), dtype=np.uint8)
    film = np.stack(
        [np.asarray(Image.fromarray(frame).resize((150, 100), Image.Resampling.BICUBIC)) for frame in noise]
    )
    write_video(folder / "film.mp4", film, crf=4)
    browser.resize(1000, 800)
    browser.call("Page.navigate", url=f"{address}/export/try.html")
    browser.wait("document.readyState === 'complete' && location.protocol === 'http:'", seconds=60)
    browser.wait(f"{READY} || {FAILED}", seconds=60)
    result = give(browser, folder / "film.mp4")
    expected = resizing.predict(folder / "film.mp4")
    frames = frames_of(result)
    assert np.abs(frames.astype(int) - expected.clip.permute(0, 2, 3, 1).numpy()).mean() < 3
    # The same networks in a run that does not resize.
    check_same(result, predictor.predict_frames(frames))
    asked = [problem.split(" for ")[1] for problem in browser.problems]
    assert sorted(asked) == sorted(
        f"{address}/export/{name}" for name in ("try.html", "glance.onnx", "focus.onnx", "classifier.onnx")
    )
    # From a file, the page says that it needs a server.
    browser.problems.clear()
    browser.open(folder / "export" / "try.html")
    browser.wait(FAILED, seconds=60)
    assert "python -m http.server" in browser.run(STATUS)


def test_the_webcam_is_looked_at_until_stopped(
    browser: Browser, exported: Path, predictor: Predictor, screenshots: Path
) -> None:
    browser.open(exported / "try.html")
    browser.wait(READY, seconds=60)
    listen(browser)
    browser.click("#webcam")
    result = found(browser)
    check_same(result, predictor.predict_frames(frames_of(result)))
    browser.screenshot(screenshots / "try_webcam.png", whole=True)
    browser.click("#stop")
    assert browser.run(STATUS) == "Stopped."
    assert browser.run("document.querySelector('#stop').hidden")


def test_a_phone_in_the_dark_and_hostile_names(
    browser: Browser, exported: Path, runtime: WebRuntime, video: Path, screenshots: Path, tmp_path: Path
) -> None:
    facts = json.loads((exported / "export.json").read_text())
    facts |= {"name": "<img src=x onerror='window.hacked=1'>" + "x" * 99}
    hostile = ["</script><script>window.hacked = 1</script>", "прыжки 跳高 قفز", "long " * 60, "x" * 300]
    facts["classes"] = [hostile[place % 4] for place in range(len(facts["classes"]))]
    folder = Path(shutil.copytree(exported, tmp_path / "hostile"))
    page_module.write_page(folder, "try.html", facts, runtime)
    browser.media(prefers_color_scheme="dark", prefers_reduced_motion="reduce")
    browser.open(folder / "try.html", width=360, height=740)
    browser.wait(READY, seconds=60)
    give(browser, video)
    assert browser.run("document.querySelector('h1').textContent") == facts["name"]
    assert browser.run("window.hacked") is None
    assert browser.run("document.documentElement.scrollWidth") <= 360
    browser.screenshot(screenshots / "try_phone.png", whole=True)
    # What is no video is said to be none.
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(AssertionError, match="cannot decode"):
        give(browser, tmp_path / "text.mp4")
