"""The commands, a short function each; heavy modules are imported where they are used.

`sftui --help` and a mistyped flag must answer at once, so neither Textual nor
plotext is imported before a command needs it; torch never is.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.errors import SftuiError, UsageError
from engine.run import foreign, run_dir
from sftui import diagnostics
from sftui.diagnostics import ExitCode
from sftui.terminal import interrupts

if TYPE_CHECKING:
    from sftui.commands.reading_flags import CompareFlags
    from sftui.commands.run_flags import RunFlags
    from sftui.compare.baseline import Baseline

F = TypeVar("F")

HELP = """\
usage: sftui COMMAND [flags]

Fine-tune a small chat model, watch it live and steer it from the keyboard.

  run         start a run and show it
  attach      the screen of a run that is running
  replay      the same screen over any log or run, with a clock
  demo        a recorded run for a first look: no training, no network
  ctl         pause, resume, eval, cancel, checkpoint, stop or lr from a script
  show        a run or log as it stands, without a screen (--json for scripts)
  compare     runs or logs on one chart: curves, settings, paired statistics
  report      a run or log as Markdown with pictures, in English or Chinese
  questions   which questions a run gained and lost
  runs        the runs of this directory; `runs rm RUN` removes one
  eval        ask one checkpoint the evaluation questions
  chat        talk to a checkpoint, or ask it one prompt
  export      write a checkpoint for nanochat or for transformers
  data        rows as a Hugging Face model will see them, token by token
  new         print a short script for TRL, Accelerate, Lightning or a loop
  fit         memory a run needs per GPU, before anything is loaded
  doctor      what a bug report needs, and what is wrong with this machine
  completion  what completes commands, flags, run ids and files in bash, zsh or fish

  sftui alone lists runs and logs to open. sftui COMMAND --help says more. Examples:
    sftui run --gpus 2
    sftui replay logs/run.log
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    interrupts.listen()
    # Modules, events and rows stay: collecting reference cycles among them after every 700 new
    # objects takes a seventh of a start and a fifth of reading a long log. A screen collects
    # more often, because one long collection would delay a key.
    gc.set_threshold(200_000, 20, 20)
    # Nor is one collection of all of them worth its 10 ms when the process ends.
    atexit.register(gc.freeze)
    diagnostics.print_in_any_encoding()
    try:
        code = int(_dispatch(words))
        if sys.stdout is not None:
            # Here and not at the end of Python, where a full disk would be a traceback.
            sys.stdout.flush()
        return code
    except SftuiError as error:
        return int(diagnostics.report(error))
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # `sftui show | head`: the reader has what it wanted.
        _stop_printing()
        return int(ExitCode.DONE)
    except Exception as error:
        if interrupts.noted():
            # What a KeyboardInterrupt became on its way here, e.g. in the making of a class.
            return int(ExitCode.INTERRUPTED)
        # A name longer than a file system takes, a working folder that was deleted, a home that
        # nobody has, a full disk behind `>`: the system's own words are the cause.
        if not _is_the_systems(error):
            raise
        code = diagnostics.report(UsageError(_cause(error)))
        _stop_printing()
        return int(code)


def _is_the_systems(error: Exception) -> bool:
    """Whether the error tells of the machine, not of a mistake in this program."""
    if isinstance(error, OSError):
        return True
    # pathlib has no class of its own for `~nobody`.
    return type(error) is RuntimeError and "home directory" in str(error)


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename is not None else ""
        hint = ""
        if error.errno == errno.ENOENT and error.filename is None:
            hint = " The folder that this was typed in is gone; `cd` to another."
        return f"{name}{error.strerror}.{hint}"
    return f"{error}."


