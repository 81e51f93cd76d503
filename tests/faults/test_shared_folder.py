"""A folder of runs that several users share works for each of them, with what each may read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import environment

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

USERS = {"alice": 64_001, "bob": 64_002}

# The command runs once as root, so that every module is there when the user's rights hold: an
# interpreter below /root may not be read by anybody else.
AS_USER = """
import contextlib, io, json, os, sys
from sftui import cli
uid, warm, words = int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    for each in warm:
        cli.main(each)
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
os.chdir("/")
sys.exit(cli.main(words))
"""


def event(seq: int, kind: str, **data: object) -> str:
    line = {"v": 1, "type": kind, "src": "r0", "att": 1, "seq": seq, "t": 1767225600.0 + seq}
    return json.dumps(line | {"step": seq, "d": data}) + "\n"


class Shared:
    """`/shared/runs`: anybody may make a run there, and each is private to its maker."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.chmod(0o1777)
        for day, (name, uid) in enumerate(USERS.items(), start=1):
            run = root / f"2026010{day}-000000-{name}"
            run.mkdir()
            (run / "run.json").write_text(json.dumps({"world_size": 1}))
            steps = "".join(event(seq, "step_finished", loss=2.0) for seq in range(1, 5))
            end = event(9, "run_finished", status="finished", updates=4)
            (run / "events.jsonl").write_text(event(0, "run_started", name=name) + steps + end)
            for path in (run, *run.iterdir()):
                os.chown(path, uid, uid)
                path.chmod(0o700 if path is run else 0o600)

    def type(self, user: str, *words: str) -> subprocess.CompletedProcess[str]:
        typed = [*words, "--runs-dir", str(self.root)]
        warm = [["show", str(self.root / "20260101-000000-alice")], typed]
        return subprocess.run(
            [sys.executable, "-c", AS_USER, str(USERS[user]), json.dumps(warm), json.dumps(typed)],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=60,
        )


@pytest.fixture
def shared() -> Iterator[Shared]:
    # Not below pytest's own folder, which is private to root.
    root = Path(tempfile.mkdtemp(prefix="sftui-shared-"))
    yield Shared(root)
    shutil.rmtree(root)


def said(done: subprocess.CompletedProcess[str]) -> str:
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    return text


@pytest.mark.parametrize(("user", "other"), [("alice", "bob"), ("bob", "alice")])
def test_each_user_lists_their_runs_and_sees_that_others_have_some(
    shared: Shared, user: str, other: str
) -> None:
    """One private folder was a traceback, in every command that finds a run."""
    done = shared.type(user, "runs")
    rows = said(done).splitlines()
    assert done.returncode == 0
    assert len(rows) == 3
    [mine] = [row for row in rows if f"000000-{user}" in row]
    [theirs] = [row for row in rows if f"000000-{other}" in row]
    assert "finished" in mine
    assert f"private to user {USERS[other]}" in theirs


@pytest.mark.parametrize(("user", "other"), [("alice", "bob"), ("bob", "alice")])
def test_the_newest_run_is_the_newest_that_one_may_read(
    shared: Shared, user: str, other: str
) -> None:
    """By name, by the beginning of a name, and when none is named."""
    for words in (("show",), ("show", user), ("attach", "--headless", user)):
        done = shared.type(user, *words)
        assert f"000000-{user}" in said(done), words
        assert f"000000-{other}" not in said(done), words


@pytest.mark.parametrize("words", [("show",), ("attach", "--headless"), ("runs", "rm")])
def test_another_users_run_is_refused_with_its_owner(shared: Shared, words: list[str]) -> None:
    """By name and by path."""
    for target in ("bob", str(shared.root / "20260102-000000-bob")):
        done = shared.type("alice", *words, target)
        assert f"a run of user {USERS['bob']}" in said(done), words
        assert done.returncode == 2
    assert (shared.root / "20260102-000000-bob" / "run.json").is_file()


def test_a_run_whose_files_are_private_in_an_open_folder_is_private(shared: Shared) -> None:
    """`chmod 755` of the folder alone made it the newest run, of which nothing could be read."""
    (shared.root / "20260102-000000-bob").chmod(0o755)
    rows = said(shared.type("alice", "runs")).splitlines()
    assert any("000000-bob" in row and f"private to user {USERS['bob']}" in row for row in rows)
    for words in (["show"], ["attach", "--headless"]):
        assert "000000-alice" in said(shared.type("alice", *words)), words
    for target in ("bob", str(shared.root / "20260102-000000-bob")):
        for words in (["show", target], ["runs", "rm", target]):
            done = shared.type("alice", *words)
            assert f"a run of user {USERS['bob']}" in said(done), words
            assert done.returncode == 2


@pytest.mark.parametrize(
    "words", [("show",), ("show", "no.log"), ("attach", "--headless"), ("runs",)]
)
def test_where_all_runs_are_others_it_is_not_said_that_there_are_none(
    shared: Shared, words: tuple[str, ...]
) -> None:
    shutil.rmtree(shared.root / "20260101-000000-alice")
    text = said(shared.type("alice", *words))
    assert str(USERS["bob"]) in text
    assert "no runs under" not in text or "that you may read" in text


LIST_AS = """
import os, sys
from pathlib import Path
from sftui.sources.run_briefs import Briefs
from sftui.sources.run_entries import EntryFeed
feed = EntryFeed(Path(sys.argv[2]), Path("/nowhere"), None)
feed.read(Briefs(None))  # as root, for the modules: see AS_USER
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
feed.read(Briefs(None))
for entry in feed.entries:
    print(entry.name, entry.state, "open" if entry.readable else "not open", sep="|")
"""


@pytest.mark.parametrize(("user", "other"), [("alice", "bob"), ("bob", "alice")])
def test_the_picker_lists_what_the_list_of_runs_does(shared: Shared, user: str, other: str) -> None:
    """It said that there were no runs where all were others'."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_AS, str(USERS[user]), str(shared.root)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    rows = dict(row.split("-")[-1].split("|", 1) for row in said(done).splitlines())
    assert rows == {
        user: "finished|open",
        other: f"private to user {USERS[other]}|not open",
    }


POST_AS = """
import os, sys
from pathlib import Path
from engine.control import Command, Request
from engine.errors import RunDirError
from engine.run.owners import other_owner
from engine.run.run_dir import RunDir
from engine.steering import inbox
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
run = RunDir(Path(sys.argv[2]))
print("owner", other_owner(run.path))
try:
    inbox.post(run, Request(id="x", command=Command.PAUSE))
except RunDirError as error:
    print(error)
"""


def test_a_request_to_another_users_run_says_whose_it_is(shared: Shared) -> None:
    """`Permission denied` about a file of the run was all that was said."""
    run = shared.root / "20260102-000000-bob"
    (run / "control.jsonl").touch()
    os.chown(run / "control.jsonl", USERS["bob"], USERS["bob"])
    for path in (run, *run.iterdir()):
        path.chmod(0o755 if path is run else 0o644)
    told = {}
    for user in USERS:
        told[user] = subprocess.run(
            [sys.executable, "-c", POST_AS, str(USERS[user]), str(run)],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=60,
            check=True,
        ).stdout
    assert f"the run is user {USERS['bob']}'s" in told["alice"]
    assert "control.jsonl" in told["alice"]
    assert told["bob"].strip() == "owner"
    assert len((run / "control.jsonl").read_text().splitlines()) == 1
