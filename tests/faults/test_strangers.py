"""A run directory or a file from another person harms nothing of the one who looks at it.

Commands are run as a person would run them: what matters is what they print, how long they take,
and what stands on the disk afterwards.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest

from engine.errors import RunDirError
from engine.run import lock, run_dir
from engine.run.run_dir import RunDir
from tests.faults.terminal import Terminal
from tests.faults.warm import warm
from tests.processes import children

KEPT = Path(__file__).resolve().parents[1] / "old_runs" / "runs.tar.xz"
PLACEHOLDER = b"/old-runs"

Done = subprocess.CompletedProcess[str]


@cache
def unpacked() -> Path:
    """The kept runs, unpacked once in a process: seconds of CPU for a file of tests."""
    folder = Path(tempfile.mkdtemp(prefix="sftui-kept-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tarfile.open(KEPT) as archive:
        archive.extractall(folder, filter="data")
    return folder


class Desk:
    """A folder with a run that was stopped, kept from an earlier version, and what is typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(unpacked(), folder, symlinks=True, dirs_exist_ok=True)
        [self.stopped] = (folder / "runs").glob("*-stopped")
        for path in (self.stopped / "run.json", self.stopped / "config.toml"):
            path.write_bytes(path.read_bytes().replace(PLACEHOLDER, str(folder).encode()))
        self.env = os.environ | {
            "NANOCHAT_BASE_DIR": str(folder / "cache"),
            "SFTUI_RUNS": str(folder / "runs"),
            "SFTUI_CONFIG": str(folder / "config.json"),
            "HOME": str(folder),
        }

    def copy(self, name: str) -> Path:
        """A copy of the run, alone in a folder of runs."""
        target = self.folder / name / f"20260101-000000-{name}"
        shutil.copytree(self.stopped, target, symlinks=True)
        return target

    def type(self, *words: str, seconds: float = 60.0, report: Path | None = None) -> Done:
        """`report`: the most memory it took is written there, in bytes."""
        return warm().type(words, cwd=self.folder, env=self.env, seconds=seconds, report=report)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def said(done: Done) -> str:
    """What was printed; it holds no traceback and nothing that acts on a terminal."""
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text[-3000:]
    assert not any(c in text for c in "\x1b\x07\x9b\x9d"), repr(text[-500:])
    return text