def _stop_printing() -> None:
    """What Python still holds for stdout goes nowhere: its last flush must not fail again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(words: list[str]) -> ExitCode:
    if len(words) > 1 and words[0] == "help" and words[1] in COMMANDS:
        return COMMANDS[words[1]](["--help"])
    if not words and _has_terminal():
        from sftui.commands import onward  # noqa: PLC0415  numpy, psutil

        return onward.watch_picker()
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")  # noqa: T201
        return ExitCode.DONE
    if words[0] in ("-V", "-v", "--version", "version"):
        from importlib.metadata import version  # noqa: PLC0415  reads the file system

        print(f"sftui {version('sftui')}")  # noqa: T201
        return ExitCode.DONE
    if words[0].partition("=")[0] == "--print-completion":
        return print_completion([*words[0].split("=")[1:], *words[1:]])
    command = COMMANDS.get(words[0])
    if command is None:
        from sftui.commands import mistakes  # noqa: PLC0415  after a mistake alone

        raise UsageError(mistakes.unknown_command(words[0], list(COMMANDS)))
    return command(words[1:])


def print_completion(words: list[str]) -> ExitCode:
    """`sftui completion`: a script for a shell."""
    from sftui.commands import completion  # noqa: PLC0415  all settings

    flags = _flags_of(completion.CompletionFlags, words, "sftui completion")
    print(completion.script(flags.shell), end="")  # noqa: T201
    return ExitCode.DONE


def run(words: list[str]) -> ExitCode:
    """`sftui run`: check, make the run directory, show the screen, start the supervisor."""
    from sftui.commands.run_flags import parse_run  # noqa: PLC0415  all settings

    flags, typed = parse_run(words)
    if flags.command and flags.resume is None:
        return _run_command(flags, frozenset(typed))
    if flags.no_attach and flags.resume is None:
        raise UsageError("--no-attach is for a command after a lone --; there is none.")
    if flags.seeds < 1:
        raise UsageError(f"--seeds {flags.seeds} is no number of runs; expected 1 or more.")
    if flags.resume is not None:
        if flags.seeds > 1:
            raise UsageError("--seeds starts runs; --resume takes one up. Type one of them.")
        return _resume(flags, frozenset(typed), words)
    if flags.seeds > 1:
        from sftui.commands import run_seeds  # noqa: PLC0415  one run needs none of it

        return run_seeds.run_all(flags, typed, words, _run_one)
    return _run_one(flags, typed, words)[0]


def _run_command(flags: RunFlags, typed: frozenset[str]) -> ExitCode:
    """`sftui run -- CMD`: another trainer, kept and shown."""
    from engine.processes import launch  # noqa: PLC0415  as in `run`
    from sftui.commands import keep_command  # noqa: PLC0415  as in `run`

    keep_command.check(flags, typed)
    if flags.dry_run:
        for line in keep_command.describe(flags):
            print(line)  # noqa: T201
        return ExitCode.DONE
    baseline = _baseline(flags.baseline, flags.runs_dir)
    made = keep_command.create(flags, datetime.now())
    diagnostics.note(f"run {made.id} in {made.path}")
    return _watch(
        made,
        launcher=lambda: launch.start_supervisor(made, module=launch.KEEPER),
        plain=flags.headless or not _has_terminal(),
        baseline=baseline,
        on_event=flags.on_event,
    )


def _resume_command(
    found: run_dir.RunDir, flags: RunFlags, typed: frozenset[str], words: list[str]
) -> ExitCode:
    """`sftui run --resume` of another trainer's run: its command is started again."""
    from engine.processes import launch  # noqa: PLC0415  as in `run`
    from sftui.commands import keep_command  # noqa: PLC0415  as in `run`
    from sftui.text.clean import clean  # noqa: PLC0415  as in `run`

    baseline = _baseline(flags.baseline, flags.runs_dir)
    manifest = keep_command.check_resume(found, flags, typed)
    if flags.dry_run:
        for line in keep_command.describe_resume(found, manifest):
            print(clean(line))  # noqa: T201
        return ExitCode.DONE
    resumption = keep_command.resume(found, manifest, words)
    diagnostics.note(f"run {found.id} goes on in {found.path}")
    return _watch(
        found,
        launcher=lambda: launch.start_supervisor(found, resumption, module=launch.KEEPER),
        plain=flags.headless or not _has_terminal(),
        baseline=baseline,
        on_event=flags.on_event,
    )


