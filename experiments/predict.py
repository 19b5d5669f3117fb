"""Recognise single videos with a run: from a file, a folder of frames, or frames in memory.

A run's checkpoints hold all that it has learnt, so the videos it was trained on are not needed.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from adafocus_rl.agents.methods import Method, Visit, WholeFrames, check_knob
from adafocus_rl.data.clips import BadClip, Clip, ClipBatch, collate
from adafocus_rl.data.decode_error import DecodeError
from adafocus_rl.data.sampling import clip_indices
from adafocus_rl.data.transforms import apply_transform, build_transform, stored_boxes
from adafocus_rl.data.webcam import Recording, record, webcam_number, webcam_title
from adafocus_rl.envs.render import Crop
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.config.clips import frame_sets, transform_of
from adafocus_rl.experiments.evaluation.live import LiveMethod
from adafocus_rl.experiments.evaluation.systems import Systems, load_method
from adafocus_rl.experiments.evaluation.timing import time_in_turns
from adafocus_rl.experiments.online.predictor import OnlinePredictor
from adafocus_rl.experiments.report.prediction import Prediction, PredictionError
from adafocus_rl.experiments.report.shown import Panel, ShownVideo, frame_notes
from adafocus_rl.experiments.run.clips import one_video
from adafocus_rl.experiments.run.handover import blank_env, class_names_of, load_recognizer
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.experiments.run.steps import RANDOM_PATCHES
from adafocus_rl.experiments.terminal.progress import say
from adafocus_rl.features.options import Precision
from adafocus_rl.files import user_path
from adafocus_rl.models.recognizer import Recognizer

__all__ = ["Prediction", "PredictionError", "Predictor"]


class Predictor:
    """Recognises videos with the networks of a run; ``load`` makes one.

    Args:
        run: the run; its lists and videos are not read.
        method: the method that recognises the videos.
        knob: operating point of the method; None if it has only one.
        names: names of the K classes.
        probabilities: whether to record the probabilities of all grid positions, for pictures.
        deployed: the deployed form of the method's recognizer (``Run.deploy``); None runs the recognizer itself.
    """

    def __init__(
        self,
        run: Run,
        method: Method,
        *,
        knob: float | None,
        names: list[str],
        probabilities: bool = False,
        deployed: Recognizer | None = None,
    ) -> None:
        self.run = run
        self.method = method
        self.knob = knob
        self.names = names
        self.probabilities = probabilities
        self.recognizer = method.recognizer
        self.full_frame = WholeFrames(method.recognizer)
        self._deployed = deployed
        self._run = LiveMethod(method, knob, device=run.device, deployed=deployed)
        self._warm = False

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        agent: str | None = None,
        method: str | None = None,
        knob: float | None = None,
        device: str | None = None,
        probabilities: bool = False,
        precision: Precision = "float32",
        compile: bool = False,
    ) -> Predictor:
        """Load what a run has learnt: its recognizer, its agent, and the f_C of its last stage.

        Args:
            run: the run folder.
            agent: class name of another agent, which must need neither training nor ground truth; None uses the run's.
            method: class name of another method, used with the run's options; None uses AdaFocus with that agent.
            knob: operating point; for AdaFocus, λ of the π′ that skips frames, or None to keep all frames.
            device: None uses the run's.
            probabilities: as in the constructor.
            precision: precision of f_G and f_L, as in ``Run.deploy``.
            compile: as in ``Run.deploy``.

        Raises:
            UserError: if there is no such run, a checkpoint is missing, there is no such operating point, the method
                needs ground truth, which a new video does not have, or there is no compiler.
        """
        opened = Run.open(run, device=device, with_data=False)
        recognizer = load_recognizer(opened, RANDOM_PATCHES.name)
        if method is not None:
            if agent is not None:
                raise UserError(f"--method {method} and --agent {agent} are two methods; give one of them")
            chosen = load_method(opened, recognizer, method)
        else:
            systems = Systems(opened, recognizer, blank_env(opened.config, recognizer))
            chosen = systems.last(systems.agent(agent), knob)
        if chosen.privileged:
            raise UserError(
                f"{method or agent or chosen.label} acts on true boxes or labels, which nobody knows of a new video; "
                "name another one with --agent, RandomAgent say"
            )
        check_knob(chosen, knob)
        form = opened.deploy(recognizer, precision=precision, compile=compile)
        names = class_names_of(opened)
        return cls(opened, chosen, knob=knob, names=names, probabilities=probabilities, deployed=form)

    def predict(self, path: str | Path) -> Prediction:
        """Recognise a video file or a folder of frames.

        Raises:
            PredictionError: if it cannot be decoded; the reason says why.
        """
        path = user_path(path)
        found = one_video(self.run.config, path.absolute())[0]
        if isinstance(found, BadClip):
            raise PredictionError(str(path), found.reason)
        return self._recognise(found, str(path))

    def predict_named(self, name: str | Path, *, seconds: float | None) -> tuple[Prediction, Recording | None]:
        """Recognise a file, a folder or, if there is no such path, what the webcam with that number records.

        Args:
            name: a path, or the number of a webcam.
            seconds: seconds to record; None takes a number for a path, too.

        Returns:
            The prediction, and the recording if there is one.

        Raises:
            PredictionError: if nothing can be decoded.
        """
        camera = None if seconds is None else webcam_number(str(name))
        if camera is None or seconds is None:
            return self.predict(name), None
        title = webcam_title(camera)
        try:
            recording = record(camera, seconds, begin=lambda: say(f"{title}: looking for {seconds:g} s"))
        except DecodeError as error:
            raise PredictionError(title, error.reason) from None
        return self.predict_frames(recording.frames, name=title), recording

    def predict_frames(self, frames: NDArray[np.uint8], *, name: str = "frames") -> Prediction:
        """Recognise frames in memory.

        Args:
            frames: (n, H, W, 3) uint8 RGB, the whole video or the part of interest; T of them are sampled as from a
                file.
            name: name of the video in the result and in messages.

        Raises:
            PredictionError: if there are no frames.
        """
        if not len(frames):
            raise PredictionError(name, "there are no frames")
        config = self.run.config
        chosen = clip_indices(len(frames), frame_sets(config), rng=None)
        pixels = torch.from_numpy(np.ascontiguousarray(frames[chosen])).permute(0, 3, 1, 2)
        nowhere = torch.full((len(chosen), 4), torch.nan)
        clip, boxes = apply_transform(build_transform(transform_of(config), train=False), pixels, nowhere)
        found = Clip(
            clip=clip.contiguous(),
            label=torch.tensor(0),
            multi_hot=torch.zeros(len(self.names)),
            true_boxes=boxes,
            frames=torch.from_numpy(chosen),
            row=torch.tensor(0),
            size=(frames.shape[1], frames.shape[2]),
        )
        return self._recognise(found, name)

    def stream(self, *, exit_at: float | None = None) -> OnlinePredictor:
        """Begin to recognise a stream frame by frame, such as a webcam's; see ``OnlinePredictor``.

        Args:
            exit_at: stop once the highest class probability reaches this, in (0, 1]; None for no such rule.

        Raises:
            UserError: if the method, its agent or the encoders need whole clips, or ``exit_at`` is out of range.
        """
        return OnlinePredictor(
            self.method,
            knob=self.knob,
            names=self.names,
            transform=transform_of(self.run.config),
            device=self.run.device,
            exit_at=exit_at,
            deployed=self._deployed,
        )

    def milliseconds(self, prediction: Prediction) -> tuple[float, float]:
        """Return the median milliseconds of recognising a clip again, by the method and by f_L on every whole frame.

        Both run ``ROUNDS`` times, in turns, so that their times can be compared.
        """
        batch = ClipBatch.unlabelled(prediction.clip[None], len(self.names), rows=torch.arange(1))
        whole = LiveMethod(self.full_frame, device=self.run.device, deployed=self._deployed)
        own, full = time_in_turns([self._run, whole], [batch], device=self.run.device)
        assert own is not None
        assert full is not None
        return own.median, full.median

    @torch.no_grad()
    def _recognise(self, found: Clip, name: str) -> Prediction:
        batch = collate([found])
        if not self._warm:
            self._run(batch)
            self._warm = True
        started = time.perf_counter()
        outcome = self._run(batch)
        belief = outcome.trace.logits[0].float().cpu().softmax(-1)  # waits for the device
        spent = 1000 * (time.perf_counter() - started)
        steps = outcome.trace
        if self.probabilities and steps.probabilities is None:
            steps = self._run(batch, Visit(probabilities=True)).trace
        confidence, best = belief.max(-1)
        kept = steps.looks[0].cpu()
        notes, stopped = frame_notes(kept, **{name: value.cpu() for name, value in steps.choices(0).items()})
        panel = Panel(
            title=self.method.label,
            boxes=steps.boxes[0].cpu(),
            kept=kept.tolist(),
            says=[self.names[place] for place in best.tolist()],
            confidence=confidence.tolist(),
            right=None,
            gmacs=int(outcome.macs[0]) / 1e9,
            probabilities=None if steps.probabilities is None else steps.probabilities[0].float().cpu(),
            patch_size=steps.patch_size,
            patch_scales=steps.patch_scales,
            notes=notes,
            stopped=stopped,
        )
        clip, nowhere = self.recognizer.focus_frames(found.clip[None])[0], torch.full((1, 4), torch.nan)
        shown = ShownVideo(row=0, path=name, clip=clip, true_boxes=nowhere, true_names=[], panels=[panel])
        transform = transform_of(self.run.config)
        assert found.size is not None  # read or given with its frames
        side = transform.frame_size
        top, left, height, width = stored_boxes(transform, torch.tensor([0, 0, side, side]), found.size).tolist()
        return Prediction(
            path=name,
            names=self.names,
            probabilities=outcome.logits[0].float().cpu().softmax(-1),
            boxes=shown.panels[0].boxes,
            size=found.size,
            stored_boxes=stored_boxes(transform, shown.panels[0].boxes, found.size),
            crop=Crop(box=(top, left, height, width), side=side),
            kept=torch.tensor(shown.panels[0].kept),
            frames=self.recognizer.focus_frames(found.frames[None])[0],
            gmacs=panel.gmacs,
            full_frame_gmacs=len(kept) * self.full_frame.cost.most / 1e9,
            ms=spent,
            clip=found.clip,
            shown=shown,
            trace=steps,
        )
