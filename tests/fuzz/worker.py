"""Runs cases of one reader in this process and tells about each on a pipe; `fuzz.runner` starts and watches it."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from fuzz.cases import Case, End, Outcome, case_folder, make_case
from fuzz.corpus import Corpus
from fuzz.guard import Guard, shows_secret

LONGEST_SENTENCE = 4000
"""Characters; a message that a person reads is shorter."""

PREFIX = "adafocus: "
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_REASON = "a sentence"


def work(cases: Sequence[tuple[str, int]], seed: int, corpus: Corpus, folder: Path, report: TextIO) -> None:
    """Runs cases (reader, number): a line that names it before each, a line with the outcome after it."""
    import torch

    import fuzz.readers  # noqa: F401  # announces them

    caches = ("HOME", "XDG_CACHE_HOME", "TMPDIR", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR")
    os.environ.update(dict.fromkeys(caches, str(folder)), MPLCONFIGDIR=str(corpus.path / "matplotlib"))
    tempfile.tempdir = str(folder)
    # It looks for the machine's fonts once, with a command that a case must not run.
    with contextlib.suppress(ImportError):
        import matplotlib.font_manager  # noqa: F401
    guard = Guard(corpus.outside)
    os.environ["FUZZ_PORT"] = str(guard.port)
    for reader, number in cases:
        own = folder / case_folder(reader, number)
        own.mkdir(parents=True)
        os.chdir(own)
        torch.set_num_threads(1)
        report.write(json.dumps([reader, number]) + "\n")
        report.flush()
        outcome = run_case(reader, seed, number, corpus, own, guard)
        report.write(json.dumps(vars(outcome)) + "\n")
        report.flush()
        os.chdir(folder)
        if outcome.end in ("fine", "sentence"):
            shutil.rmtree(own, ignore_errors=True)


def run_case(reader: str, seed: int, number: int, corpus: Corpus, folder: Path, guard: Guard) -> Outcome:
    """Makes, runs and judges one case in the working directory."""
    case = make_case(reader, seed, number, corpus, folder)
    _forget_peak()
    started = time.monotonic()
    with captured(folder.parent) as texts, guard.watch(folder) as happened:
        end, said = _run(case)
    seconds = time.monotonic() - started
    if end == "fine" and said == _REASON:
        end, said = _sentence_of(texts["stderr"])
    if end == "sentence":
        end, said = _judge_sentence(said, case)
    elif end == "fine" and case.refuse:
        end, said = "accepted", "a result for what must be refused"
    elif "Traceback (most recent call last)" in texts["stderr"] and end == "fine":
        end, said = "traceback", texts["stderr"]
    shown = shows_secret(texts)
    happened += [shown] if shown else []
    if happened:
        end, said = "code", "; ".join(happened)
    gc.collect()
    return Outcome(
        reader=reader, number=number, end=end, said=said[-6000:], seconds=round(seconds, 3), peak_mb=round(_peak(), 1)
    )


def _run(case: Case) -> tuple[End, str]:
    """How the call ends, as the command line would see it."""
    from adafocus_rl.errors import UserError

    try:
        code = case.call()
    except UserError as error:
        return "sentence", str(error)
    except SystemExit as error:
        return ("fine", "") if error.code in (0, None) else ("traceback", f"SystemExit({error.code!r})")
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
            return "sentence", f"{error.filename!r}: {error.strerror}"
        return "traceback", traceback.format_exc()
    if isinstance(code, int) and code == UserError.exit_code:
        return "fine", _REASON
    if isinstance(code, int) and not isinstance(code, bool) and code not in (0, 1):
        return "traceback", f"exit code {code}"
    return "fine", ""


def _sentence_of(stderr: str) -> tuple[End, str]:
    """The sentence of a command that ended with exit code 2: the last line, and the only one of its kind.

    What a function says is cleaned and shortened where it is printed, so only commands are held to that.
    """
    lines = stderr.rstrip("\n").split("\n")
    if not lines[-1].startswith(PREFIX):
        return "unclear", f"exit code 2, and the last line on stderr is no sentence:\n{stderr}"
    if sum(line.startswith(PREFIX) for line in lines) > 1:
        return "unclear", f"several sentences:\n{stderr}"
    if _CONTROL.search(lines[-1]):
        return "unclear", f"control characters in the sentence: {lines[-1]!r}"
    if len(lines[-1]) > LONGEST_SENTENCE:
        return "unclear", f"{len(lines[-1])} characters: {lines[-1][:500]}"
    return "sentence", lines[-1].removeprefix(PREFIX)


def _judge_sentence(said: str, case: Case) -> tuple[End, str]:
    if "Traceback" in said:
        return "unclear", said
    if case.names and not any(name in said for name in case.names):
        return "unclear", f"names none of {', '.join(case.names[:5])}{' …' * (len(case.names) > 5)}: {said}"
    return "sentence", said


@contextlib.contextmanager
def captured(folder: Path) -> Iterator[dict[str, str]]:
    """What the process writes to stdout and stderr meanwhile, C libraries included, by the streams' names."""
    texts: dict[str, str] = {}
    streams: dict[str, tuple[Any, int, io.BufferedRandom]] = {}
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream.flush()
        keep = os.dup(stream.fileno())
        file = (folder / f"{name}.txt").open("w+b")
        os.dup2(file.fileno(), stream.fileno())
        streams[name] = (stream, keep, file)
    try:
        yield texts
    finally:
        for name, (stream, keep, file) in streams.items():
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            os.dup2(keep, 1 if name == "stdout" else 2)
            os.close(keep)
            file.seek(0)
            texts[name] = file.read(4 << 20).decode("utf-8", "backslashreplace")
            file.close()


def _forget_peak() -> None:
    """Linux counts the peak anew from now on; elsewhere it is the process's."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """Largest resident memory of this process since `_forget_peak`, and of any child that has ended, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e6
    with contextlib.suppress(OSError):
        match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if match:
            return max(children, int(match[1]) * 1024 / 1e6)
    return max(children, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def main(argv: list[str]) -> None:
    """``SEED CORPUS FOLDER HANDLE``; the cases are in ``FOLDER/cases.json``."""
    seed, corpus, folder, handle = argv
    cases = json.loads((Path(folder) / "cases.json").read_text())
    # Modules that a file could name lie on the path: importing one is seen.
    sys.path.append(str(Path(corpus) / "outside"))
    with os.fdopen(int(handle), "w") as report:
        work(cases, int(seed), Corpus(Path(corpus)), Path(folder), report)


if __name__ == "__main__":
    main(sys.argv[1:])