def _run_one(
    flags: RunFlags, typed: set[str], words: list[str]
) -> tuple[ExitCode, run_dir.RunDir | None]:
    """Check, make the run directory, show the screen, start the supervisor.

    The run directory is None for a dry run.
    """
    from engine.processes import launch  # noqa: PLC0415  tiktoken and numpy, which `--help` does not need

    baseline = _baseline(flags.baseline, flags.runs_dir)
    prepared = launch.prepare(flags.settings, frozenset(typed))
    plain = flags.headless or not _has_terminal()
    for text in prepared.notes:
        diagnostics.note(text)
    if flags.dry_run:
        for line in launch.describe(prepared):
            print(line)  # noqa: T201
        return ExitCode.DONE, None
    root = run_dir.runs_root(flags.runs_dir)
    made = launch.create(
        prepared, root, command=["sftui", "run", *words], cwd=Path.cwd(), now=datetime.now()
    )
    diagnostics.note(f"run {made.id} in {made.path}")
    _say_other_machines(made)
    code = _watch(
        made,
        launcher=lambda: launch.start_supervisor(made),
        plain=plain,
        baseline=baseline,
        on_event=flags.on_event,
    )
    return code, made


def _resume(flags: RunFlags, typed: frozenset[str], words: list[str]) -> ExitCode:
    """`sftui run --resume`: the same run directory, a new supervisor."""
    from engine.processes import launch, resume  # noqa: PLC0415

    found = run_dir.find(flags.resume, run_dir.runs_root(flags.runs_dir))
    if foreign.is_foreign(found.read_manifest()):
        return _resume_command(found, flags, typed, words)
    if flags.command:
        raise UsageError(
            f"{found.id} is a run of sftui's own trainer; a command after a lone -- is for a run "
            "of another's."
        )
    baseline = _baseline(flags.baseline, flags.runs_dir)
    prepared = resume.prepare(found, flags.settings, typed, allow_changes=flags.resume_changed)
    for text in prepared.notes:
        diagnostics.note(text)
    if flags.dry_run:
        for line in resume.describe(prepared):
            print(line)  # noqa: T201
        return ExitCode.DONE
    resumption = resume.record(prepared, command=["sftui", "run", *words], now=datetime.now())
    run_dir.link_run_log(found, Path.cwd())
    diagnostics.note(f"run {found.id} goes on in {found.path}")
    _say_other_machines(found)
    plain = flags.headless or not _has_terminal()
    return _watch(
        found,
        launcher=lambda: launch.start_supervisor(found, resumption),
        plain=plain,
        baseline=baseline,
        on_event=flags.on_event,
    )


def _say_other_machines(found: run_dir.RunDir) -> None:
    """Print what to type on the other machines, before the screen, so that it stays above it."""
    from engine.processes import machines  # noqa: PLC0415  as in `run`
    from engine.run import resume_file  # noqa: PLC0415  as in `run`

    manifest = resume_file.manifest_now(found)
    if int(manifest.get("nodes", 1)) > 1:
        diagnostics.note(machines.other_machines(found, manifest))


def new(words: list[str]) -> ExitCode:
    """`sftui new`: a script that trains with another trainer and is attached."""
    from sftui.commands import new_script  # noqa: PLC0415  not for `--help`

    flags = _flags_of(new_script.NewFlags, words, "sftui new", one="prints one script")
    print(new_script.script(flags), end="")  # noqa: T201
    return ExitCode.DONE


def attach(words: list[str]) -> ExitCode:
    """`sftui attach`: the screen of any run of this machine."""
    from sftui.commands.screen_flags import AttachFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(AttachFlags, words, "sftui attach", one="shows one run")
    found = run_dir.find(flags.run, run_dir.runs_root(flags.runs_dir))
    baseline = _baseline(flags.baseline, flags.runs_dir)
    plain = flags.headless or not _has_terminal()
    return _watch(found, launcher=None, plain=plain, baseline=baseline, on_event=flags.on_event)


def replay(words: list[str]) -> ExitCode:
    """`sftui replay`: the screen over a run that was."""
    from sftui.commands.screen_flags import ReplayFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(ReplayFlags, words, "sftui replay", one="shows one log")
    from sftui.commands import onward  # noqa: PLC0415  numpy, psutil
    from sftui.sources.clock import check_speed  # noqa: PLC0415  as above

    check_speed(flags.speed)

    baseline = _baseline(flags.baseline, flags.runs_dir)
    return onward.watch_replay(
        flags, plain=flags.headless or not _has_terminal(), baseline=baseline
    )


