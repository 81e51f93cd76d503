"""Jobs in processes of their own: one answer, whatever libraries print, and errors as words."""

from __future__ import annotations

import sys

import pytest

from engine.errors import ConfigError, RunFailedError, UsageError
from engine.processes import child


def work(job):
    """What the child does in these tests."""
    if job["do"] == "mistype":
        raise ConfigError("there is no such thing")
    if job["do"] == "crash":
        raise ValueError("never told to a person")
    import os

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
