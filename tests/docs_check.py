"""Hold the documentation to the product: `python -m tests.docs_check`, or `make docs-check`.

Every page (README, CONTRIBUTING, CHANGELOG, `docs/`, the table of faults) is read as Markdown.
Refused are:

- a link or picture whose file or anchor is not there;
- the address of a repository that is not on the list of those that exist (REPOSITORIES);
- a path or module of this repository in code spans that is not there;
- a command that the product's own parser does not take, and a `make` target that is not there;
- a generated table that is not what would be generated now.

`make docs` (or `--write`) writes the generated tables anew. Nothing is run and nothing is fetched.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from engine import config
from engine.alarms.board import SEVERITY
from engine.errors import SftuiError
from sftui import cli
from sftui.commands import completion, ctl
from sftui.commands.parse import flags_of
from sftui.commands.reading_flags import CtlFlags, RemoveFlags, RunsFlags
from sftui.commands.run_flags import parse_fit, parse_run
from sftui.keys import key_table
from sftui.sources.formats import READERS
from sftui.verbs import verb_table
from tests.benchmarks import peers

ROOT = Path(__file__).resolve().parents[1]
REPOSITORIES = {
    "github.com/containers/bubblewrap",
    "github.com/huggingface/transformers",
    "github.com/karpathy/nanochat",
    "github.com/piccolomo/plotext",
}
"""Repositories that a person has opened: an address that was made up is not among them."""
SHELL = {"", "sh", "console", "bash"}
"""Languages of code blocks whose lines are typed into a shell."""


@dataclasses.dataclass(frozen=True)
class Page:
    """A Markdown file, parsed."""

    path: Path
    text: str
    tokens: tuple[Token, ...]

    @staticmethod
    def read(path: Path) -> Page:
        """Parse a file."""
        text = path.read_text(encoding="utf-8")
        return Page(path, text, tuple(MarkdownIt("commonmark").enable("table").parse(text)))

    def inlines(self) -> Iterator[tuple[int, Token]]:
        """Line, and each piece of running text: links, pictures, code spans, words."""
        for token in self.tokens:
            for child in token.children or ():
                yield _line(token), child

    def anchors(self) -> set[str]:
        """Ids of the headings, as GitHub makes them."""
        found: set[str] = set()
        taken: Counter[str] = Counter()
        for heading, inline in zip(self.tokens, self.tokens[1:], strict=False):
            if heading.type == "heading_open":
                words = "".join(child.content for child in inline.children or ())
                slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
                found.add(f"{slug}-{taken[slug]}" if taken[slug] else slug)
                taken[slug] += 1
        return found


def _line(token: Token) -> int:
    return token.map[0] + 1 if token.map else 1


def pages(root: Path) -> list[Page]:
    """Every page that people read."""
    named = [root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    paths = [*named, *sorted((root / "docs").glob("*.md")), root / "tests/faults/README.md"]
    return [Page.read(path) for path in paths if path.exists()]


def faults(root: Path) -> list[str]:
    """Everything that is refused, as `FILE:LINE what`; empty when all is well."""
    found = list(_addresses(root / "pyproject.toml", (root / "pyproject.toml").read_text()))
    for page in pages(root):
        found += _addresses(page.path, page.text)
        found += _links(page, root)
        found += _paths(page, root)
        found += _commands(page, root)
        found += _tables(page)
    return [fault.replace(f"{root}/", "") for fault in found]


# ---- links, addresses, paths ---------------------------------------------------------------


def _links(page: Page, root: Path) -> Iterator[str]:
    for line, token in page.inlines():
        target = token.attrGet("href") or token.attrGet("src")
        if not isinstance(target, str) or re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.path.parent / unquote(name)).resolve() if name else page.path
        if not path.exists():
            yield f"{page.path}:{line} the link {target} leads nowhere"
        elif not path.is_relative_to(root):
            yield f"{page.path}:{line} the link {target} leads out of the repository"
        elif anchor and (path.suffix != ".md" or anchor not in Page.read(path).anchors()):
            yield f"{page.path}:{line} {path.name} has no heading for #{anchor}"


def _addresses(path: Path, text: str) -> Iterator[str]:
    hosts = r"(?:github\.com|gitlab\.com|codeberg\.org|bitbucket\.org)"
    for number, line in enumerate(text.splitlines(), start=1):
        for match in re.finditer(rf"https?://(?:www\.)?({hosts}/[\w.-]+/[\w.-]+)", line):
            if match[1].removesuffix(".git").rstrip(".") not in REPOSITORIES:
                yield f"{path}:{number} {match[1]} is not on the list of repositories that exist"


def _paths(page: Page, root: Path) -> Iterator[str]:
    """Code spans that name a file, folder, module, or something in a module, of ours."""
    for line, token in page.inlines():
        for word in token.content.split() if token.type == "code_inline" else ():
            if re.fullmatch(r"(engine|sftui|tests|docs|screenshots)/[\w./*-]*", word):
                if not any(root.glob(word.rstrip("/"))):
                    yield f"{page.path}:{line} there is no {word}"
            elif re.fullmatch(r"(engine|sftui|tests)(\.\w+)+", word) and not _named(root, word):
                yield f"{page.path}:{line} there is no module or name {word}"


def _named(root: Path, dotted: str) -> bool:
    """Whether a dotted name is a module, or a word in the module before its last dots."""
    path = root / dotted.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").exists():
        return True
    module, _, name = dotted.rpartition(".")
    file = root / (module.replace(".", "/") + ".py")
    return file.exists() and re.search(rf"\b{name}\b", file.read_text()) is not None


# ---- commands ------------------------------------------------------------------------------


def _ctl(words: list[str]) -> object:
    flags = flags_of(CtlFlags, words, "sftui ctl")
    return ctl.parse_command(flags.command, flags.argument)


def _runs(words: list[str]) -> object:
    if words[:1] == ["rm"]:
        return flags_of(RemoveFlags, words[1:], "sftui runs rm")
    return flags_of(RunsFlags, words, "sftui runs")


def _reads(kind: type) -> Callable[[list[str]], object]:
    return lambda words: flags_of(kind, words, "sftui")


PARSERS: dict[str, Callable[[list[str]], object]] = {
    **{name: _reads(kind) for name, kind in completion.KINDS.items() if " " not in name},
    "run": parse_run,
    "ctl": _ctl,
    "runs": _runs,
    "fit": parse_fit,
}
"""What takes the words of each command, without running it."""


def refusal(words: Sequence[str]) -> str | None:
    """Why the product would not take `sftui WORDS`; None when it would.

    A word in capitals is a placeholder: a number is tried in its place as well. Settings files
    that are named are taken as empty ones.
    """
    words = list(words)
    if not words or words[0] in ("-h", "--help", "-V", "--version", "help"):
        return None
    if words[0] == "--print-completion":
        return None if words[1:] in [[shell] for shell in completion.SHELLS] else "no such shell"
    if words[0] not in PARSERS:
        return None if words[0] == "COMMAND" else f"there is no command {words[0]}"
    if "--help" in words:
        return None
    numbered = ["1" if re.fullmatch("[A-Z]+", word) else word for word in words]
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for word in words:
            if word.endswith(".toml") and not Path(word).is_absolute():
                Path(word).parent.mkdir(parents=True, exist_ok=True)
                Path(word).touch()
        try:
            PARSERS[words[0]](words[1:])
        except SftuiError as error:
            if numbered != words:
                return refusal(numbered)
            return str(error)
    return None


def _commands(page: Page, root: Path) -> Iterator[str]:
    targets = make_targets(root)
    for line, text in _typed(page):
        for words in _simple_commands(text):
            why = None
            if words[0] == "sftui":
                why = refusal(words[1:])
            elif words[0] == "make":
                named = [word for word in words[1:] if "=" not in word]
                missing = [name for name in named if name not in targets]
                why = f"there is no target {missing[0]}" if missing else None
                flags = [word[5:] for word in words if word.startswith("ARGS=")]
                if not why and named == ["run"] and flags:
                    why = refusal(["run", "--recipe", "starter", *shlex.split(flags[0])])
            if why is not None:
                yield f"{page.path}:{line} `{text}`: {why}"


def _typed(page: Page) -> Iterator[tuple[int, str]]:
    """Line and text of everything on a page that is typed into a shell."""
    for token in page.tokens:
        if token.type == "fence" and token.info.strip() in SHELL:
            text = token.content.replace("\\\n", "  ")
            for number, typed in enumerate(text.splitlines(), start=_line(token) + 1):
                yield number, typed.strip().removeprefix("$ ")
    for line, token in page.inlines():
        # A name alone speaks of the command; an ellipsis leaves something out.
        said = re.fullmatch(r"sftui \w+( rm)?|.*(\.\.\.|…).*", token.content)
        if token.type == "code_inline" and not said:
            yield line, token.content


def _simple_commands(text: str) -> Iterator[list[str]]:
    """The `sftui` and `make` commands of one line, without variables and `exec` before them."""
    if not re.search(r"\b(sftui|make)\b", text):
        return
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        parts = list(lexer)
    except ValueError:
        return
    words: list[str] = []
    for part in [*parts, ";"]:
        if set(part) <= set(";&|()"):
            if words and words[0] in ("sftui", "make"):
                yield words
            words = []
        elif words or not (part in ("exec", "env") or re.match(r"[A-Z_]+=", part)):
            words.append(part)


def make_targets(root: Path) -> dict[str, str]:
    """Target of the Makefile -> what it says of itself."""
    text = (root / "Makefile").read_text(encoding="utf-8")
    return {
        match[1]: match[2] or ""
        for match in re.finditer(r"^([a-z][a-z-]*):[^=\n]*?(?:## (.*))?$", text, re.MULTILINE)
    }


# ---- generated tables ----------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _settings_table() -> str:
    rows = []
    for group, kind in config.GROUPS.items():
        words = _field_texts(kind)
        for field in dataclasses.fields(kind):
            default = config.RunConfig().flat()[field.name]
            shown = ",".join(default) if isinstance(default, tuple) else default
            value = f"`{shown}`" if shown not in ("", None) else ""
            flag = "--" + field.name.replace("_", "-")
            rows.append([f"`{flag}`", f"`{group}`", value, words[field.name]])
    return _table(["flag", "group in TOML", "default", "what it does"], rows)


def _field_texts(kind: type) -> dict[str, str]:
    """The text under each field of a settings class, from its source."""
    source = Path(config.__file__).read_text(encoding="utf-8")
    body = source.partition(f"class {kind.__name__}:")[2]
    found = re.findall(r'^    (\w+): [^\n]*\n    """(.*?)"""', body, re.MULTILINE | re.DOTALL)
    texts: dict[str, str] = {}
    for name, text in found:
        texts.setdefault(name, " ".join(text.split()))
    return texts


def _recipes_table() -> str:
    rows = []
    for name in config.recipe_names():
        text = (config.RECIPES / f"{name}.toml").read_text(encoding="utf-8")
        comment = re.findall(r"^# ?(.*)$", text.partition("\n\n")[0], re.MULTILINE)
        plain = config.RunConfig().flat()
        changed = [
            f"`{setting}` {value}"
            for group in tomllib.loads(text).values()
            for setting, value in group.items()
            if value != plain[setting]
        ]
        rows.append([f"`{name}`", " ".join(comment), ", ".join(changed) or "none"])
    return _table(["recipe", "what", "settings that differ from the defaults"], rows)


def _commands_table() -> str:
    """From the overview that `sftui --help` prints."""
    pairs = re.findall(r"^  (\w+) {2,}(.*)$", cli.HELP, re.MULTILINE)
    rows = [[f"`sftui {name}`", words] for name, words in pairs if name in cli.COMMANDS]
    return _table(["command", "what it does"], rows)


ALARMS = {
    "nonfinite": "the loss or the norm of the gradient is no number",
    "spike": "the loss stands far above the steps before, more often than single odd batches do",
    "diverging": "the loss stays well above its best stretch, or above where the run began",
    "overfitting": "the validation loss is above its best again; sources tell why",
    "stall": "no step although one is due, for many times as long as one takes",
    "rank_silent": "a rank gives no sign of life for 30 seconds",
    "straggler": "one rank is slower than the others, which wait for it",
    "slowdown": "the run is slower than it was at its beginning",
    "memory_tight": "a memory is nearly full, or allocations were tried again",
    "letter_collapse": "nearly every answer of a task is the same letter",
    "disk_low": "the disk of the run has no room for two more checkpoints",
}
"""What each alarm means, in words without its numbers, which are in the alarm's own text."""


