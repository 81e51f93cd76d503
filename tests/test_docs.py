"""The documentation says what the product does, and what holds it to that can refuse."""

import re
import shlex
import shutil
import time
from pathlib import Path

import pytest

from engine import config
from engine.alarms.board import SEVERITY
from engine.processes import machines
from engine.run.run_dir import RunDir
from sftui.cli import COMMANDS
from sftui.commands.run_flags import parse_run
from sftui.sources.formats import READERS
from tests import docs_check, make_reports

ROOT = Path(__file__).resolve().parents[1]
CLUSTERS = (ROOT / "docs/reliability-and-clusters.md").read_text(encoding="utf-8")


def test_the_documentation_holds():
    """Links, addresses, paths, commands and generated tables; `make docs` writes the tables."""
    assert docs_check.faults(ROOT) == []


def test_every_generated_table_is_on_a_page():
    """What is generated is read by somebody."""
    text = "".join(page.text for page in docs_check.pages(ROOT))
    assert [name for name in docs_check.TABLES if f"<!-- table: {name}" not in text] == []


def test_every_command_has_a_parser_and_a_line_of_help():
    """A new command is held to the documentation as the others are."""
    assert docs_check.PARSERS.keys() == COMMANDS.keys()
    table = docs_check.TABLES["commands"]()
    assert [name for name in COMMANDS if f"`sftui {name}`" not in table] == []


def test_every_row_of_a_generated_table_has_its_text():
    """The tables are taken from the source; an empty cell would mean that it was not found."""
    counts = {
        "settings": len(config.setting_names()),
        "recipes": len(config.recipe_names()),
        "alarms": len(SEVERITY),
        "readers": len(READERS),
        "commands": len(COMMANDS),
    }
    for name, count in counts.items():
        rows = docs_check.TABLES[name]().splitlines()[2:]
        assert len(rows) == count, name
        assert [row for row in rows if row.endswith("|  |")] == []
    assert docs_check.ALARMS.keys() == SEVERITY.keys()


def test_the_line_for_the_second_machine_is_the_one_that_the_first_prints():
    """What the first command of the page says to type, letter for letter."""
    [first] = re.findall(r"^sftui (.*--nodes 2.*)$", CLUSTERS, re.MULTILINE)
    parsed, _ = parse_run(shlex.split(first)[1:])
    runtime = parsed.settings.runtime
    manifest = {
        "nodes": runtime.nodes,
        "world_size": runtime.gpus,
        "max_restarts": runtime.max_restarts,
        "rendezvous": runtime.rendezvous,
    }
    said = machines.other_machines(RunDir(Path(str(parsed.runs_dir)) / "RUN"), manifest)
    [second] = [line for line in CLUSTERS.splitlines() if " torchrun " in line]
    assert said.partition("same place: ")[2] == second


def test_the_script_for_a_batch_system_can_be_typed():
    """Both of its commands parse."""
    lines = re.findall(r"exec sftui run (.*)$", CLUSTERS, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        parse_run(shlex.split(line))


def test_the_example_reports_are_what_would_be_written_now(tmp_path, monkeypatch):
    """Every sentence in both languages; `make reports` writes them anew."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    make_reports.write(tmp_path)
    monkeypatch.undo()
    time.tzset()
    for lang in make_reports.LANGUAGES:
        name = f"reference.{lang}.md"
        fresh, shown = ((folder / name).read_text() for folder in (tmp_path, make_reports.FOLDER))
        assert fresh.splitlines() == shown.splitlines()


# ---- the check itself ----------------------------------------------------------------------


@pytest.fixture
def house(tmp_path):
    """A repository with one page; the function writes the page and gives what is refused."""
    for name in ("Makefile", "pyproject.toml", "engine/errors.py", "engine/data/tasks.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def refused(text: str, page: str = "README.md") -> list[str]:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text(text)
        return docs_check.faults(tmp_path)

    return refused


def test_a_page_that_is_right_is_not_refused(house):
    """Links to files, folders and headings, typed commands, and words in between."""
    assert (
        house(
            "# A title, with `code`\n\n[up](#a-title-with-code), [code](engine/errors.py), "
            "[out](https://example.org/x#y), ![a](engine), `engine.errors.UsageError`, "
            "`engine/data/`, `engine.data.tasks`, `sftui ctl`, `sftui ctl ... pause`\n\n"
            '```sh\nsftui run --gpus 2  # two\nA=1 exec sftui run --resume "$(ls "$X")"\n'
            'make run ARGS="--gpus 2"\nsftui runs | head\n$ sftui fit my.toml --memory 24\n```\n\n'
            "```toml\nsftui nothing\n```\n"
        )
        == []
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[a](docs/none.md)", "the link docs/none.md leads nowhere"),
        ("![a](none.png)", "the link none.png leads nowhere"),
        ("[a](../../etc)", "leads"),
        ("# One\n\n[a](#two)", "README.md has no heading for #two"),
        ("# One\n\n# One\n\n[a](#one-2)", "README.md has no heading for #one-2"),
        ("https://github.com/sftui/sftui", "github.com/sftui/sftui is not on the list"),
        ("`engine/nothing.py`", "there is no engine/nothing.py"),
        ("`engine/nothing/*.py`", "there is no engine/nothing/*.py"),
        ("`engine.errors.NoSuchError`", "no module or name engine.errors.NoSuchError"),
        ("`python -m engine.nothing`", "no module or name engine.nothing"),
    ],
)
def test_a_dead_link_path_or_address_is_refused(house, text, why):
    """With its page and line."""
    [fault] = house(text)
    assert fault.startswith("README.md:")
    assert why in fault


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/keys.md"])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```\nsftui run --gpu 2\n```", "mean --gpus"),
        ("```sh\nsftui run --gpus two\n```", "gpus"),
        ("```console\n$ sftui walk\n```", "there is no command walk"),
        ("```sh\nsftui run \\\n  --speed 3\n```", "unknown flag --speed"),
        ("```sh\nX=1 exec sftui ctl RUN jump\n```", "jump"),
        ("```sh\ncd x && sftui show --jsn\n```", "mean --json"),
        ('```sh\nmake run ARGS="--gpu 2"\n```', "mean --gpus"),
        ("```sh\nmake nothing\n```", "there is no target nothing"),
        ("Type `sftui attach --now`.", "unknown flag --now"),
        ("Type `make nothing`.", "there is no target nothing"),
    ],
)
def test_a_command_that_nobody_can_type_is_refused(house, page, text, why):
    """In blocks, after variables and `&&`, over two lines, and in running text."""
    [fault] = house(text, page)
    assert fault.startswith(page)
    assert why in fault


def test_every_placeholder_is_a_word_or_a_number():
    """`--sample-every N` in running text is no mistake; a misspelt flag beside it is one."""
    assert docs_check.refusal(["run", "--sample-every", "N", "--resume", "RUN"]) is None
    assert docs_check.refusal(["run", "--sample-evry", "N"]) is not None


def test_a_stale_table_is_refused_and_written_anew(tmp_path, house):
    """A changed row, and a table that nothing generates."""
    block = "<!-- table: {} -->\n{}\n<!-- /table -->\n"
    keys = docs_check.TABLES["keys"]()
    assert house(block.format("keys", keys)) == []
    [fault] = house("\n\n" + block.format("keys", keys.replace("`q`", "`Q`", 1)))
    assert fault == "README.md:3 the table keys is stale; `make docs` writes it anew"
    docs_check.write_tables(tmp_path)
    assert docs_check.faults(tmp_path) == []
    [fault] = house(block.format("moods", keys))
    assert "nothing generates a table called moods" in fault
