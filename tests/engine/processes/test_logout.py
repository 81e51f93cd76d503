"""A run is kept from ending with its terminal, and where it cannot be, that is said first."""

import os
import pwd

import pytest

from engine.processes import logout

SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/tmux.service\n"
ELSEWHERE = ("0::/\n", "0::/system.slice/ssh.service\n", "1:name=systemd:/docker/1f\n", "")
USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine: its control group, its lingering users, the answers of its commands."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    logout.protection.cache_clear()

    def make(group, *, kills="b true", only="as 0", exclude="as 0", scope=True, lingers=False):
        (tmp_path / "cgroup").write_text(group)
        linger = tmp_path / "linger"
        linger.mkdir()
        if lingers:
            (linger / USER).touch()
        lines = "\n".join((kills, only, exclude))
        for name, body in {
            "busctl": f"cat <<'END'\n{lines}\nEND",
            "systemd-run": f"exit {0 if scope else 1}",
        }.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)
        return logout.protection(tmp_path / "cgroup", linger)

    return make


@pytest.mark.parametrize("group", ELSEWHERE)
def test_outside_of_a_login_nothing_is_asked_and_nothing_said(system, group):
    """A container, a service, a batch system: no logout ends anything there."""
    assert system(group) == logout.Protection()


def test_a_system_that_keeps_processes_needs_nothing(system):
    """Most distributions."""
    assert system(SESSION, kills="b false") == logout.Protection()


def test_where_logout_kills_the_run_gets_a_scope_of_its_own(system):
    """Used by itself; a user who lingers need not even know."""
    found = system(SESSION, lingers=True)
    assert found.prefix == ("systemd-run", "--user", "--scope", "--quiet", "--collect")
    assert found.note == ""


def test_a_user_who_does_not_linger_is_told_how(system):
    """The scope ends with the user's manager, and that with the last login."""
    found = system(SESSION)
    assert found.prefix
    assert f"loginctl enable-linger {USER}" in found.note


def test_where_no_scope_can_be_had_both_remedies_are_named(system):
    """No user manager to ask: nothing is done by itself, and both commands are said."""
    found = system(SESSION, scope=False)
    assert found.prefix == ()
    assert "KillUserProcesses" in found.note
    assert f"loginctl enable-linger {USER}" in found.note
    assert "systemd-run --user --scope sftui run" in found.note


def test_a_terminal_of_the_user_manager_needs_lingering(system):
    """tmux started as a user's service: it ends with the last login whatever logind does."""
    assert f"loginctl enable-linger {USER}" in system(MANAGER).note


def test_a_lingering_user_manager_needs_nothing(system):
    """It stays when its user has gone."""
    assert system(MANAGER, lingers=True) == logout.Protection()


@pytest.mark.parametrize(
    "lists", [{"exclude": f'as 1 "{USER}"'}, {"only": 'as 2 "somebody" "else"'}]
)
def test_users_that_logind_spares_are_spared_words(system, lists):
    """KillExcludeUsers and KillOnlyUsers."""
    assert system(SESSION, **lists) == logout.Protection()


def test_this_very_machine_can_be_asked():
    """Whatever runs here, it is answered without an error."""
    logout.protection.cache_clear()
    assert isinstance(logout.protection(), logout.Protection)
