"""Files are written at one door: whole or not at all, over nothing but files, through no link."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.checkpoints import nanochat_io
from engine.commands import export_checkpoint
from engine.errors import CheckpointError, UsageError
from engine.evaluation import eval_items, validation_rows
from engine.files import written
from engine.run import run_dir
from sftui import report
from sftui.commands import evaluate
from sftui.commands.checkpoint_flags import EvalFlags
from sftui.drawing.chart_data import ChartCurve, ChartData
from sftui.keys import preferences
from sftui.report import chart_files, pictures
from sftui.report.report_facts import Facts
from sftui.sources import hints
from tests import structure
from tests.engine.evaluation import test_eval_results
from tests.engine.small import BYTES
from tests.faults.test_strangers import Desk

Writer = Callable[[Path], object]
KINDS = ("pipe", "folder", "socket", "device")


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    log = tmp_path_factory.mktemp("log") / "trainer_state.json"
    history = [{"step": step, "loss": 1.0 / step} for step in range(1, 5)]
    log.write_text(json.dumps({"log_history": history, "global_step": 4, "max_steps": 4}))
    return report.open_facts(str(log), command="sftui report x")


def draw(facts: Facts, path: Path) -> None:
    """The picture of the losses alone, as PATH."""
    pictures.draw(facts, path.parent, path.name.removesuffix("-loss.svg"))


def draw_chart(path: Path) -> None:
    """PATH is `log-loss-step-1.csv`."""
    one = np.array([0.0, 1.0])
    curve = ChartCurve(
        name="loss", label="loss", place=0, steps=one, x=one, y=one.astype(np.float32), mean=None
    )
    data = ChartData(
        source="log", title="t", series="loss", curves=[curve], x_words="", x_limits=(0, 1),
        y_limits=(0, 1),
    )  # fmt: skip
    chart_files.write(data, path.parent, ["csv"])


def keep_preferences(path: Path) -> None:
    os.environ["SFTUI_CONFIG"] = str(path)
    preferences.save(preferences.Preferences())


ROW_LOSSES = validation_rows.RowLosses(losses=np.zeros(2), rows=np.arange(2))
WRITERS: dict[str, tuple[str, Writer]] = {
    "report": ("r.md", lambda path: None),
    "picture": ("r-loss.svg", lambda path: None),
    "chart": ("log-loss-step-1.csv", draw_chart),
    "results": ("r.json", test_eval_results.write),
    "answers": ("a.npz", lambda p: eval_items.save_items(p, test_eval_results.result())),
    "rows": ("v.npz", lambda path: validation_rows.save_rows(path, ROW_LOSSES)),
    "private": ("run.json", lambda path: run_dir.write_private(path, b"{}")),
    "weights": ("m.pt", lambda path: nanochat_io._write(path, lambda p: p.write_bytes(b"x"))),
    "tokenizer": ("t.pkl", lambda path: export_checkpoint._write_tokenizer(path, BYTES)),
    "hints": (
        "log.sftui.json",
        lambda path: hints.save(path.with_name("log"), hints.Hints(format="csv")),
    ),
    "preferences": ("p.json", keep_preferences),
}
"""By what is written: a name for it, and how it is written there."""


@pytest.fixture
def write(
    request: pytest.FixtureRequest, facts: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Writer]:
    """Where a writer writes in this test, and the writer."""
    monkeypatch.setenv("SFTUI_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    name, writer = WRITERS[request.param]
    if request.param == "report":
        writer = lambda path: report.write(facts, path, "en", draw=False)  # noqa: E731
    if request.param == "picture":
        writer = lambda path: draw(facts, path)  # noqa: E731
    return tmp_path / name, writer


def put(kind: str, path: Path) -> None:
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        case "device":
            # The null device of its own, never the machine's.
            os.mknod(path, 0o20600, os.makedev(1, 3))


@pytest.mark.parametrize("write", WRITERS, indirect=True)
def test_a_file_takes_the_place_of_a_file_alone(write: tuple[Path, Writer]) -> None:
    """Pipe, folder, socket and device stay what they are, and nothing is left beside them."""
    path, writer = write
    for kind in KINDS:
        try:
            put(kind, path)
        except PermissionError:
            continue  # only root makes a device
        before = os.lstat(path)
        # Whatever is said of it by whom: no traceback of another kind, and the place is as it was.
        with contextlib.suppress(UsageError, OSError):
            writer(path)
        after = os.lstat(path)
        assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode), kind
        assert not [p for p in path.parent.iterdir() if p.name.startswith(f".{path.name}")], kind
        shutil.rmtree(path) if kind == "folder" else path.unlink()


@pytest.mark.parametrize("write", [w for w in WRITERS if w != "preferences"], indirect=True)
def test_a_file_is_never_written_through_a_link(
    write: tuple[Path, Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither through one in its place nor through one beside it, where it is written first."""
    path, writer = write
    victim = path.parent / "victim"
    victim.write_bytes(b"mine")
    numbers = (os.getpid(), "")
    asides = [f".{path.name}{f'.{n}' if n else ''}{end}" for n in numbers for end in ("", ".part")]
    for link in (path.name, *asides):
        path.with_name(link).symlink_to(victim)
    # A link at the tokenizer's place leads to another tokenizer.
    with contextlib.suppress(CheckpointError):
        writer(path)
    assert victim.read_bytes() == b"mine"


