"""`docs/attach.md` says of each trainer what each control does, and what is not possible."""

from __future__ import annotations

import re
from pathlib import Path

from engine.control import Command
from engine.events import RunStarted
from tests.engine.attach.steered import events
from tests.engine.attach.test_loop import Loop

PAGE = (Path(__file__).parents[3] / "docs" / "attach.md").read_text()
CONTROLS = ["pause, resume N", "evaluate", "checkpoint", "lr factor", "stop"]
NAMES = {"evaluate": Command.EVALUATE, "checkpoint": Command.CHECKPOINT}


def table(heading: str) -> dict[str, tuple[str, str]]:
    """What happens and what is not possible, by control, under a heading of the page."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| ?(.*?) ?\|$", part, re.M)
    return {control: (does, limits) for control, does, limits in rows if control in CONTROLS}


def test_every_trainer_has_a_row_for_every_control() -> None:
    for heading in ("Transformers and TRL", "A loop of your own", "Lightning"):
        found = table(heading)
        assert list(found) == CONTROLS, heading
        assert all(does for does, _ in found.values())


def test_a_loop_refuses_what_the_page_says_and_nothing_else(tmp_path: Path) -> None:
    run = Loop(tmp_path, evaluate=None, save=None).train(attach=True, steps=1)
    (start,) = events(run.run, RunStarted)
    promised = {
        NAMES[control].value
        for control, (_, limits) in table("A loop of your own").items()
        if limits.startswith("without `")
    }
    assert set(start.unavailable) == promised


def test_private_names_of_lightning_on_the_page_are_those_that_are_touched() -> None:
    source = Path(__file__).parents[3] / "engine" / "attach" / "lightning.py"
    (private,) = re.findall(r"^_PRIVATE = \((.*)\)$", source.read_text(), re.M)
    _, limits = table("Lightning")["evaluate"]
    assert re.findall(r'"(.+?)"', private) == [
        name for name in re.findall(r"`(.+?)`", limits) if "." in name
    ]


def test_the_versions_on_the_page_are_those_that_are_checked_and_tried() -> None:
    from engine.attach.hf_trainer import OLDEST
    from tests.trainers_matrix import ROWS

    packages = " ".join(" ".join(row.packages) for row in ROWS)
    oldest = ".".join(map(str, OLDEST))
    assert f"Transformers {oldest} or newer" in PAGE
    assert f"transformers=={oldest}.*" in packages
    (lightning,) = re.findall(r"lightning==(\d+\.\d+)\.\*", packages)
    assert f"Lightning {lightning} or newer" in PAGE
    source = Path(__file__).parents[3] / "engine" / "attach" / "lightning.py"
    (found,) = re.findall(r"^OLDEST = \((\d+), (\d+)\)$", source.read_text(), re.M)
    assert ".".join(found) == lightning
