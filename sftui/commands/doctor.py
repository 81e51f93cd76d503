"""`sftui doctor`: what a bug report needs, and what is wrong with this machine."""

from __future__ import annotations

import json

from engine.processes import machine_facts
from engine.run import run_dir
from sftui.commands.reading_flags import DoctorFlags


def lines(flags: DoctorFlags) -> list[str]:
    """The facts in lines and the faults after them, or all of it as JSON."""
    facts = machine_facts.gather(run_dir.runs_root())
    if flags.json:
        return [json.dumps(facts.to_dict(), indent=1)]
    return machine_facts.text_lines(facts)
