"""Files that are no logs are refused: what was found in them, and what would be needed."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from engine.events import StepFinished
from sftui.cli import main
from sftui.sources.open_log import read_whole, recognise
from tests.sftui.readers.reader_checks import flat, of

SOURCE = Path(__file__).parents[3] / "sftui" / "readers" / "ledger.py"
CONFIG = {"model_type": "tiny", "num_steps": 100, "learning_rate": 1e-4, "loss": "ce"}
CHAT = {"messages": [{"role": "user", "content": "step 5 loss 0.3"}]}
NEEDED = "What is needed is a line, row or bar with a training loss and a step"

NO_LOGS: dict[str, tuple[bytes, str]] = {
    "source code": (SOURCE.read_bytes(), NEEDED),
    "a README": (b"# Cakes\n\nAt step 3, add 200 g.\nThe loss at step 4 is 20 percent.\n", NEEDED),
    "a JSON config": (json.dumps(CONFIG, indent=1).encode(), NEEDED),
    "chat rows": (b"\n".join([json.dumps(CHAT).encode()] * 5), NEEDED),
    "compact chat rows": (
        b"\n".join([json.dumps(CHAT, separators=(",", ":")).encode()] * 5),
        NEEDED,
    ),
    "a container's build": (
        b"".join(b"Step %d/7 : RUN install %d packages\n" % (i, 3 * i) for i in range(1, 8)),
        NEEDED,
    ),
    "a table without steps": (b"name,score\na,0.5\nb,0.6\n", NEEDED),
    "losses without steps": (b"loss,val\n0.5,2\n0.6,3\n", NEEDED),
    "a table without losses": (b"epoch,time\n1,5\n2,6\n3,5\n", r"--map train\.loss=NAME"),
    "rows without losses": (
        b"".join(json.dumps({"step": i, "foo": i / 3}).encode() + b"\n" for i in range(5)),
        r"--map train\.loss=NAME",
    ),
    "an empty file": (b"", "is empty. With --follow"),
    "blank lines": (b"\n\n\n", "none of its lines holds a number"),
    "random bytes": (os.urandom(5000) + b"\0", "binary file of no known kind"),
    "zeros": (bytes(5000), "binary file of no known kind"),
}


@pytest.mark.parametrize("what", NO_LOGS)
def test_what_is_no_log_is_refused(what, tmp_path, capsys):
    """Exit code 2, one message, no traceback."""
    data, reason = NO_LOGS[what]
    path = tmp_path / "some.file"
    path.write_bytes(data)
    assert main(["show", str(path)]) == 2
    said = capsys.readouterr().err
    assert re.search(reason, said), said
    assert "Traceback" not in said


def test_a_tensorboard_export_is_named_by_its_file(tmp_path):
    """`run-NAME-tag-train_loss.csv`: its columns are time, step and a value of that tag."""
    path = tmp_path / "run-try_3-tag-train_loss.csv"
    rows = [f"{1.7e9 + step:.3f},{step},{2 - step / 100}" for step in (10, 20, 30, 40)]
    path.write_text("Wall time,Step,Value\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (stage,) = read_whole(str(path)).recording.stages
    events = of(StepFinished, flat(stage.timeline.events(0, len(stage.timeline))))
    assert [(e.step, e.loss) for e in events] == [(10, 1.9), (20, 1.8), (30, 1.7), (40, 1.6)]
    assert events[0].stamp.t == 1.7e9 + 10


def test_a_message_in_a_json_line_is_read(tmp_path):
    """Loggers that write JSON put the printed line into it; that is no row of data."""
    path = tmp_path / "some.log"
    lines = [{"level": "info", "message": f"step {s} loss {3 - s / 10}"} for s in range(1, 5)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (stage,) = read_whole(str(path)).recording.stages
    events = of(StepFinished, flat(stage.timeline.events(0, len(stage.timeline))))
    assert [(e.step, e.loss) for e in events] == [(1, 2.9), (2, 2.8), (3, 2.7), (4, 2.6)]


def test_a_large_text_about_steps_is_refused_soon():
    """It is looked at for rows of metrics, a few thousand lines of it."""
    head = b"".join(b"the next step of item %d takes 3 updates\n" % i for i in range(400_000))
    begun = time.process_time()
    assert recognise(head) is None
    assert time.process_time() - begun < 4.0
