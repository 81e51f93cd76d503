"""`sftui completion SHELL`: completion of commands, flags, choices, run ids and files.

Each script is made from the same options as the parser and the help, and completes without
starting Python. Run ids are the folders with a run.json under `--runs-dir`, `SFTUI_RUNS` or runs/.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from engine.errors import UsageError
from sftui.commands import checkpoint_flags, demo, new_script, reading_flags, screen_flags
from sftui.commands.options import Option, Typed, docs_of, options_of
from sftui.commands.run_flags import FitFlags, RunFlags, options


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionFlags:
    """Print what completes commands, flags, choices, run ids and files in a shell.

    Examples:
      eval "$(sftui completion bash)"
      sftui completion zsh > ~/.zfunc/_sftui
      sftui completion fish > ~/.config/fish/completions/sftui.fish
    """

    shell: Annotated[str, Typed(metavar="SHELL", positional=True, choices=("bash", "zsh", "fish"))]
    """bash, zsh or fish."""


KINDS: dict[str, Any] = {
    "run": RunFlags,
    "attach": screen_flags.AttachFlags,
    "replay": screen_flags.ReplayFlags,
    "demo": demo.DemoFlags,
    "ctl": reading_flags.CtlFlags,
    "show": reading_flags.ShowFlags,
    "compare": reading_flags.CompareFlags,
    "report": reading_flags.ReportFlags,
    "questions": reading_flags.QuestionFlags,
    "runs": reading_flags.RunsFlags,
    "runs rm": reading_flags.RemoveFlags,
    "eval": checkpoint_flags.EvalFlags,
    "chat": checkpoint_flags.ChatFlags,
    "export": checkpoint_flags.ExportFlags,
    "data": checkpoint_flags.DataFlags,
    "fit": FitFlags,
    "doctor": reading_flags.DoctorFlags,
    "new": new_script.NewFlags,
    "completion": CompletionFlags,
}
"""What can be typed after each command, and after `runs rm`."""

GENERAL = ("--help", "--version", "--print-completion")

_FILLS = {
    "RUN": ("runs",),
    "LOG": ("runs", "files"),
    "CHECKPOINT": ("runs", "files"),
    "NAME[:ROWS]": ("files",),
    "NAME_OR_FILE": ("files",),
    "FILE": ("files",),
    "DIR": ("folders",),
}
"""What completes a value, by the word that stands for it in the help."""


def options_of_command(command: str) -> list[Option]:
    """The options of a command, or of `runs rm`."""
    kind = KINDS[command]
    return options(kind) if kind in (RunFlags, FitFlags) else options_of(kind)


def script(shell: str) -> str:
    """The completion script of a shell.

    Raises:
        UsageError: it is not one of bash, zsh and fish.
    """
    if shell not in SHELLS:
        raise UsageError(
            f"sftui completion takes one of {', '.join(SHELLS)}; found {shell!r}. "
            'For bash: eval "$(sftui completion bash)"'
        )
    return "\n".join(SHELLS[shell]()) + "\n"


def _key(command: str) -> str:
    return command.replace(" ", "/")


def _summary(command: str) -> str:
    return re.split(r"[.:;]\s|\.$", (KINDS[command].__doc__ or "").strip().partition("\n")[0])[0]


def _fills(option: Option) -> tuple[str, ...]:
    return _FILLS.get(option.metavar, ())


def _values(option: Option) -> list[str]:
    """Words and `@runs`, `@files`, `@folders`, of which the shell makes the completions."""
    return [*option.choices, *(f"@{kind}" for kind in _fills(option))]


def _parts(command: str) -> tuple[list[Option], list[Option]]:
    """Options with flags, and those in places."""
    found = options_of_command(command)
    named = [option for option in found if not option.typed.positional]
    return named, [option for option in found if option.typed.positional]


def _names(option: Option) -> list[str]:
    return [f"--{option.name}", *filter(None, [option.typed.short])]


# ---- bash ------------------------------------------------------------------------------------

_BASH = r"""
# The words that fit what is typed, into COMPREPLY; @runs, @files and @folders stand for those.
_sftui_complete() {
    local word line fitting=()
    for word in "$@"; do
        case $word in
            @files | @folders)
                local kind=-f; [[ $word == @folders ]] && kind=-d
                while IFS= read -r line; do fitting+=("$line"); done \
                    < <(compgen "$kind" -- "$current")
                compopt -o filenames 2>/dev/null ;;
            @runs)
                for line in "$runs"/*/run.json; do
                    [[ -e $line ]] && line=${line%/run.json} && fitting+=("${line##*/}")
                done ;;
            *) fitting+=("$word") ;;
        esac
    done
    for word in "${fitting[@]}"; do [[ $word == "$current"* ]] && COMPREPLY+=("$word"); done
}

