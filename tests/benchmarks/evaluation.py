"""Letter questions a second: the engine's evaluation against nanochat's loop written plainly.

    python tests/benchmarks/evaluation.py [--width 256] [--problems 128] [--data FILE.jsonl]

The plain loop takes the questions as they come, four at a time (twice a
device_batch_size of 2), pads to the longest and computes all logits of all positions.
Both must predict the same letters. CPU time of one thread, turn by turn.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from engine.evaluation.evaluate import PreparedQuestions, evaluate_letters, prepare_questions
from engine.model.nanochat.gpt import GPT
from tests import material

BATCH = 4
TARGETS = {4096: 2, 65_536: 12}


@torch.no_grad()
def plain(model: GPT, prepared: PreparedQuestions) -> list[str]:
    """The letters nanochat's loop answers."""
    answers = []
    for start in range(0, prepared.total, BATCH):
        items = range(start, min(start + BATCH, prepared.total))
        prompts = [prepared.prompts[item] for item in items]
        width = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), width), prepared.pad_id)
        for place, prompt in enumerate(prompts):
            ids[place, : len(prompt)] = torch.from_numpy(prompt.astype("int64"))
        logits = model.logits(model(ids))
        for place, item in enumerate(items):
            found = logits[place, len(prompts[place]) - 1, list(prepared.letter_ids[item])]
            answers.append(prepared.questions[item].letters[int(found.argmax())])
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--family", choices=material.FAMILIES, default="nanochat-2025")
    parser.add_argument("--problems", type=int, default=128)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    questions = material.questions(options.data)[: options.problems]
    prepared = prepare_questions(material.tokenizer(), "bench", questions)
    warm_up = prepare_questions(material.tokenizer(), "bench", questions[:4])
    for vocab, target in TARGETS.items():
        model = material.model(
            width=options.width, vocab=vocab, layers=options.layers, family=options.family
        )
        model.eval()
        plain(model, warm_up)
        evaluate_letters(model, warm_up)
        begin = time.process_time()
        expected = plain(model, prepared)
        middle = time.process_time()
        result = evaluate_letters(model, prepared)
        end = time.process_time()
        same = sum(a == b for a, b in zip(expected, result.predicted, strict=True))
        slow = prepared.total / (middle - begin)
        fast = prepared.total / (end - middle)
        print(
            f"vocabulary {vocab}, width {options.width}, {options.layers} layers, "
            f"{prepared.total} problems, one thread"
        )
        print(f"all logits, {BATCH} at a time {slow:8.1f} problems a CPU second")
        print(f"at the answer, by length  {fast:8.1f} problems a CPU second")
        print(f"same predictions: {same} of {prepared.total}")
        print(f"ratio: {fast / slow:.1f} (target >= {target})")


if __name__ == "__main__":
    main()