def test_settings_that_are_a_link_of_the_users_stay_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People keep such files in a folder under version control."""
    kept = tmp_path / "dotfiles" / "sftui.json"
    kept.parent.mkdir()
    kept.write_text("{}")
    link = tmp_path / "config.json"
    link.symlink_to(kept)
    monkeypatch.setenv("SFTUI_CONFIG", str(link))
    preferences.save(preferences.Preferences())
    assert link.is_symlink()
    assert json.loads(kept.read_text())


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1", "/proc/self/x", "/sys/x"])
def test_no_file_is_put_among_the_systems_own(place: str) -> None:
    """`-o /dev/stdout`: a link, which a rename would take from every program."""
    with pytest.raises(OSError, match=r"system's own"):
        written.refuse_place(Path(place))
    written.refuse_place(Path("/dev/shm/new"))


@settings(max_examples=40)
@given(old=st.one_of(st.none(), st.binary()), new=st.binary(), fails=st.booleans())
def test_a_write_that_fails_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, old: bytes | None, new: bytes, *, fails: bool
) -> None:
    path = tmp_path_factory.mktemp("whole") / "file"
    if old is not None:
        path.write_bytes(old)
    try:
        with written.replacing(path) as fresh:
            fresh.write_bytes(new)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    wanted = old if fails else new
    assert (path.read_bytes() if path.exists() else None) == wanted
    assert [p.name for p in path.parent.iterdir()] == ([] if wanted is None else ["file"])


def test_a_written_file_may_be_read_as_any_other_and_a_private_one_not(tmp_path: Path) -> None:
    """As `open` would have made it; the umask holds."""
    before = os.umask(0o027)
    try:
        for private, mode in ((False, 0o640), (True, 0o600)):
            path = tmp_path / str(private)
            with written.replacing(path, private=private, sync=True) as fresh:
                fresh.write_bytes(b"x")
            assert path.stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)


def test_charts_are_not_written_out_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "charts").symlink_to("mine")
    with pytest.raises(OSError, match="it is a link"):
        draw_chart(tmp_path / "charts" / "log-loss-step-1.csv")
    assert list((tmp_path / "mine").iterdir()) == []


def test_results_are_not_written_out_of_a_run_or_over_a_pipe(tmp_path: Path) -> None:
    """Said before the checkpoint is loaded: at the end it would have cost minutes."""
    desk = Desk(tmp_path)
    run = desk.copy("linked")
    shutil.rmtree(run / "evals")
    (tmp_path / "mine").mkdir()
    (run / "evals").symlink_to(tmp_path / "mine")
    os.mkfifo(tmp_path / "pipe")
    for output, words in (
        (None, "evals cannot be written: it is a link"),
        (tmp_path / "pipe", "it is a pipe"),
    ):
        flags = EvalFlags(checkpoint=str(run), output=output, runs_dir=run.parent)
        with pytest.raises(UsageError, match=words):
            evaluate.evaluate_checkpoint(flags)
    assert list((tmp_path / "mine").iterdir()) == []
    # A checkpoint in the folder of a run whose manifest holds nothing of a model.
    (run / "run.json").write_text('{"schema": 1, "trainer": "foreign"}')
    with pytest.raises(UsageError, match="has no 'config'"):
        evaluate.evaluate_checkpoint(EvalFlags(checkpoint=str(run), runs_dir=run.parent))


OWN_WAY = {
    "engine/files/written.py": "the door",
    "engine/run/run_dir.py": "replaces logs/run.log, a link, with another",
    "engine/checkpoints/checkpoint_dir.py": "names whole folders",
    "engine/checkpoints/checkpointer.py": "names a checkpoint's files in its own new folder",
    "engine/checkpoints/hf_export.py": "names a whole new folder",
    "engine/model/hf/hf_save.py": "names a whole new folder",
    "sftui/commands/demo.py": "names a whole new folder",
    "sftui/commands/runs.py": "names a run that is being removed",
}


_MAY_RENAME = re.compile(r"\.(re(place|names?)|move)\((?![\"'\s*])")
"""Only files with such a call are parsed; of a text, the first argument is written out."""


def test_no_other_place_puts_a_file_in_the_place_of_another() -> None:
    """`path.replace(other)`, `path.rename(other)`, `os.replace`, `os.rename`, `shutil.move`."""
    found = set()
    for package in structure.PACKAGES:
        for path in (structure.ROOT / package).rglob("*.py"):
            text = path.read_text("utf-8")
            if _MAY_RENAME.search(text) and any(map(_is_rename, ast.walk(ast.parse(text)))):
                found.add(str(path.relative_to(structure.ROOT)))
    assert found == set(OWN_WAY)


def _is_rename(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    name, owner = node.func.attr, node.func.value
    if isinstance(owner, ast.Name) and owner.id in ("os", "shutil"):
        return name in ("replace", "rename", "renames", "move")
    # Of a text it takes two arguments, of a record named ones.
    return name in ("replace", "rename") and len(node.args) == 1 and not node.keywords