def play_demo(words: list[str]) -> ExitCode:
    """`sftui demo`: a recorded run, for a first look."""
    from sftui.commands import demo  # noqa: PLC0415  not for `--help`

    flags = _flags_of(demo.DemoFlags, words, "sftui demo")
    return demo.watch_demo(flags, plain=flags.headless or not _has_terminal())


def control(words: list[str]) -> ExitCode:
    """`sftui ctl`: one request, one answer."""
    from engine.control import Command  # noqa: PLC0415  not for `--help`
    from engine.run import lock  # noqa: PLC0415  psutil
    from sftui.commands import ctl  # noqa: PLC0415  the wire
    from sftui.commands.reading_flags import CtlFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(CtlFlags, words, "sftui ctl")
    requests = {each.value for each in Command}
    if flags.run in requests and flags.command not in requests:
        raise UsageError(
            f"the run comes first: sftui ctl {flags.command} {flags.run}"
            + (f" {flags.argument}." if flags.argument is not None else ".")
        )
    command, argument = ctl.parse_command(flags.command, flags.argument)
    found = run_dir.find(flags.run, run_dir.runs_root(flags.runs_dir))
    asked = time.time()
    answer = ctl.ask(
        found,
        command,
        argument,
        timeout_seconds=flags.timeout,
        alive=lambda: lock.is_running(found),
    )
    print(ctl.words(answer))  # noqa: T201
    if differ := ctl.clocks_differ(answer, asked, time.time()):
        diagnostics.note(differ)
    return ExitCode.DONE if answer.outcome == "applied" else ExitCode.RUN_FAILED


def show(words: list[str]) -> ExitCode:
    """`sftui show`: a summary and a chart, or JSON, without a screen."""
    from sftui.commands.reading_flags import ShowFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(ShowFlags, words, "sftui show", one="shows one run or log")
    from sftui import run_json  # noqa: PLC0415  numpy
    from sftui.commands.show import as_text  # noqa: PLC0415  numpy
    from sftui.sources import snapshot  # noqa: PLC0415  numpy

    if flags.csv and (flags.json or flags.series is None):
        raise UsageError(
            "--csv prints the points of a series: type --series NAME --csv, or --json without it."
        )
    found = snapshot.read(flags.target, flags.runs_dir, reading=flags.reading)
    if flags.series is not None:
        from sftui.commands import series  # noqa: PLC0415  numpy

        entries = series.chosen(found.state, flags.series)
        text = series.as_json(entries) if flags.json else series.as_csv(entries).rstrip("\n")
        print(text)  # noqa: T201
        return ExitCode.DONE
    baseline = _baseline(flags.baseline, flags.runs_dir)
    if flags.json:
        print(run_json.as_json(found, baseline))  # noqa: T201
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        size = _terminal_size()
        print(as_text(found, *size, baseline=baseline, colour=colour))  # noqa: T201
    return ExitCode.DONE


def compare(words: list[str]) -> ExitCode:
    """`sftui compare`: two or more runs or logs."""
    from sftui.commands.reading_flags import CompareFlags  # noqa: PLC0415  not for `--help`
    from sftui.compare import compare_text, comparison  # noqa: PLC0415  numpy

    flags = _flags_of(CompareFlags, words, "sftui compare")
    targets = [flags.a, flags.b, *flags.more]
    if any("," in target for target in targets):
        from sftui.compare import recipes  # noqa: PLC0415  numpy

        if any(recipes.is_group(target) for target in targets):
            return _compare_recipes(targets, flags)
    from sftui.sources.reading import readings  # noqa: PLC0415  not for `--help`

    said = readings(len(targets), format=flags.format, mapped=flags.map, stage=flags.stage)
    if not (flags.json or flags.plain) and _has_terminal():
        from sftui import compare_app  # noqa: PLC0415  Textual

        return compare_app.run_screen(
            targets, flags.runs_dir, said, by=flags.by, metric=flags.metric
        )
    found = comparison.compare_all(targets, flags.runs_dir, said)
    look = comparison.look_of(found, flags.by, flags.metric)
    if flags.json:
        print(comparison.as_json(found, look))  # noqa: T201
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        text = compare_text.as_text(found, *_terminal_size(), look=look, colour=colour)
        print(text)  # noqa: T201
    return ExitCode.DONE


