"""Find out whether systemd-logind would end a run at logout, and protect the run from it.

A session of its own does not help here. systemd keeps a login's processes in a
control group, whatever session they made, and may end them all at logout
(`KillUserProcesses`). A transient scope under the user's own manager lies outside of
that group; but the manager itself ends with the last login unless the user lingers.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/proc/self/cgroup")
LINGER = Path("/var/lib/systemd/linger")

_ASK_SECONDS = 3.0
"""D-Bus answers in milliseconds or, where something is broken, not at all."""

_SCOPE = ("systemd-run", "--user", "--scope", "--quiet", "--collect")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """What the launcher does about logouts, and what it should say."""

    prefix: tuple[str, ...] = ()
    """Words before the supervisor's command line; they replace themselves by it."""
    note: str = ""


@functools.cache
def protection(cgroup: Path = CGROUP, linger: Path = LINGER) -> Protection:
    """Whether a logout ends this user's processes here, and what the launcher does about it.

    Runs no command outside of a login session of systemd: two small files, and up to two
    commands of some 10 ms within one.
    """
    try:
        groups = cgroup.read_text(encoding="utf-8")
    except OSError:
        return Protection()
    user = _user()
    lingers = (linger / user).exists()
    enable = f"`loginctl enable-linger {user}`"
    if re.search(r"/user@\d+\.service/", groups):
        if lingers:
            return Protection()
        return Protection(
            note="this terminal belongs to your user manager, which ends with your last login, "
            f"and the run with it. To keep the run, type {enable} once."
        )
    if not re.search(r"/session-[^/\n]+\.scope\b", groups) or not _kills(user):
        return Protection()
    if _works((*_SCOPE, "true")):
        if lingers:
            return Protection(prefix=_SCOPE)
        return Protection(
            prefix=_SCOPE,
            note="this system ends a user's processes at logout (KillUserProcesses). The run gets "
            f"a scope of its own, which lasts until your last login ends. Type {enable} once, and "
            "it lasts.",
        )
    return Protection(
        note="this system ends a user's processes at logout (KillUserProcesses), and the run with "
        f"them. Stay logged in, or type {enable}, log in anew and start the run with "
        f"`{' '.join(_SCOPE[:3])} sftui run ...`."
    )


def _kills(user: str) -> bool:
    """Whether logind ends this user's processes at logout, as it answers itself over D-Bus."""
    if shutil.which("busctl") is None:
        return False
    names = ("KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers")
    place = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
    answer = _ask(("busctl", "get-property", *place, *names)).splitlines()
    if len(answer) != len(names) or answer[0].strip() != "b true":
        return False
    only, exclude = (re.findall(r'"([^"]*)"', line) for line in answer[1:])
    return user not in exclude and (not only or user in only)


def _ask(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _works(command: tuple[str, ...]) -> bool:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