_sftui() {
    COMPREPLY=()
    local words=("${COMP_WORDS[@]:0:COMP_CWORD+1}") current=${COMP_WORDS[COMP_CWORD]}
    local command=${words[1]} runs=${SFTUI_RUNS:-runs} first=2 place=0 flag= name values=() i
    if ((COMP_CWORD < 2)); then _sftui_complete @COMMANDS@; return; fi
    if [[ $command == --print-completion ]]; then _sftui_complete @SHELLS@; return; fi
    if [[ $command == runs && ${words[2]} == rm ]] && ((COMP_CWORD > 2)); then
        command=runs/rm first=3
    fi
    # bash parts --flag=value into three words.
    if [[ $current == = ]]; then current= flag=${words[COMP_CWORD-1]}
    elif [[ ${words[COMP_CWORD-1]} == = ]]; then flag=${words[COMP_CWORD-2]}
    else flag=${words[COMP_CWORD-1]}; fi
    for ((i = first; i < COMP_CWORD; i++)); do
        name=${words[i]//_/-}
        if [[ $name == -- && $command == run ]]; then compopt -o default 2>/dev/null; return; fi
        ((i + 1 < COMP_CWORD)) && [[ ${words[i+1]} == = ]] && ((i++))
        if [[ $name != -* ]]; then ((place++))
        elif _sftui_values "$command" "$name"; then
            ((i++))
            [[ $name == --runs-dir ]] && ((i < COMP_CWORD)) && runs=${words[i]}
        fi
    done
    if ! _sftui_values "$command" "${flag//_/-}"; then
        case $current in
            -*) _sftui_flags "$command" ;;
            *) _sftui_places "$command" "$place" ;;
        esac
    fi
    _sftui_complete "${values[@]}"
}
complete -F _sftui sftui
"""


def _bash() -> Iterator[str]:
    yield '# bash completion of sftui: eval "$(sftui completion bash)" in ~/.bashrc'
    yield "_sftui_values() {  # command and flag -> values; false where the flag takes none"
    yield "    case $1:$2 in"
    for command in KINDS:
        for fitting, group in _by_values(_parts(command)[0]):
            names = "|".join(f"{_key(command)}:{name}" for o in group for name in _names(o))
            yield f"        {names}) values=({_quoted(fitting)}) ;;"
    yield "        *) return 1 ;;"
    yield from ["    esac", "}", "_sftui_flags() {", "    case $1 in"]
    for command in KINDS:
        known = [name for option in _parts(command)[0] for name in _names(option)]
        yield f"        {_key(command)}) values=({_quoted([*known, '--help'])}) ;;"
    yield "        *) values=() ;;"
    yield from ["    esac", "}", "_sftui_places() {  # command and number of the place -> values"]
    yield "    case $1:$2 in"
    for command in KINDS:
        for number, option in enumerate(_parts(command)[1]):
            at = "*" if option.is_list else str(number)
            yield f"        {_key(command)}:{at}) values=({_quoted(_values(option))}) ;;"
    yield "        runs:0) values=(rm) ;;"
    yield "        *) values=() ;;"
    yield from ["    esac", "}"]
    top = [command for command in KINDS if " " not in command]
    yield (
        _BASH.strip("\n")
        .replace("@COMMANDS@", _quoted([*top, *GENERAL]))
        .replace("@SHELLS@", _quoted(list(SHELLS)))
    )


def _by_values(found: Sequence[Option]) -> Iterator[tuple[list[str], list[Option]]]:
    """Options that take a value, by what completes it."""
    takers = sorted((o for o in found if not o.is_switch), key=_values)
    for values, group in itertools.groupby(takers, key=_values):
        yield values, list(group)


def _quoted(words: Sequence[str]) -> str:
    return shlex.join(words)


# ---- zsh -------------------------------------------------------------------------------------

_ZSH_FILLS = {"runs": "_sftui_runs", "files": "_files", "folders": "_files -/"}

_ZSH = r"""
_sftui_runs() {
    local folder=${opt_args[--runs-dir]:-${SFTUI_RUNS:-runs}}
    local -a found=($~folder/*/run.json(N:h:t))
    compadd -a found
}
_sftui_runs_or_files() { _alternative 'runs:run:_sftui_runs' 'files:file:_files' }

_sftui() {
    local context state state_descr line
    typeset -A opt_args
    _arguments -C '(- *)--help[print the help]' '(- *)--version[print the version]' \
        '(- *)--print-completion[print a completion script]:shell:(@SHELLS@)' \
        '1:command:_sftui_commands' '*::word:->rest'
    [[ $state == rest ]] || return
    local name=${line[1]}
    if [[ $name == runs && ${words[2]} == rm && $CURRENT -gt 2 ]]; then
        name=runs/rm; shift words; ((CURRENT--))
    fi
    local -i at=${words[(ie)--]}
    if [[ $name == run && $at -lt $CURRENT ]]; then
        shift $at words; ((CURRENT -= at)); _normal; return
    fi
    case $name in
"""


def _zsh() -> Iterator[str]:
    yield "#compdef sftui"
    yield '# zsh completion of sftui: sftui completion zsh > "${fpath[1]}/_sftui"'
    yield "_sftui_commands() {"
    yield "    local -a found=("
    for command in KINDS:
        if " " not in command:
            yield f"        {shlex.quote(f'{command}:{_summary(command)}')}"
    yield from ["    )", "    _describe command found", "}"]
    yield _ZSH.strip("\n").replace("@SHELLS@", " ".join(SHELLS))
    for command in KINDS:
        named, places = _parts(command)
        docs = docs_of(named)
        specs = ["'(- *)--help[print the help]'"]
        specs += [_zsh_flag(option, name, docs) for option in named for name in _names(option)]
        specs += [_zsh_place(number, option) for number, option in enumerate(places, start=1)]
        if command == "runs":
            specs.append("'1:command:(rm)'")
        yield f"        {_key(command)}) _arguments -s \\"
        yield from (f"            {spec} \\" for spec in specs[:-1])
        yield f"            {specs[-1]} ;;"
    yield from ["    esac", "}", 'if [[ $funcstack[1] == _sftui ]]; then _sftui "$@"']
    yield "else compdef _sftui sftui; fi"


def _zsh_flag(option: Option, name: str, docs: dict[str, str]) -> str:
    text = re.sub(r"([\[\]\\])", r"\\\1", docs[option.dest])
    if option.is_switch:
        return shlex.quote(f"{name}[{text}]")
    equals = "=" if name.startswith("--") else ""
    return shlex.quote(f"{name}{equals}[{text}]:{_zsh_value(option)}")


def _zsh_place(number: int, option: Option) -> str:
    at = "*" if option.is_list else str(number)
    return shlex.quote(f"{at}:{_zsh_value(option)}")


def _zsh_value(option: Option) -> str:
    """`message:action`."""
    message = option.metavar.replace(":", r"\:")
    if option.choices:
        return f"{message}:({' '.join(option.choices)})"
    fills = _fills(option)
    if len(fills) > 1:
        return f"{message}:_sftui_runs_or_files"
    return f"{message}:{_ZSH_FILLS[fills[0]] if fills else ' '}"


# ---- fish ------------------------------------------------------------------------------------

_FISH = r"""
function __sftui_runs
    set -l folder runs
    set -q SFTUI_RUNS; and set folder $SFTUI_RUNS
    set -l words (commandline -opc)
    if set -l at (contains -i -- --runs-dir $words); and test (count $words) -gt $at
        set folder $words[(math $at + 1)]
    end
    for file in $folder/*/run.json
        basename (dirname $file)
    end
end
# True where this command was typed; "" stands for none.
function __sftui_in
    set -l words (commandline -opc)
    set -l command "$words[2]"
    test "$command" = runs -a "$words[3]" = rm; and set command runs/rm
    test "$command" = "$argv[1]"
end
complete -c sftui -f
complete -c sftui -n '__sftui_in ""' -l help -d 'Print the help'
complete -c sftui -n '__sftui_in ""' -l version -d 'Print the version'
complete -c sftui -n '__sftui_in ""; or __sftui_in --print-completion' -x \
    -l print-completion -a '@SHELLS@' -d 'Print a completion script'
"""


def _fish() -> Iterator[str]:
    yield "# fish completion of sftui:"
    yield "# sftui completion fish > ~/.config/fish/completions/sftui.fish"
    yield _FISH.strip("\n").replace("@SHELLS@", " ".join(SHELLS))
    for command in KINDS:
        if " " not in command:
            yield (
                "complete -c sftui -n '__sftui_in \"\"' "
                f"-a {command} -d {_fish_quoted(_summary(command))}"
            )
        yield from _fish_command(command)


def _fish_command(command: str) -> Iterator[str]:
    named, places = _parts(command)
    docs = docs_of(named)
    head = f"complete -c sftui -n '__sftui_in {_key(command)}'"
    yield f"{head} -l help -d 'Print the help'"
    for option in named:
        short = f" -s {option.typed.short[1:]}" if option.typed.short else ""
        value = "" if option.is_switch else f" {_fish_value(option)}"
        yield f"{head} -l {option.name}{short}{value} -d {_fish_quoted(docs[option.dest])}"
    values = [value for option in places for value in _values(option)]
    if command == "runs":
        values.append("rm")
    for value in dict.fromkeys(values):
        yield f"{head} {_fish_place(value)}"


def _fish_place(value: str) -> str:
    match value:
        case "@runs":
            return "-a '(__sftui_runs)' -d run"
        case "@files":
            return "-F"
        case "@folders":
            return "-a '(__fish_complete_directories)'"
        case _:
            return f"-a {value}"


def _fish_value(option: Option) -> str:
    """The value of a flag: `-x` for no files, `-r` where files fit."""
    words = list(option.choices)
    if "runs" in _fills(option):
        words.append("(__sftui_runs)")
    if "folders" in _fills(option):
        words.append("(__fish_complete_directories)")
    kind = "-r -F" if "files" in _fills(option) else "-x"
    return f"{kind} -a {_fish_quoted(' '.join(words))}" if words else kind


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