def _compare_recipes(targets: list[str], flags: CompareFlags) -> ExitCode:
    """Recipes over seeds, printed: there is one answer and nothing to follow."""
    import json  # noqa: PLC0415

    from sftui.compare import recipes  # noqa: PLC0415  numpy
    from sftui.sources.reading import readings  # noqa: PLC0415  as above

    if flags.by != "step" or flags.metric is not None:
        raise UsageError(
            "--by and --metric are of a chart of runs; runs with commas between them are compared "
            "as recipes, by their last results. Leave the flag out, or the commas."
        )

    [said] = readings(1, format=flags.format, mapped=flags.map, stage=flags.stage)
    found = recipes.read(targets, flags.runs_dir, said)
    if flags.json:
        print(json.dumps(recipes.to_dict(found), indent=2, allow_nan=False))  # noqa: T201
        return ExitCode.DONE
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(recipes.as_text(found, *_terminal_size(), colour=colour))  # noqa: T201
    return ExitCode.DONE


def report(words: list[str]) -> ExitCode:
    """`sftui report`: the Markdown report of a run or log."""
    from sftui.commands.reading_flags import ReportFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(ReportFlags, words, "sftui report", one="describes one run or log")
    from sftui.commands import write_report  # noqa: PLC0415  numpy

    for line in write_report.run(flags):
        diagnostics.note(line)
    return ExitCode.DONE


def questions(words: list[str]) -> ExitCode:
    """`sftui questions`: what flipped between two evaluations."""
    from sftui import run_json  # noqa: PLC0415  numpy
    from sftui.commands.reading_flags import QuestionFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(QuestionFlags, words, "sftui questions")
    from sftui.commands import question_list  # noqa: PLC0415  numpy, and the readers of data

    if flags.json:
        print(run_json.strict(question_list.as_dict(flags)))  # noqa: T201
    else:
        for line in question_list.as_text(flags, _terminal_size()[0]):
            print(line)  # noqa: T201
    return ExitCode.DONE


def runs(words: list[str]) -> ExitCode:
    """`sftui runs`: a table of the runs, or `rm` to delete one."""
    if words and words[0] == "rm":
        return _remove_run(words[1:])
    from sftui.commands.reading_flags import RunsFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(RunsFlags, words, "sftui runs")
    from sftui.commands.runs import table  # noqa: PLC0415  numpy
    from sftui.sources.run_briefs import memory_path  # noqa: PLC0415  as above

    root = run_dir.runs_root(flags.runs_dir)
    for line in table(root, datetime.now().timestamp(), memory_path()):
        print(line)  # noqa: T201
    return ExitCode.DONE


def _remove_run(words: list[str]) -> ExitCode:
    """`sftui runs rm`: show what goes, ask, delete."""
    from sftui.commands.reading_flags import RemoveFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(RemoveFlags, words, "sftui runs rm")
    from sftui.commands.runs import remove, what_goes  # noqa: PLC0415  numpy

    found = run_dir.find(flags.run, run_dir.runs_root(flags.runs_dir))
    for line in what_goes(found, datetime.now().timestamp()):
        print(line)  # noqa: T201
    if not flags.yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody can be asked here; nothing was deleted. Add --yes to delete.")
        print("Delete all of this? It cannot be brought back. [y/N] ", end="", flush=True)  # noqa: T201
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            diagnostics.note("nothing was deleted.")
            return ExitCode.DONE
    remove(found, Path.cwd())
    diagnostics.note(f"{found.id} is deleted.")
    return ExitCode.DONE


def evaluate(words: list[str]) -> ExitCode:
    """`sftui eval`: one checkpoint's accuracies, and a results file."""
    from sftui.commands.checkpoint_flags import EvalFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(EvalFlags, words, "sftui eval")
    from sftui.commands.evaluate import evaluate_checkpoint  # noqa: PLC0415  numpy and tiktoken
    from sftui.text.paths import typed_path  # noqa: PLC0415  as above

    lines, path = evaluate_checkpoint(flags)
    for line in lines:
        print(line)  # noqa: T201
    diagnostics.note(f"results in {typed_path(path)}")
    return ExitCode.DONE


