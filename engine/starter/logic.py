"""Questions whose answer can be worked out: numbers, order, kinds, clocks.

Each maker draws one problem from a random generator. Its key names the numbers or
words it is about in sorted order, so the same set asked in another order lands in
the same split.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from engine.starter.problem import Problem, pick_wrong
from engine.starter.words import CATEGORIES, DAYS, number_word, spoken_list

Maker = Callable[[random.Random], Problem]

_KIND_OF = {
    word: kind
    for kind, words in CATEGORIES.items()
    for word in words
    if sum(word in others for others in CATEGORIES.values()) == 1
}


def _problem(
    subject: str, about: Sequence[object], question: str, answer: object, wrong: Sequence[object]
) -> Problem:
    return Problem(
        subject=subject,
        key=f"{subject}/{'/'.join(sorted(map(str, about)))}",
        question=question,
        answer=str(answer),
        wrong=tuple(map(str, wrong)),
    )


def _near(rng: random.Random, answer: int) -> tuple[str, ...]:
    """Wrong numbers close to the right one, none negative."""
    offsets = (-10, -3, -2, -1, 1, 2, 3, 10)
    return pick_wrong(rng, str(answer), [str(answer + d) for d in offsets if answer + d >= 0])


def _size(rng: random.Random) -> int:
    return rng.choices((3, 4, 5), weights=(1, 8, 1))[0]


def adding(rng: random.Random) -> Problem:
    a, b = rng.randint(1, 20), rng.randint(1, 20)
    ask = rng.choice(("What is {} plus {}?", "Add {} and {}. What do you get?"))
    return _problem("adding", (a, b), ask.format(a, b), a + b, _near(rng, a + b))


def taking_away(rng: random.Random) -> Problem:
    a, b = rng.randint(1, 20), rng.randint(1, 20)
    ask = rng.choice(("What is {} minus {}?", "Take {1} from {0}. What is left?"))
    return _problem("taking away", (a, b), ask.format(a + b, b), a, _near(rng, a))


def times(rng: random.Random) -> Problem:
    a, b = rng.randint(2, 10), rng.randint(2, 10)
    ask = rng.choice(("What is {} times {}?", "How many are {} groups of {}?"))
    return _problem("times", (a, b), ask.format(a, b), a * b, _near(rng, a * b))


def sequence(rng: random.Random) -> Problem:
    step = rng.choice((1, 2, 3, 5, 10, -1, -2))
    start = rng.randint(1, 50) if step > 0 else rng.randint(12, 60)
    shown = [start + step * i for i in range(4)]
    text = ", ".join(map(str, shown))
    ask = rng.choice(("Which number comes next: {}?", "What follows {}?"))
    return _problem(
        "sequences", (start, step), ask.format(text), start + 4 * step, _near(rng, start + 4 * step)
    )


def extreme(rng: random.Random) -> Problem:
    numbers = rng.sample(range(1, 100), _size(rng))
    largest = rng.random() < 0.5
    answer = max(numbers) if largest else min(numbers)
    word = rng.choice(("largest", "greatest") if largest else ("smallest", "least"))
    listed = spoken_list([str(n) for n in numbers])
    return _problem(
        "comparing numbers",
        numbers,
        f"Which of {listed} is the {word}?",
        answer,
        [n for n in numbers if n != answer],
    )


def parity(rng: random.Random) -> Problem:
    even = rng.random() < 0.5
    answer = 2 * rng.randint(1, 40) + (0 if even else 1)
    pool = [n for n in range(1, 82) if n % 2 != answer % 2]
    numbers = [*rng.sample(pool, _size(rng) - 1), answer]
    rng.shuffle(numbers)
    listed = spoken_list([str(n) for n in numbers])
    return _problem(
        "even and odd",
        numbers,
        f"Which of {listed} is an {'even' if even else 'odd'} number?",
        answer,
        [n for n in numbers if n != answer],
    )


def alphabet(rng: random.Random) -> Problem:
    words: list[str] = []
    while len(words) < 4:
        word = rng.choice(sorted(_KIND_OF))
        if all(word[0] != other[0] for other in words):
            words.append(word)
    first = rng.random() < 0.5
    answer = min(words) if first else max(words)
    return _problem(
        "alphabet",
        words,
        f"Which of {spoken_list(words)} comes {'first' if first else 'last'} in the alphabet?",
        answer,
        [w for w in words if w != answer],
    )


def initial(rng: random.Random) -> Problem:
    words: list[str] = []
    size = _size(rng)
    while len(words) < size:
        word = rng.choice(sorted(_KIND_OF))
        if all(word[0] != other[0] for other in words):
            words.append(word)
    answer = rng.choice(words)
    return _problem(
        "spelling",
        words,
        f"Which of {spoken_list(words)} begins with the letter {answer[0]}?",
        answer,
        [w for w in words if w != answer],
    )


def neighbour(rng: random.Random) -> Problem:
    words = rng.sample(sorted(_KIND_OF), _size(rng))
    at = rng.randrange(1, len(words))
    after = rng.random() < 0.5
    given, answer = (words[at - 1], words[at]) if after else (words[at], words[at - 1])
    pool = [w for w in words if w not in (given, answer)]
    return _problem(
        "word order",
        words,
        f"In the row {', '.join(words)}, which word stands right "
        f"{'after' if after else 'before'} {given}?",
        answer,
        [*pool, given],
    )


def member(rng: random.Random) -> Problem:
    kinds = rng.sample(sorted(CATEGORIES), _size(rng))
    words = [rng.choice([w for w in CATEGORIES[k] if w in _KIND_OF]) for k in kinds]
    at = rng.randrange(len(words))
    kind = kinds[at]
    return _problem(
        "kinds",
        words,
        f"Which of {spoken_list(words)} is a kind of {kind}?",
        words[at],
        [w for w in words if w != words[at]],
    )


def odd_one_out(rng: random.Random) -> Problem:
    kind, other = rng.sample(sorted(CATEGORIES), 2)
    same = rng.sample([w for w in CATEGORIES[kind] if w in _KIND_OF], _size(rng) - 1)
    answer = rng.choice([w for w in CATEGORIES[other] if w in _KIND_OF])
    words = [*same, answer]
    rng.shuffle(words)
    return _problem(
        "odd one out",
        words,
        f"Which of {spoken_list(words)} does not belong with the others?",
        answer,
        same,
    )


def clock(rng: random.Random) -> Problem:
    hour, later = rng.randint(1, 12), rng.randint(1, 11)
    answer = (hour + later - 1) % 12 + 1
    pool = [str(h) for h in range(1, 13)]
    return _problem(
        "clock",
        (hour, later),
        f"The clock shows {hour}. What does it show {number_word(later)} "
        f"hour{'s' if later > 1 else ''} later?",
        answer,
        pick_wrong(rng, str(answer), pool),
    )


def weekday(rng: random.Random) -> Problem:
    day, later = rng.randrange(7), rng.randint(2, 6)
    answer = DAYS[(day + later) % 7]
    return _problem(
        "calendar",
        (DAYS[day], later),
        f"Today is {DAYS[day]}. Which day is it in {number_word(later)} days?",
        answer,
        pick_wrong(rng, answer, DAYS),
    )


MAKERS: tuple[Maker, ...] = (
    adding,
    taking_away,
    times,
    sequence,
    extreme,
    parity,
    alphabet,
    initial,
    neighbour,
    member,
    odd_one_out,
    clock,
    weekday,
)


def logic_problems(rng: random.Random, number: int) -> list[Problem]:
    """`number` problems, the makers taking turns; questions may repeat."""
    return [MAKERS[i % len(MAKERS)](rng) for i in range(number)]
