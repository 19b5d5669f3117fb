"""What a run has written is whole, or a sentence tells what to delete; nothing is lost without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from adafocus_rl import checkpoint
from adafocus_rl.errors import UserError
from adafocus_rl.experiments.report.rows import rows_of
from adafocus_rl.experiments.run.folder import RunFolder
from adafocus_rl.experiments.run.lock import NAME, locked
from adafocus_rl.experiments.run.metrics_log import MetricsLog, read_metrics
from adafocus_rl.experiments.run.run import Run
from adafocus_rl.files import append_line
from adafocus_rl.rotation import CheckpointRotation

Cli = Any


# ---- metrics.jsonl ------------------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> MetricsLog:
    log = MetricsLog(tmp_path / "metrics.jsonl", tmp_path / "tensorboard")
    for epoch in (1, 2, 3):
        append_line(log.path, json.dumps({"stage": "stage1", "epoch": epoch, "train/loss": 0.5}))
    return log


def test_a_torn_last_line_is_left_out_with_a_warning(log: MetricsLog, capsys: pytest.CaptureFixture[str]) -> None:
    with log.path.open("ab") as file:
        file.write(b'{"stage": "stage2", "ep')
    assert [entry["epoch"] for entry in read_metrics(log.path)] == [1, 2, 3]
    assert capsys.readouterr().err == ""
    log.forget("stage2")
    assert "warning: left out the last line of" in capsys.readouterr().err.replace("\n", " ")
    assert log.path.read_bytes().endswith(b"0.5}\n")


def test_a_last_line_that_lacks_its_end_alone_is_kept(log: MetricsLog) -> None:
    log.path.write_bytes(log.path.read_bytes()[:-1])
    log.forget("stage2")
    assert [entry["epoch"] for entry in read_metrics(log.path)] == [1, 2, 3]


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"null", b"[]", b"\xff", b"[" * 50_000, b'{"stage": "x", "epoch": ' + b"9" * 5000 + b"}",
     b'{"stage": 1, "epoch": 2}', b'{"stage": "x"}', b'{"stage": "x", "epoch": "1"}',
     b'{"stage": "x", "epoch": 1, "a": "b"}'],
)  # fmt: skip
def test_a_damaged_line_in_the_middle_is_named_and_nothing_is_lost(log: MetricsLog, line: bytes) -> None:
    lines = log.path.read_bytes().split(b"\n")
    log.path.write_bytes(b"\n".join([lines[0], line, *lines[1:]]))
    before = log.path.read_bytes()
    for look in (lambda: log.forget("stage1"), lambda: read_metrics(log.path)):
        with pytest.raises(UserError, match=r"line 2 of .*metrics\.jsonl is damaged; restore the file, or delete"):
            look()
    assert log.path.read_bytes() == before


def test_a_log_that_loses_nothing_is_not_written(log: MetricsLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adafocus_rl.experiments.run.metrics_log.write_bytes", None)
    log.forget("stage2")
    log.forget("stage1", after=3)


def test_a_line_is_added_whole_or_not_at_all(log: MetricsLog, full_after: Any) -> None:
    before = log.path.read_bytes()
    with full_after(len(before) + 10), pytest.raises(OSError, match="too large") as caught:
        append_line(log.path, "x" * 50)
    assert caught.value.filename == str(log.path)
    assert log.path.read_bytes() == before
    log.path.write_bytes(before + b"torn")
    append_line(log.path, "next")
    assert log.path.read_bytes() == before + b"torn\nnext\n"


# pytest before 8.4 replaces the hook with which the log takes the exception of TensorBoard's thread.
@pytest.mark.filterwarnings(
    ("ignore" if pytest.version_tuple < (8, 4) else "error") + "::pytest.PytestUnhandledThreadExceptionWarning"
)
def test_event_files_on_a_full_disk_are_an_error_with_their_name(
    log: MetricsLog, full_after: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    log.write("stage9", 1, {"x": 1.0})
    picture = torch.randint(0, 256, (3, 99, 99), dtype=torch.uint8)
    with full_after(2_000), pytest.raises(OSError, match="too large") as caught:
        log.picture("stage9", 1, "noise", picture)
    assert caught.value.filename == str(log.tensorboard / "stage9")
    assert "Traceback" not in capsys.readouterr().err


# ---- results.json and config.yaml -----------------------------------------------------------------------------------

ROW = {
    "agent": "ppo", "variant": "fine-tuned", "knob": None, "kept": None, "top1": 0.5, "map": 0.5,
    "gmacs_per_video": 1.0, "local_gmacs_per_video": 0.5, "ms_per_video": None, "videos": 4,
}  # fmt: skip
DERIVED = {"top1_standard_error": 0.25, "reference": False, "ms_q1": None, "ms_q3": None}
"""What files did not have at first."""
RESULTS: dict[str, Any] = {
    "version": 2,
    "rows": [{**ROW, **DERIVED}],
    "seconds": {"0": 1.5, "2": 3.0, "bank": 2.0},
    "failed": [],
    "decode_ms": None,
}


@pytest.mark.parametrize(
    "spoilt",
    [
        [], None, 7, {}, {**RESULTS, "rows": {}}, {**RESULTS, "rows": [7]}, {**RESULTS, "rows": [{**ROW, "top1": "1"}]},
        {**RESULTS, "seconds": []}, {**RESULTS, "seconds": {"0": "x"}}, {**RESULTS, "failed": [7]},
        {**RESULTS, "rows": [{**ROW, "map": float("nan")}]}, {**RESULTS, "seconds": {"0": 10**400}},
        {**RESULTS, "rows": [{**ROW, "videos": 0}]}, {**RESULTS, "rows": [{**ROW, "variant": 2}]},
        {**RESULTS, "rows": [{**ROW, "top1_standard_error": None}]}, {**RESULTS, "rows": [{**ROW, "reference": 1}]},
        {**RESULTS, "decode_ms": "1"}, {**RESULTS, "rows": [{**ROW, "ms_q1": "1"}]},
        {**RESULTS, "version": 1}, {**RESULTS, "version": 3}, {**RESULTS, "version": "2"},
        *({**RESULTS, "rows": [{name: value for name, value in ROW.items() if name != left_out}]} for left_out in ROW),
    ],
)  # fmt: skip
def test_damaged_results_are_a_sentence(spoilt: Any, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.results.write_text(json.dumps(spoilt))
    with pytest.raises(UserError, match=r"results\.json .*delete it and run `adafocus evaluate`"):
        run.read_results()


def test_results_of_version_1_are_read(tmp_path: Path) -> None:
    rest = {name: value for name, value in ROW.items() if name not in ("variant", "knob")}
    rows = [
        {**rest, "after_stage": 2, "lambda": None}, {**rest, "after_stage": 3, "lambda": 0.1, "kept": 0.5},
        {**rest, "agent": "full_frame", "after_stage": 3, "lambda": None},
    ]  # fmt: skip
    run = RunFolder(tmp_path)
    run.results.write_text(json.dumps({"rows": rows, "seconds": {"0": 1.5}, "failed": []}))
    found = run.read_results()
    assert [(row["agent"], row["variant"], row["knob"], row["kept"]) for row in found["rows"]] == [
        ("ppo", "random patches", None, None), ("ppo", "fine-tuned", 0.1, 0.5), ("full_frame", None, None, None),
    ]  # fmt: skip
    run.write_results(found)
    assert run.read_results() == found
    assert found["version"] == 2


def test_rows_without_standard_errors_get_those_of_a_share(tmp_path: Path) -> None:
    """√(½ · ½ / 4), and no square root of a negative number where a share is none."""
    run = RunFolder(tmp_path)
    rows = [ROW, {**ROW, "agent": "oracle"}, {**ROW, "top1_standard_error": 0.125}, {**ROW, "top1": 2}]
    run.results.write_text(json.dumps({**RESULTS, "rows": rows}))
    found = run.read_results()["rows"]
    assert [(row["top1_standard_error"], row["reference"]) for row in found] == [
        (0.25, False), (0.25, True), (0.125, False), (0, False)
    ]  # fmt: skip
    assert [row.top1_standard_error for row in rows_of(found)] == [0.25, 0.25, 0.125, 0]


@pytest.mark.parametrize("text", ["", "{", '{"rows": [', "[" * 100_000, '{"rows": ' + "9" * 5000 + "}"])
def test_torn_results_are_a_sentence(text: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.results.write_text(text)
    with pytest.raises(UserError, match=r"results\.json .*delete it"):
        run.read_results()


def test_no_table_holds_a_number_that_is_none(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_results(RESULTS)
    with pytest.raises(UserError, match=r"ppo, fine-tuned has map nan, .*no table was written"):
        run.write_results({**RESULTS, "rows": [{**ROW, "map": float("nan")}]})
    assert run.read_results() == RESULTS


def test_rows_of_what_is_done_anew_go_before_it_begins(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_results(RESULTS)
    run.discard_from(2)
    assert run.read_results() == {**RESULTS, "rows": [], "seconds": {"0": 1.5, "bank": 2.0}}
    run.discard_from(1)
    assert run.read_seconds() == {"0": 1.5}


def test_a_configuration_that_is_the_same_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path)
    run.describe(config_text="a: λ\n", command="first")
    with monkeypatch.context() as patch:
        patch.setattr("adafocus_rl.experiments.run.folder.write_text", None)
        run.describe(config_text="a: λ\n", command="second")
    run.describe(config_text="a: 2\n", command="third")
    assert run.config.read_text() == "a: 2\n"
    assert (tmp_path / "command.txt").read_text() == "first\nsecond\nthird\n"


# ---- resume checkpoints ---------------------------------------------------------------------------------------------


def test_a_damaged_resume_checkpoint_says_what_to_delete_and_what_follows(tmp_path: Path) -> None:
    rotation = CheckpointRotation(tmp_path, "stage1.resume")
    assert rotation.load_latest() is None
    path = rotation.save(2, {"x": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=rf"{path}, from which stage1 .*delete this file, and stage1 begins anew"):
        rotation.load_latest()
    # Left by a process that was killed between the newer one and the removal of this one.
    older = CheckpointRotation(tmp_path / "other", "stage1.resume").save(1, {"x": torch.ones(100)}, {})
    older.replace(tmp_path / older.name)
    with pytest.raises(UserError, match=r"step00002.*delete this file, and stage1 goes on after epoch 1 with"):
        rotation.load_latest()
    path.unlink()
    found = rotation.load_latest()
    assert found is not None
    assert found[2]["step"] == 1


def test_a_manifest_that_lacks_what_resuming_needs_is_damaged(tmp_path: Path) -> None:
    rotation = CheckpointRotation(tmp_path, "stage2.resume")
    path = rotation.save(1, {}, {})
    with pytest.raises(UserError, match=r"KeyError: 'training'.*delete this file"), rotation.advising(path):
        int({}["training"])


def test_a_truncated_resume_checkpoint_ends_train(cli: Cli, run: Path, recipe: Path) -> None:
    (run / "checkpoints" / "stage3.safetensors").unlink()
    path = run / "checkpoints" / "stage3.resume.step00001.safetensors"
    path.write_bytes(b"torn")
    done = cli("train", recipe, "--out", run, "--resume")
    assert done.code == 2
    assert f"checkpoint {path}, from which stage3 is to go on, cannot be used" in done.err
    path.unlink()
    assert cli("train", recipe, "--out", run, "--resume").code == 0


# ---- the lock -------------------------------------------------------------------------------------------------------

HOLD = """
    import sys, time
    from pathlib import Path
    from adafocus_rl.experiments.run.lock import locked
    with locked(Path(sys.argv[1]), "adafocus train x"):
        print("held", flush=True)
        time.sleep(600)
