"""Jobs in processes of their own: one answer, whatever libraries print, and errors as words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.errors import ConfigError, RunFailedError, UsageError
from engine.processes import child
from tests.processes import environment, wait_for


def work(job):
    """What the child does in these tests."""
    if job["do"] == "mistype":
        raise ConfigError("there is no such thing")
    if job["do"] == "linger":
        Path(job["pid"]).write_text(str(os.getpid()))
        time.sleep(60)
    if job["do"] == "crash":
        raise ValueError("never told to a person")
    print("from Python")
    os.write(1, b"from C\n")
    return {"job": job, "torch": "torch" in sys.modules}


if __name__ == "__main__":
    sys.exit(child.serve(work))


def run(job, monkeypatch):
    from tests.processes import ROOT

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return child.run("tests.engine.processes.test_child", job)


def test_prints_do_not_reach_the_answer(monkeypatch, capfd):
    """stdout carries the answer alone; what was printed goes to stderr."""
    job = {"do": "answer", "text": "\u4f60\u597d"}
    assert run(job, monkeypatch) == {"job": job, "torch": False}
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "from Python" in printed.err
    assert "from C" in printed.err


def test_a_mistake_comes_back_as_words(monkeypatch):
    """With its kind, so that the exit code is right."""
    with pytest.raises(UsageError, match="there is no such thing"):
        run({"do": "mistype"}, monkeypatch)


def test_a_crash_is_a_failure(monkeypatch, capfd):
    """The traceback is on stderr, and the error says where to look."""
    with pytest.raises(RunFailedError, match="exit code 1 and no answer"):
        run({"do": "crash"}, monkeypatch)
    assert "never told to a person" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells of a parent's death")
def test_a_child_ends_with_who_started_it(tmp_path):
    """Also where that one was killed: an evaluation went on for hours, for nobody."""
    pid_file = tmp_path / "pid"
    job = {"do": "linger", "pid": str(pid_file)}
    words = f"child.run('tests.engine.processes.test_child', {json.dumps(job)})"
    parent = subprocess.Popen(
        [sys.executable, "-c", f"from engine.processes import child; {words}"], env=environment()
    )
    wait_for(lambda: pid_file.exists() and pid_file.read_text())
    lingers = psutil.Process(int(pid_file.read_text()))
    parent.kill()
    parent.wait()
    try:
        wait_for(lambda: not lingers.is_running() or lingers.status() == psutil.STATUS_ZOMBIE, 5)
    finally:
        if lingers.is_running():
            lingers.kill()
