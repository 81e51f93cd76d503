"""Where the sandbox cannot be had, the reason and what to type are said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.sandbox import bubblewrap, program_sandbox, syscall_filter
from tests.conftest import examples
from tests.engine.sandbox.leftovers import left_behind
from tests.engine.sandbox.test_hostile_answers import RIGHT, TESTS, WRONG

ROOT = Path(__file__).parents[3]


def refusal() -> str:
    with pytest.raises(UsageError) as found:
        program_sandbox.open_sandbox()
    return str(found.value)


def test_without_bubblewrap_the_line_that_installs_it_is_told(monkeypatch):
    monkeypatch.setattr(bubblewrap, "find", lambda: None)
    text = refusal()
    assert "apt-get install bubblewrap" in text
    assert "--unsafe-code" in text


def test_another_system_and_another_machine_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(syscall_filter, "machine_has_filter", lambda: False)
    assert "x86_64 and aarch64" in refusal()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "darwin" in refusal()


def test_a_bubblewrap_that_fails_is_refused_in_its_own_words(monkeypatch, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    broken.chmod(0o755)
    monkeypatch.setattr(bubblewrap, "find", lambda: str(broken))
    text = refusal()
    assert "No permissions to create new namespace" in text
    assert "--unsafe-code" in text


def test_a_sandbox_with_a_hole_is_refused(monkeypatch, tmp_path):
    # A wrapper that runs the program as it is: the probe finds the system around it.
    leaky = tmp_path / "bwrap"
    leaky.write_text('#!/bin/sh\nwhile [ "$1" != "--" ]; do shift; done\nshift\nexec "$@"\n')
    leaky.chmod(0o755)
    monkeypatch.setattr(bubblewrap, "find", lambda: str(leaky))
    assert "cannot be made on this machine" in refusal()


def test_forbidden_user_namespaces_are_told_with_the_switch_that_forbids_them():
    if bubblewrap.find() is None:
        pytest.skip("bubblewrap is not installed: type `make setup`, or apt-get install bubblewrap")
    source = "from engine.sandbox.program_sandbox import open_sandbox; open_sandbox()"
    script = (
        "echo 0 > /proc/sys/user/max_user_namespaces || exit 77; "
        f"exec {sys.executable} -c '{source}'"
    )
    found = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    if found.returncode == 77 or "unshare:" in found.stderr:
        pytest.skip(f"this machine cannot forbid them for a test: {found.stderr.strip()[:200]}")
    assert "user.max_user_namespaces" in found.stderr
    assert found.returncode == 1


def test_unsafe_programs_are_judged_the_same_and_killed_as_a_group():
    sandbox = program_sandbox.open_sandbox(unsafe=True)
    assert not sandbox.contained
    assert "WITHOUT a sandbox" in program_sandbox.NOT_CONTAINED
    assert sandbox.run(RIGHT + TESTS).passed
    assert not sandbox.run(WRONG + TESTS).passed
    child = "import subprocess; subprocess.Popen(['sleep', '600'])"
    assert not sandbox.run(child + WRONG + TESTS).passed
    assert left_behind() == []


@examples(15)
@given(program=st.text(max_size=200))
def test_any_text_is_a_program_with_a_verdict(program):
    verdict = program_sandbox.open_sandbox(unsafe=True).run("raise ValueError\n" + program)
    assert not verdict.passed
    assert verdict.reason