def test_a_command_that_is_typed_here_is_one_of_its_own(desk: Desk) -> None:
    """The tests below see its exit code, both its outputs, a traceback, and that it hangs."""
    assert desk.type("--version").stdout.startswith("sftui ")
    done = desk.type("shwo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "show" in done.stderr
    desk.env["SFTUI_RUNS"] = "\0"
    with pytest.raises(AssertionError, match="embedded null byte"):
        said(desk.type("runs"))
    desk.env["SFTUI_RUNS"] = str(desk.folder / "runs")
    with pytest.raises(subprocess.TimeoutExpired):
        desk.type("show", str(desk.stopped), seconds=0.01)
    assert "stopped" in said(desk.type("runs"))


LINKED = ("lock", "run.log", "heartbeat/rank-0.json", "events.jsonl", "control.jsonl", "run.json")


@pytest.mark.parametrize("name", LINKED)
def test_a_run_is_not_taken_up_through_links(desk: Desk, name: str) -> None:
    """`lock -> ~/.ssh/authorized_keys` was emptied and written over by `--resume`."""
    run = desk.copy("links")
    path = run / name
    path.parent.mkdir(exist_ok=True)
    victim = desk.folder / "victim"
    victim.write_bytes(path.read_bytes() if name in ("events.jsonl", "run.json") else b"DEAR\n" * 9)
    before = victim.read_bytes()
    path.unlink(missing_ok=True)
    path.symlink_to(victim)
    done = desk.type("run", "--headless", "--resume", str(run))
    assert "link" in said(done)
    assert done.returncode == 2
    assert victim.read_bytes() == before


WRITTEN_IN_PLACE = ("lock", "run.log", "heartbeat/rank-0.json", "events.jsonl", "control.jsonl")


@pytest.mark.parametrize("name", [*WRITTEN_IN_PLACE, "logs/supervisor.log", "supervisor.jsonl"])
def test_a_run_is_not_taken_up_through_hard_links(tmp_path: Path, name: str) -> None:
    """Another name of the same bytes is a link that no look at its kind shows."""
    run = run_dir.create(tmp_path / "runs", "x", datetime(2026, 1, 1))
    victim = tmp_path / "victim"
    victim.write_text("DEAR\n")
    os.link(victim, run.path / name)
    with pytest.raises(RunDirError, match=rf"{name} \(a hard link"):
        run_dir.refuse_links(run)


def test_checkpoints_that_share_their_bytes_are_taken_up(tmp_path: Path) -> None:
    """They are never written to again, and tools that save room make them share."""
    run = run_dir.create(tmp_path / "runs", "x", datetime(2026, 1, 1))
    folder = run.checkpoint(1)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    os.link(folder / "model.safetensors", tmp_path / "again")
    run_dir.refuse_links(run)


@pytest.mark.parametrize("name", ["logs", "heartbeat"])
def test_no_evidence_of_life_comes_from_outside(desk: Desk, name: str) -> None:
    """The last line of any supervisor.log was told, and another run's beat was taken for life."""
    run = RunDir(desk.copy("evidence"))
    run.lock.unlink(missing_ok=True)
    outside = desk.folder / "outside"
    outside.mkdir()
    (outside / "supervisor.log").write_text("sftui: error: SECRET\n")
    record = {"rank": 0, "pid": os.getpid(), "host": socket.gethostname()}
    (outside / "rank-0.json").write_text(json.dumps(record))
    shutil.rmtree(run.path / name, ignore_errors=True)
    (run.path / name).symlink_to(outside)
    alive, words = lock.evidence(run)
    assert not alive
    assert "SECRET" not in words


def test_a_run_is_not_taken_up_with_a_pipe_or_a_linked_folder_in_it(desk: Desk) -> None:
    """Also deeper down, where the ranks write."""
    run = desk.copy("deeper")
    elsewhere = desk.folder / "elsewhere"
    elsewhere.mkdir()
    (run / "evals" / "mine").symlink_to(elsewhere)
    os.mkfifo(run / "ckpt" / "pipe")
    text = said(desk.type("run", "--headless", "--resume", str(run)))
    assert "evals/mine (a link)" in text
    assert "ckpt/pipe (a pipe)" in text
    assert list(elsewhere.iterdir()) == []


PIPES = ("lock", "events.jsonl", "supervisor.jsonl", "live.json", "run.json")


@pytest.mark.parametrize("name", PIPES)
@pytest.mark.parametrize("command", ["runs", "show"])
def test_a_pipe_in_a_run_keeps_nobody_waiting(desk: Desk, name: str, command: str) -> None:
    """Opening it would block until somebody writes."""
    run = desk.copy("pipes")
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    words = ["runs", "--runs-dir", str(run.parent)] if command == "runs" else ["show", str(run)]
    said(desk.type(*words, seconds=20))


ALL_FILES = (
    ("data", "RUN", "--step", "4"),
    ("questions", "RUN"),
    ("compare", "RUN", "RUN"),
    ("export", "RUN", "-o", "new"),
)


@pytest.mark.parametrize("there", ["pipe", "link"])
@pytest.mark.parametrize("words", ALL_FILES)
def test_no_file_of_a_run_is_a_way_out_of_it_or_without_end(
    desk: Desk, there: str, words: tuple[str, ...]
) -> None:
    """All of them but run.json: `data` waited for a tokenizer that was a pipe, and read one that
    led to /dev/zero until the memory was full."""
    run = desk.copy("all")
    for path in [path for path in run.rglob("*") if path.is_file() and path.name != "run.json"]:
        path.unlink()
        os.mkfifo(path) if there == "pipe" else path.symlink_to("/dev/zero")
    report = desk.folder / "peak"
    typed = [str(run) if word == "RUN" else word for word in words]
    done = desk.type(*typed, seconds=20, report=report)
    said(done)
    assert done.returncode in (0, 2)
    assert int(report.read_text()) < 500_000_000


def test_a_pipe_as_settings_is_one_line(desk: Desk) -> None:
    """`--config` of a pipe waited for ever."""
    os.mkfifo(desk.folder / "config.toml")
    done = desk.type("run", "--dry-run", "--headless", "--config", "config.toml", seconds=20)
    assert "a pipe" in said(done)
    assert done.returncode == 2


DEEP = ("run.json", "resume.json", "lock", "heartbeat/rank-0.json", "live.json")


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("content", ["[" * 100_000, '{"pid": 1e999, "host": "h", "rank": 1e999}'])
def test_json_that_python_cannot_take_costs_one_line(desk: Desk, name: str, content: str) -> None:
    """Nested a hundred thousand times, or with a number beyond every float."""
    run = desk.copy("deep")
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text(content)
    text = said(desk.type("runs", "--runs-dir", str(run.parent)))
    assert len(text.splitlines()) == 2
    if name in ("run.json", "resume.json"):
        done = desk.type("run", "--headless", "--resume", str(run))
        assert len(said(done).splitlines()) == 1
        assert done.returncode == 2


RISKS = (
    ("--unsafe-code", {"unsafe_code": True}),
    ("--rendezvous evil:1", {"nodes": 2, "gpus": 2, "rendezvous": "evil:1"}),
)


@pytest.mark.parametrize(("flag", "changed"), RISKS)
@pytest.mark.parametrize("place", ["run.json", "resume.json"])
def test_settings_that_let_others_act_here_must_be_typed(
    desk: Desk, flag: str, changed: dict[str, object], place: str
) -> None:
    """Programs without a sandbox, and a host whose answers torch unpickles."""
    run = desk.copy("risky")
    if place == "run.json":
        manifest = json.loads((run / place).read_text())
        manifest["config"] |= changed
        (run / place).write_text(json.dumps(manifest))
    else:
        entry = {"created": 1.0, "attempt": 2, "world_size": 2, "device_type": "cpu"}
        entry |= {"changed": changed, "command": ["sftui"]}
        (run / place).write_text(json.dumps({"schema": 1, "resumptions": [entry]}))
    words = ["run", "--headless", "--dry-run", "--resume", str(run)]
    done = desk.type(*words)
    assert f"not started by you with {flag}:" in said(done)
    assert done.returncode == 2
    assert "not started by you" not in said(desk.type(*words, *flag.split()))


def test_a_name_that_writes_the_clipboard_is_printed_as_text(desk: Desk) -> None:
    """Names of folders come from other people too."""
    root = desk.folder / "named"
    run = root / "20260101-000000-\x1b]52;c;aGk=\x07"
    shutil.copytree(desk.stopped, run)
    for words in (("runs",), ("show", str(run)), ("runs", "rm", run.name), ("ctl", "x", "stop")):
        said(desk.type(*words, "--runs-dir", str(root)))
    assert run.is_dir()


def test_a_linked_run_is_removed_as_a_link(desk: Desk) -> None:
    """The run that it leads to stays, and so does everything in it."""
    link = desk.folder / "linked" / "20260101-000000-link"
    link.parent.mkdir()
    link.symlink_to(desk.stopped)
    done = desk.type("runs", "rm", link.name, "--yes", "--runs-dir", str(link.parent))
    assert "deleted" in said(done)
    assert list(link.parent.iterdir()) == []
    assert (desk.stopped / "run.json").is_file()


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file under a folder, with its size and the time it was changed."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.fixture
def precious() -> Iterator[Path]:
    """A folder of one's own that is called like a screen's."""
    folder = Path(tempfile.mkdtemp(prefix="sftui-live-"))
    (folder / "thesis.txt").write_text("DEAR\n")
    yield folder
    shutil.rmtree(folder)


def test_opening_a_strangers_run_changes_nothing_on_the_disk(desk: Desk, precious: Path) -> None:
    """Its card names a folder of ours as a dead screen's; looking at it writes nothing at all."""
    run = desk.copy("card")
    card = {"v": 1, "address": str(precious / "nobody"), "key": "00", "pid": 1, "host": "h"}
    (run / "live.json").write_text(json.dumps(card))
    before = tree(run.parent)
    with children() as started:
        screen = Terminal(started, "-m", "sftui", "attach", str(run), env=dict(desk.env))
        try:
            screen.see("STOPPED")
            screen.press("q")
            screen.wait()
        finally:
            screen.close()
    assert (precious / "thesis.txt").read_text() == "DEAR\n"
    assert tree(run.parent) == before
    for words in (("show", str(run)), ("questions", str(run)), ("runs", "--runs-dir", "card")):
        said(desk.type(*words))
    assert tree(run.parent) == before


def test_a_huge_lock_is_not_read(desk: Desk) -> None:
    """A lock takes a hundred bytes; one of 2 GB (a hole) filled the memory twice."""
    run = desk.copy("huge")
    with (run / "lock").open("wb") as file:
        file.truncate(2 * 10**9)
    started = time.monotonic()
    assert "interrupted" in said(desk.type("runs", "--runs-dir", str(run.parent)))
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("name", ["events.jsonl", "supervisor.jsonl", "train.log"])
def test_a_file_that_says_it_has_a_terabyte_is_read_at_once(desk: Desk, name: str) -> None:
    """A sparse file of some bytes: reading its hole block by block has no end."""
    run = desk.copy("sparse")
    path = run / name
    log = "".join(f"step {n} loss {3 - n / 50:.3f}\n" for n in range(50))
    path.write_bytes(path.read_bytes() if path.exists() else log.encode() * (name[0] == "t"))
    os.truncate(path, 2**40)
    what = path if name == "train.log" else run
    for words in (["show", str(what)], ["replay", "--headless", str(what)]):
        try:
            done = desk.type(*words, seconds=60)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{words} did not end")
        said(done)
        assert done.returncode == 0


def test_what_stands_beside_a_log_is_a_file_or_not_read(desk: Desk) -> None:
    """What was said of a log is kept beside it; in a stranger's folder a pipe may stand there."""
    log = desk.folder / "train.log"
    log.write_text("".join(f"step {n} loss {3 - n / 50:.3f}\n" for n in range(50)))
    beside = log.with_name("train.log.sftui.json")
    os.mkfifo(beside)
    try:
        done = desk.type("show", str(log), seconds=30)
    except subprocess.TimeoutExpired:
        pytest.fail("it waits for the other end of a pipe")
    assert "step 49" in said(done)


def test_a_dead_screens_socket_is_cleared_and_nothing_beside_it(tmp_path: Path) -> None:
    """What a killed screen leaves is one folder with one socket; anything more is not ours."""
    from engine.journal import live_queue
    from engine.run.run_dir import RunDir

    run = RunDir(tmp_path)
    ours = Path(tempfile.mkdtemp(prefix="sftui-live-"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(ours / "live"))
    other = Path(tempfile.mkdtemp(prefix="sftui-live-"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(other / "live"))
    (other / "notes").write_text("mine")
    try:
        for folder in (ours, other):
            run.live.write_text(json.dumps({"address": str(folder / "live")}))
            live_queue._remove_stale(run)
        assert not ours.exists()
        assert (other / "notes").read_text() == "mine"
    finally:
        shutil.rmtree(ours, ignore_errors=True)
        shutil.rmtree(other)


def test_an_evaluation_runs_no_programs_because_a_run_says_so(desk: Desk) -> None:
    """`unsafe_code` of a stranger's run would run its model's programs without a sandbox."""
    from engine.checkpoints import checkpoint_target
    from sftui.commands import checkpoint_flags, evaluate

    run = desk.copy("unsafe")
    manifest = json.loads((run / "run.json").read_text())
    manifest["config"]["unsafe_code"] = True
    (run / "run.json").write_text(json.dumps(manifest))
    target = checkpoint_target.find(str(run), runs=run.parent)
    for typed in (False, True):
        flags = checkpoint_flags.EvalFlags(checkpoint=str(run), unsafe_code=typed)
        assert evaluate._settings(target, flags).eval.unsafe_code is typed


@pytest.mark.parametrize("layout", ["hf", "nanochat"])
def test_an_export_into_what_is_no_folder_is_one_line(desk: Desk, layout: str) -> None:
    (desk.folder / "file").write_text("mine")
    words = ["export", str(desk.stopped), "--format", layout, "-o", str(desk.folder / "file")]
    assert "is no folder" in said(desk.type(*words))
    assert (desk.folder / "file").read_text() == "mine"
