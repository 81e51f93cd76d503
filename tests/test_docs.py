"""README, help and the table of keys say the same."""

import re
import shlex
from pathlib import Path

import pytest

from engine import config
from engine.processes import machines
from engine.run.run_dir import RunDir
from sftui.cli import COMMANDS
from sftui.commands.run_flags import parse_run
from sftui.keys import key_table

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every `sftui ...` line of the README's code blocks."""
    blocks = re.findall(r"```\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("sftui ")]


def test_the_keys_of_the_readme_are_those_of_the_table():
    """Regenerate with `python -m tests.test_docs`."""
    found = re.search(r"<!-- keys: .*? -->\n(.*?)<!-- /keys -->", README, re.DOTALL)
    assert found is not None
    assert found[1] == key_table.markdown() + "\n"


def test_every_command_is_in_the_readme():
    """Nobody has to guess what there is."""
    for name in COMMANDS:
        assert f"sftui {name}" in README


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("sftui run")])
def test_every_run_command_of_the_readme_parses(line):
    """What stands there can be typed."""
    parse_run(shlex.split(line)[2:])


def test_the_line_for_the_second_machine_is_the_one_that_the_first_prints():
    """What the first command of the README says to type, letter for letter."""
    [first] = [line for line in commands() if "--nodes 2" in line]
    parsed, _ = parse_run(shlex.split(first)[2:])
    runtime = parsed.settings.runtime
    manifest = {
        "nodes": runtime.nodes,
        "world_size": runtime.gpus,
        "max_restarts": runtime.max_restarts,
        "rendezvous": runtime.rendezvous,
    }
    said = machines.other_machines(RunDir(Path(str(parsed.runs_dir)) / "RUN"), manifest)
    [second] = [line for line in README.splitlines() if " torchrun " in line]
    assert said.partition("same place: ")[2] == second


def test_the_script_for_a_batch_system_can_be_typed():
    """Both of its commands parse."""
    lines = re.findall(r"exec sftui run (.*)$", README, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        parse_run(shlex.split(line))


def test_every_recipe_is_in_the_readme():
    """By its name."""
    for name in config.recipe_names():
        assert f"`{name}`" in README


if __name__ == "__main__":
    path = Path(__file__).resolve().parents[1] / "README.md"
    path.write_text(
        re.sub(
            r"(<!-- keys: .*? -->\n).*?(<!-- /keys -->)",
            lambda match: match[1] + key_table.markdown() + "\n" + match[2],
            README,
            flags=re.DOTALL,
        ),
        encoding="utf-8",
    )