def _alarms_table() -> str:
    rows = [[f"`{kind}`", severity, ALARMS.get(kind, "")] for kind, severity in SEVERITY.items()]
    return _table(["alarm", "severity", "raised when"], rows)


def _readers_table() -> str:
    rows = []
    for reader in READERS:
        text = sys.modules[reader.__module__].__doc__ or ""
        first = " ".join(text.strip().partition("\n\n")[0].split())
        rows.append([f"`{reader.name}`", first])
    return _table(["`--format`", "what the reader does"], rows)


def _targets_table() -> str:
    found = make_targets(ROOT)
    rows = [[f"`make {name}`", words] for name, words in found.items() if words]
    return _table(["target", "what it does"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "alarms": _alarms_table,
    "commands": _commands_table,
    "keys": key_table.markdown,
    "peers": peers.markdown,
    "readers": _readers_table,
    "recipes": _recipes_table,
    "settings": _settings_table,
    "targets": _targets_table,
    "verbs": verb_table.markdown,
}
"""Name in `<!-- table: NAME -->` -> what stands between that line and `<!-- /table -->`."""

_BLOCK = re.compile(r"(<!-- table: (\w+)[^>]*-->\n)(.*?)(<!-- /table -->)", re.DOTALL)


def _tables(page: Page) -> Iterator[str]:
    for match in _BLOCK.finditer(page.text):
        line = page.text.count("\n", 0, match.start()) + 1
        if match[2] not in TABLES:
            yield f"{page.path}:{line} nothing generates a table called {match[2]}"
        elif match[3] != TABLES[match[2]]() + "\n":
            yield f"{page.path}:{line} the table {match[2]} is stale; `make docs` writes it anew"


def write_tables(root: Path) -> None:
    """Generate every table anew, in its place."""

    def fresh(match: re.Match[str]) -> str:
        make = TABLES.get(match[2])
        return match[0] if make is None else f"{match[1]}{make()}\n{match[4]}"

    for page in pages(root):
        text = _BLOCK.sub(fresh, page.text)
        if text != page.text:
            page.path.write_text(text, encoding="utf-8")


def main() -> int:
    """Print the faults; 1 when there are any."""
    if "--write" in sys.argv[1:]:
        write_tables(ROOT)
    found = faults(ROOT)
    for fault in found:
        print(fault)
    print(f"{len(pages(ROOT))} pages, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
