"""Time per video of all systems of a sweep, measured in turns on the same clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adafocus_rl.experiments.evaluation.timing import Times, clips_to_time, time_in_turns
from adafocus_rl.experiments.sweep.jobs import SystemJob, read_entry
from adafocus_rl.experiments.terminal.progress import Ticker
from adafocus_rl.files import write_json

SystemTimes = Mapping[str, Mapping[str, Times | None]]
"""Times by name of the system and ``str(knob)``; None without a video to time."""


def system_times(jobs: Sequence[SystemJob]) -> SystemTimes:
    """Return the times of each system, of its first finished seed, at each operating point.

    They are measured in this process and kept in the jobs' folders (``times.json``) until the systems or the options
    change. A random counterpart has the time of its system, whose light network it pays for.

    Raises:
        UserError: if a file of times is damaged.
    """
    firsts: dict[str, SystemJob] = {}
    for job in jobs:
        if job.finished:
            firsts.setdefault(job.name, job)
    found = {name: _kept(job, [*firsts.values()]) for name, job in firsts.items()}
    if any(times is None for times in found.values()):
        return _measure(firsts)
    return {name: times for name, times in found.items() if times is not None}


def _kept(job: SystemJob, all_jobs: Sequence[SystemJob]) -> dict[str, Times | None] | None:
    path = job.folder / "times.json"
    if not path.is_file() or read_entry(path, "facts") != _facts(job, all_jobs):
        return None
    return {knob: None if one is None else Times(**one) for knob, one in read_entry(path, "times").items()}


def _facts(job: SystemJob, all_jobs: Sequence[SystemJob]) -> dict[str, object]:
    """Return all on which the times depend; a system's are comparable only to those measured in turns with it."""
    return {
        "timed_videos": job.config.evaluation.timed_videos,
        "threads": job.config.threads,
        "device": job.config.device,
        "systems": sorted(one.folder.parent.name for one in all_jobs),
    }


def _measure(jobs: Mapping[str, SystemJob]) -> dict[str, dict[str, Times | None]]:
    calls, keys = [], []
    with Ticker("time", len(jobs)) as ticker:
        for name, job in jobs.items():
            run, live = job.live()
            calls += [*live.values()]
            keys += [(name, knob) for knob in live]
            ticker.advance(1, name)
    config = run.config
    clips, _ = clips_to_time(run.clips.val, config.evaluation.timed_videos, workers=config.data.workers)
    times: dict[str, dict[str, Times | None]] = {}
    for (name, knob), one in zip(keys, time_in_turns(calls, clips, device=run.device), strict=True):
        times.setdefault(name, {})[knob] = one
    for name, job in jobs.items():
        plain = {knob: None if one is None else vars(one) for knob, one in times[name].items()}
        write_json(job.folder / "times.json", {"facts": _facts(job, [*jobs.values()]), "times": plain})
    return times
