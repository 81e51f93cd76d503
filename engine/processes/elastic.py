"""Run the ranks under torch elastic: log files by attempt, and a callback before each start.

Elastic says little about why it restarts. What it does log (exit code and rank of
the first failure) is caught from its logger; the words come from the end of that
rank's stderr.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from engine.files import checked

_FAILED = re.compile(r"failed \(exitcode: (?P<code>-?\d+)\) local_rank: (?P<rank>\d+)")
_TAIL_BYTES = 16 * 1024

RENDEZVOUS_SECONDS = 1800.0
PATIENCE_VARIABLE = "SFTUI_RENDEZVOUS_SECONDS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt ended."""

    rank: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """The command of a rank, how many of them, and how often they are restarted."""

    command: tuple[str, ...]
    local_world_size: int
    run_id: str
    max_restarts: int = 3
    nodes: int = 1
    rendezvous: str = ""
    """`host:port` shared by several machines; empty for this machine alone."""


class GiveUp(Exception):
    """Raised by `before_start`: do not start the ranks (again)."""


def run_ranks(
    agent: Agent,
    log_folder: Callable[[int], Path],
    before_start: Callable[[int, Failure | None], None],
) -> Failure | None:
    """Run the ranks until they all end well, or for good; None when elastic saw no failure.

    Call it in the main thread: a rank's parent-death signal follows the thread that
    started it.

    Args:
        log_folder: of a local rank of the attempt that starts.
        before_start: is told how many starts there were, and why the last attempt ended;
            may sleep, and may raise `GiveUp`.
    """
    if agent.rendezvous and (taken := _port_taken(agent.rendezvous)):
        return Failure(rank=None, reason=taken)
    watch = _FailureWatch()
    logger = logging.getLogger("torch.distributed.elastic.multiprocessing.api")
    logger.addHandler(watch)
    logs = _RankLogs(log_folder, before_start, watch)
    config = LaunchConfig(
        min_nodes=agent.nodes,
        max_nodes=agent.nodes,
        nproc_per_node=agent.local_world_size,
        run_id=agent.run_id,
        rdzv_backend="c10d",
        rdzv_configs=_patience(agent),
        # Port 0: any free one.
        rdzv_endpoint=agent.rendezvous or "127.0.0.1:0",
        max_restarts=agent.max_restarts,
        local_addr=None if agent.rendezvous else "127.0.0.1",
        logs_specs=logs,
        # SIGTERM and SIGINT are ours, and SIGHUP must not mean stop: it comes when a
        # terminal closes. One must be named, so the one that nobody sends.
        signals_to_handle="SIGQUIT",
    )
    try:
        elastic_launch(config, agent.command[0])(*agent.command[1:])
    except ChildFailedError as error:
        first = min(error.failures.values(), key=lambda failure: failure.timestamp)
        return logs.failure(first.local_rank, first.exitcode)
    except SignalException as error:
        return Failure(rank=None, reason=f"the supervisor was told twice to stop ({error.sigval})")
    except GiveUp as error:
        return Failure(rank=None, reason=str(error)) if str(error) else None
    except Exception as error:
        # A port that is taken, machines that never came: the run must still get its end.
        traceback.print_exc()
        where = f" at {agent.rendezvous}" if agent.rendezvous else ""
        words = f"{type(error).__name__}: {error}".strip(": ")
        return Failure(rank=None, reason=f"the ranks could not be brought together{where}: {words}")
    finally:
        logger.removeHandler(watch)
    return None


def end_ranks_now(signum: int) -> None:
    """End the ranks now, from a signal handler: SIGTERM, and SIGKILL after elastic's grace."""
    raise SignalException("told twice to stop", sigval=signal.Signals(signum))


def _patience(agent: Agent) -> dict[str, float]:
    """Timeouts of the rendezvous: somebody has to type the command on the other machines."""
    if agent.nodes == 1:
        return {}
    seconds = float(os.environ.get(PATIENCE_VARIABLE, RENDEZVOUS_SECONDS))
    return {"join_timeout": seconds, "read_timeout": min(60.0, seconds)}


def _port_taken(rendezvous: str) -> str:
    """Why the rendezvous port cannot be opened, or nothing. Elastic itself would wait for
    whatever else listens there."""
    port = int(rendezvous.rpartition(":")[2])
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        return (
            f"the ranks cannot meet at {rendezvous}: {error.strerror}. Choose another port with "
            "--resume and --rendezvous"
        )
    return ""


class _FailureWatch(logging.Handler):
    """Rank and exit code of the first failure, from elastic's own log line."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: tuple[int, int] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        match = _FAILED.search(record.getMessage())
        if match:
            self.found = int(match["rank"]), int(match["code"])


class _RankLogs(LogsSpecs):
    """One folder per rank and attempt; elastic asks for them before each start."""

    def __init__(
        self,
        folder: Callable[[int], Path],
        before_start: Callable[[int, Failure | None], None],
        watch: _FailureWatch,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._before_start = before_start
        self._watch = watch
        self._num_starts = 0
        self._last: dict[int, Path] = {}
        self._ranks: dict[int, int] = {}

    @property
    def root_log_dir(self) -> str:
        return ""

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """Called by elastic before each start: run `before_start`, then name the log files."""
        previous = None
        if self._num_starts:
            rank, code = self._watch.found or (None, None)
            previous = self.failure(rank, code)
        self._watch.found = None
        self._before_start(self._num_starts, previous)
        self._num_starts += 1
        found = LogsDest()
        for local_rank, environment in envs.items():
            folder = self._folder(local_rank)
            folder.mkdir(parents=True, exist_ok=True)
            self._last[local_rank] = folder
            self._ranks[local_rank] = int(environment.get("RANK", local_rank))
            found.stdouts[local_rank] = str(folder / "stdout.log")
            found.stderrs[local_rank] = str(folder / "stderr.log")
            found.error_files[local_rank] = str(folder / "error.json")
            environment["TORCHELASTIC_ERROR_FILE"] = str(folder / "error.json")
        return found

    def failure(self, local_rank: int | None, exit_code: int | None) -> Failure:
        """Why a rank of the last attempt ended: its signal, its error, or its last log line."""
        folder = self._last.get(local_rank if local_rank is not None else -1)
        if local_rank is None or folder is None:
            return Failure(rank=None, reason="a rank ended")
        rank = self._ranks.get(local_rank, local_rank)
        if exit_code is not None and exit_code < 0:
            return Failure(rank=rank, reason=f"killed by {_signal_name(-exit_code)}")
        reason = _recorded_error(folder / "error.json") or last_words(folder / "stderr.log")
        return Failure(rank=rank, reason=reason or f"ended with exit code {exit_code}")


def last_words(path: Path) -> str:
    """The last line of a log that says something: a traceback ends with its error."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:2000] for line in reversed(lines) if line.strip()), "")


def backoff_seconds(num_restarts: int) -> float:
    """Wait before a restart: none before the first, then 1, 2, 4, ... up to 30 s."""
    return 0.0 if num_restarts <= 1 else min(30.0, 2.0 ** (num_restarts - 2))


def wait_before_restart(num_restarts: int) -> None:
    time.sleep(backoff_seconds(num_restarts))


def _recorded_error(path: Path) -> str:
    try:
        message = checked.parse_json(path.read_bytes())["message"]
        return str(message["message"] if isinstance(message, dict) else message)[:2000]
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