"""


def test_a_second_writer_is_told_who_is_first_and_a_dead_one_leaves_nothing(cli: Cli, run: Path, recipe: Path) -> None:
    before = sorted(path.name for path in run.iterdir())
    program = [sys.executable, "-c", textwrap.dedent(HOLD), str(run)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for command in (
            ("train", recipe, "--out", run, "--resume"), ("train", recipe, "--out", run, "--overwrite"),
            ("evaluate", run), ("features", "build", run), ("replay", run),
        ):  # fmt: skip
            done = cli(*command)
            assert done.code == 2
            assert f"is being written to by `adafocus train x`, process {other.pid} on " in done.err
        assert cli("features", "check", run).code == 0
        other.kill()
    assert (run / NAME).exists()
    with locked(run, "next"):
        pass
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_folder_is_locked_once_in_a_process_and_left_as_it_was(tmp_path: Path) -> None:
    with locked(tmp_path / "new", "a"):
        with pytest.raises(UserError, match="this one"), locked(tmp_path / "new", "b"):
            pass
        assert (tmp_path / "new" / NAME).exists()
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.name == "nt", reason="another module locks there")
def test_a_file_system_without_locks_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.lockf", unknown)
    with locked(tmp_path, "a"):
        pass
    assert not (tmp_path / NAME).exists()


# ---- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["text", [], None, 3, {}, {"num_classes": None}, {"num_classes": "many"}])
def test_a_checkpoint_without_a_number_of_classes_is_damaged(run: Path, model: object) -> None:
    """Only a run that is opened without its lists asks a checkpoint for it."""
    path = run / "checkpoints" / "stage1.safetensors"
    tensors, manifest = checkpoint.load(path)
    assert Run.open(run, with_data=False).config.model.num_classes == manifest["model"]["num_classes"]
    checkpoint.save(path, tensors=tensors, manifest={**manifest, "model": model})
    with pytest.raises(UserError, match=r"stage1\.safetensors"):
        _ = Run.open(run, with_data=False).config