def chat(words: list[str]) -> ExitCode:
    """`sftui chat`: talk to a checkpoint."""
    from sftui.commands.checkpoint_flags import ChatFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(ChatFlags, words, "sftui chat")
    from sftui.commands.chat import talk  # noqa: PLC0415  tiktoken

    return talk(flags)


def export(words: list[str]) -> ExitCode:
    """`sftui export`: a checkpoint for other programs."""
    from sftui.commands.checkpoint_flags import ExportFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(ExportFlags, words, "sftui export")
    from sftui.commands.export import write_export  # noqa: PLC0415  tiktoken

    diagnostics.note(write_export(flags))
    return ExitCode.DONE


def data(words: list[str]) -> ExitCode:
    """`sftui data`: rows as a model will see them."""
    from sftui.commands.checkpoint_flags import DataFlags  # noqa: PLC0415  not for `--help`

    flags = _flags_of(DataFlags, words, "sftui data")
    from sftui.commands.data_rows import print_rows  # noqa: PLC0415  tokenizers and jinja2

    for line in print_rows(flags):
        print(line)  # noqa: T201
    return ExitCode.DONE


def fit(words: list[str]) -> ExitCode:
    """`sftui fit`: the memory a rank needs, and which switches reduce it."""
    from sftui.commands.run_flags import parse_fit  # noqa: PLC0415  all settings

    flags, typed = parse_fit(words)
    from sftui.commands import fit_table  # noqa: PLC0415  as above

    for line in fit_table.lines(flags, frozenset(typed)):
        print(line)  # noqa: T201
    return ExitCode.DONE


def doctor(words: list[str]) -> ExitCode:
    """`sftui doctor`: this machine, for a bug report."""
    from sftui.commands import doctor as command  # noqa: PLC0415  psutil
    from sftui.commands.reading_flags import DoctorFlags  # noqa: PLC0415  not for `--help`

    for line in command.lines(_flags_of(DoctorFlags, words, "sftui doctor")):
        print(line)  # noqa: T201
    return ExitCode.DONE


COMMANDS: dict[str, Callable[[list[str]], ExitCode]] = {
    "run": run,
    "attach": attach,
    "replay": replay,
    "demo": play_demo,
    "ctl": control,
    "show": show,
    "compare": compare,
    "report": report,
    "questions": questions,
    "runs": runs,
    "eval": evaluate,
    "chat": chat,
    "export": export,
    "data": data,
    "fit": fit,
    "doctor": doctor,
    "new": new,
    "completion": print_completion,
}


def _watch(
    found: run_dir.RunDir,
    *,
    launcher: Callable[[], object] | None,
    plain: bool,
    baseline: Baseline | None = None,
    on_event: str | None = None,
) -> ExitCode:
    """Show a run, as a screen or as plain lines, until the user leaves or it ends."""
    from sftui.commands import onward, watch  # noqa: PLC0415  numpy, psutil

    show = watch.watch_plain if plain else onward.watch_screen
    return show(found, launcher, baseline, on_event)


def _baseline(target: str | None, runs_dir: Path | None) -> Baseline | None:
    """Load what the run is compared with; raises before anything is started."""
    if target is None:
        return None
    from sftui.compare import baseline  # noqa: PLC0415  numpy, and all readers of logs

    return baseline.load(target, runs_dir)


def _flags_of(kind: type[F], words: list[str], prog: str, *, one: str = "") -> F:
    """The flags of a command; see `parse.flags_of`."""
    from sftui.commands.parse import flags_of  # noqa: PLC0415  argparse

    return flags_of(kind, words, prog, one=one)


def _has_terminal() -> bool:
    """Whether a screen can be drawn: a terminal on both sides that moves its cursor."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _terminal_size() -> tuple[int, int]:
    import shutil  # noqa: PLC0415  only `show` asks

    size = shutil.get_terminal_size((100, 30))
    return size.columns, size.lines
