"""What a stranger may hand us runs nothing, reads nothing else, and what is ours stays private."""

import ast
import json
import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest

from engine.checkpoints import checkpoint_dir
from engine.errors import CheckpointError, DataError
from engine.evaluation import eval_items
from engine.journal.live_queue import LiveServer
from engine.run import run_dir
from tests.faults.place import Place, work
from tests.processes import ROOT


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# ---- private ------------------------------------------------------------------------------------


def test_a_run_directory_is_private_to_its_user(place):
    """0700, whatever the umask: logs quote data, the key opens a socket, requests stop runs."""
    before = os.umask(0)
    try:
        run = place.make()
        server = LiveServer(run)
        try:
            work(run)
            address = Path(json.loads(run.live.read_text())["address"])
            assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE(run.live.stat().st_mode) == 0o600
        finally:
            server.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
    # What could be moved out of the folder, or is written to from outside, is private by itself.
    for path in (run.manifest, run.events, run.control, run.run_log, run.heartbeat(0)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


# ---- nothing of a stranger's runs --------------------------------------------------------------

FORBIDDEN = {
    "pickle.load",
    "pickle.loads",
    "marshal.loads",
    "shelve.open",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "yaml.load",
}


RUNS_PROGRAMS = {"engine/sandbox/answer_runner.py"}
"""Runs HumanEval's programs, inside the sandbox alone: tests/engine/sandbox attacks it."""
SHELLS = {"sftui/cockpit/notices.py"}
"""Where a person's own command line is run; what a run says goes to its stdin, never into it."""


def dotted(node):
    """`a.b.c` of a call's name, or an empty text."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""


def test_no_code_of_ours_can_execute_what_it_reads():
    """No unpickling, no eval, no shell; torch and numpy are told to load data only.

    Read from the source, so that a new call is found on the day it is written.
    """
    found = []
    for path in [*(ROOT / "engine").rglob("*.py"), *(ROOT / "sftui").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = dotted(node.func)
            options = {word.arg: word.value for word in node.keywords}

            def says(option, value, options=options):
                node = options.get(option)
                return isinstance(node, ast.Constant) and node.value is value

            where = f"{path.relative_to(ROOT)}:{node.lineno}: {name}"
            if str(path.relative_to(ROOT)) in RUNS_PROGRAMS:
                continue
            if name in FORBIDDEN or name in ("eval", "exec", "compile"):
                found.append(where)
            if name == "torch.load" and not says("weights_only", True):
                found.append(where)
            if name in ("np.load", "numpy.load") and not says("allow_pickle", False):
                found.append(where)
            if says("shell", True) and str(path.relative_to(ROOT)) not in SHELLS:
                found.append(where)
    assert found == []


class Payload:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_pickles_in_every_file_we_read_run_nothing(place, tmp_path):
    """Fault 27: tokenizer, nanochat checkpoint, tensors, per-item results, event log, controls."""
    import torch

    from engine.checkpoints import checkpointer, nanochat_io, nanochat_paths
    from engine.conversations.tokenizer import Tokenizer
    from engine.errors import SftuiError
    from engine.journal import event_files
    from engine.steering.inbox import Inbox

    mark = tmp_path / "executed"
    hostile = pickle.dumps(Payload(mark))
    assert pickle.loads(hostile) is None
    assert mark.exists(), "the payload works"
    mark.unlink()

    run = place.make("--num-iterations=6")
    work(run)
    info = checkpoint_dir.list_checkpoints(run)[-1]
    for name in sorted(info.files):
        path = info.path / name
        whole = path.read_bytes()
        path.write_bytes(hostile.ljust(len(whole), b"\0"))
        with pytest.raises(CheckpointError):
            checkpoint_dir.verify(info.path)
        if name == checkpoint_dir.MODEL:
            with pytest.raises(CheckpointError):
                checkpointer.load_model_state(info)
        path.write_bytes(whole)
    items = next(run.evals.glob("*MMLU.npz"))
    np.savez(items, format=1, task=np.array([Payload(mark)], dtype=object))
    with pytest.raises(DataError):
        eval_items.load_items(items)
    pkl = place.cache / "tokenizer" / "tokenizer.pkl"
    pkl.write_bytes(hostile)
    with pytest.raises(SftuiError):
        Tokenizer.load(pkl)
    pkl.unlink()
    start = nanochat_paths.find_checkpoint("mid", base=place.cache)
    torch.save({"w": Payload(mark)}, start.model_path)
    with pytest.raises(SftuiError):
        nanochat_io.load_weights(start)
    run.events.write_bytes(hostile + b"\n")
    assert event_files.last_stamp(run.events) is None
    run.control.write_bytes(hostile + b"\n")
    assert Inbox(run, 1).read() == ([], [])
    assert not mark.exists()


# ---- paths stay in their folder -----------------------------------------------------------------


def test_a_checkpoint_names_nothing_outside_of_itself(place):
    """A link in the place of a file is not followed, whatever its target's digest."""
    run = place.make("--num-iterations=6")
    work(run)
    info = checkpoint_dir.list_checkpoints(run)[-1]
    model = info.path / "model.safetensors"
    elsewhere = place.path / "elsewhere"
    model.rename(elsewhere)
    model.symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match="is a link"):
        checkpoint_dir.verify(info.path)


NAMES = [
    "../outside",
    "/etc/passwd",
    "evals/../../outside",
    "link",
    "folder/../link",
    "pipe",
    "evals",
    "",
    ".",
    "a\x00b",
    "x" * 5000,
    "missing",
    "/dev/zero",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_named_by_an_event_is_opened_in_the_run_directory_only(name, tmp_path):
    """Per-item results of a stranger's run cannot make the screen read, wait or crash."""
    folder = tmp_path / "run"
    (folder / "evals").mkdir(parents=True)
    (folder / "folder").mkdir()
    (tmp_path / "outside").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "pipe")
    assert run_dir.named_file(folder, name) is None


def test_a_result_of_the_run_itself_is_opened(tmp_path):
    """Also through a link to the run directory, as `runs/latest` may be one."""
    folder = tmp_path / "run"
    (folder / "evals").mkdir(parents=True)
    (folder / "evals" / "a.npz").write_bytes(b"x")
    (tmp_path / "latest").symlink_to(folder)
    for base in (folder, tmp_path / "latest"):
        assert run_dir.named_file(base, "evals/a.npz") == (folder / "evals" / "a.npz").resolve()


def test_tags_and_run_names_cannot_leave_their_folder(place):
    """`--model-tag ../..` and `--run ../../x` are names, not paths."""
    from engine.checkpoints import nanochat_paths
    from engine.errors import SftuiError

    with pytest.raises(SftuiError):
        nanochat_paths.find_checkpoint("mid", "../../..", base=place.cache)
    run = place.make("--run=../../../outside \x1b[2J")
    assert run.path.parent == place.root
    assert "/" not in run.id
    assert "\x1b" not in run.id


def test_nothing_is_told_to_the_world(place):
    """The live socket is a file in a private folder; a run of one rank listens on no port."""
    import psutil

    run = place.make("--num-iterations=6")
    from engine import trainer

    seen = []
    with pytest.MonkeyPatch.context() as patch:
        accumulate = trainer.accumulate_gradients

        def look(session, batch):
            seen.append(
                [c for c in psutil.Process().net_connections("inet") if c.status == "LISTEN"]
            )
            return accumulate(session, batch)

        patch.setattr(trainer, "accumulate_gradients", look)
        before = [c for c in psutil.Process().net_connections("inet") if c.status == "LISTEN"]
        work(run)
    assert seen
    assert all(found == before for found in seen)
