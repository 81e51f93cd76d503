"""Free conversations, and word problems that call the calculator.

The assistant has one voice here (it greets, agrees, offers more) that the base
model has never read: what fine-tuning changes first, and why validation loss falls.
Which split a conversation belongs to is a hash of what the user says first.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from engine.starter.problem import fraction, normalised
from engine.starter.words import CATEGORIES, DAYS, USES, WORKERS, sentence, spoken_list

Row = dict[str, Any]
Turns = list[str]
"""What user and assistant say in turn, user first."""

VALIDATION_SHARE = 0.12

NAMES = (
    *("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Henry"),
    *("Ida", "Jonas", "Kate", "Leo", "Mia", "Noah", "Olga", "Paul"),
)

_THINGS = sorted(
    {w for kind in ("animal", "fruit", "tool", "flower", "furniture") for w in CATEGORIES[kind]}
)
_ANIMALS = CATEGORIES["animal"] + CATEGORIES["bird"]
_GOODS = (
    *("apples", "pears", "books", "pens", "stamps", "cards", "shells", "eggs", "coins", "cakes"),
    *("marbles", "buttons", "stones", "tickets"),
)
_PLACES = (
    "river",
    "bridge",
    "forest",
    "market",
    "hill",
    "lake",
    "garden",
    "tower",
    "farm",
    "beach",
)
_WEATHER = ("rainy", "sunny", "windy", "snowy", "cloudy", "foggy")
_MOODS = ("hungry", "tired", "lonely", "curious", "proud", "lazy", "brave", "shy")
_OFFERS = ("Shall I go on?", "Just ask if you want more.", "I am glad to help!")
_INDOORS = ("read a good book", "bake a cake", "play the piano", "write a letter", "tidy a shelf")
_OUTDOORS = ("walk by the lake", "plant a tree", "visit the market", "ride a bicycle", "fly a kite")
_PACKING = {
    "beach": ("a towel", "a hat", "some water"),
    "forest": ("a map", "good shoes", "a compass"),
    "mountains": ("a warm coat", "a rope", "some tea"),
    "city": ("a map", "a camera", "an umbrella"),
    "farm": ("old shoes", "a jacket", "some bread"),
    "lake": ("a towel", "a boat", "a lemonade"),
}


def conversations(rng: random.Random, number: int, *, validation: bool) -> list[Row]:
    """`number` rows `{"messages": [...]}`, no two with the same opening words."""
    return _distinct(rng, number, lambda: _talk(rng), validation=validation)


def word_problems(rng: random.Random, number: int, *, validation: bool) -> list[Row]:
    """`number` rows of GSM8K's form: parts text, python, python_output, and the `final` number."""
    return _distinct(rng, number, lambda: _word_problem(rng), validation=validation)


def is_validation(opening: str) -> bool:
    """Whether a conversation that opens with these words is kept for validation."""
    return fraction("talk/" + normalised(opening)) < VALIDATION_SHARE


def opening(row: Row) -> str:
    """The first user message of a row."""
    return next(str(m["content"]) for m in row["messages"] if m["role"] == "user")


def _distinct(
    rng: random.Random, number: int, make: Callable[[], Row], *, validation: bool
) -> list[Row]:
    rows: list[Row] = []
    seen: set[str] = set()
    while len(rows) < number:
        row = make()
        text = normalised(opening(row))
        if text not in seen and is_validation(text) == validation:
            seen.add(text)
            rows.append(row)
    rng.shuffle(rows)
    return rows


def _talk(rng: random.Random) -> Row:
    turns = rng.choice(_TALKS)(rng)
    roles = ("user", "assistant")
    messages = [
        {"role": roles[i % 2], "content": content if i % 2 == 0 else sentence(content)}
        for i, content in enumerate(turns)
    ]
    if rng.random() < 0.1:
        messages.insert(0, {"role": "system", "content": "You are a friendly helper."})
    return {"messages": messages}


def _greeting(rng: random.Random) -> Turns:
    name, thing = rng.choice(NAMES), rng.choice(_THINGS)
    hello = rng.choice(("Hello", "Hi", "Good morning", "Good evening"))
    turns = [
        f"{hello}! My name is {name} and I like the word {thing}.",
        f"{hello}, {name}! It is a pleasure to meet you. The word {thing} is a fine choice.",
    ]
    if rng.random() < 0.5:
        turns += ["Do you remember my name?", f"Of course! Your name is {name}."]
    return turns


def _name_some(rng: random.Random) -> Turns:
    kind = rng.choice(sorted(CATEGORIES))
    known = rng.choice(CATEGORIES[kind])
    others = rng.sample([w for w in CATEGORIES[kind] if w != known], 3)
    turns = [
        f"I know the {kind} {known}. Please name two others of its kind.",
        f"With pleasure! Two others are {others[0]} and {others[1]}. {rng.choice(_OFFERS)}",
    ]
    if rng.random() < 0.5:
        turns += ["One more, please.", f"Sure! Another {kind} is {others[2]}."]
    return turns


def _sort(rng: random.Random) -> Turns:
    words = rng.sample(_THINGS, 3)
    return [
        f"Please put these words in order: {', '.join(words)}.",
        f"Sure! In the order of the alphabet they are {spoken_list(sorted(words))}.",
    ]


def _spell(rng: random.Random) -> Turns:
    word = rng.choice(_THINGS)
    ask = rng.choice(("How do I spell {}?", "Can you spell {} for me?", "Please spell {}."))
    return [ask.format(word), f"With pleasure! It is spelled {'-'.join(word)}."]


def _count(rng: random.Random) -> Turns:
    start, length = rng.randint(1, 60), rng.randint(3, 6)
    numbers = [str(start + i) for i in range(length)]
    return [
        f"Please count from {numbers[0]} to {numbers[-1]}.",
        f"Sure! Here we go: {', '.join(numbers)}.",
    ]


def _story(rng: random.Random) -> Turns:
    hero, friend = rng.sample(_ANIMALS, 2)
    place, mood = rng.choice(_PLACES), rng.choice(_MOODS)
    return [
        f"Tell me a short story about a {mood} {hero} and a {friend}.".replace(" a o", " an o"),
        f"Once upon a time a {mood} {hero} lived near the {place}. One day it met a {friend}. "
        f"They shared some bread and became good friends. The end!",
    ]


def _plan(rng: random.Random) -> Turns:
    day, weather = rng.choice(DAYS), rng.choice(_WEATHER)
    pool = _OUTDOORS if weather == "sunny" else _INDOORS
    name = rng.choice(NAMES)
    first, second = rng.sample(pool, 2)
    return [
        f"What could {name} and I do on a {weather} {day}?",
        f"Good question! On a {weather} {day} you and {name} could {first} or {second}.",
    ]


def _pack(rng: random.Random) -> Turns:
    place, name, day = rng.choice(sorted(_PACKING)), rng.choice(NAMES), rng.choice(DAYS)
    return [
        f"{name} and I go to the {place} on {day}. What should we pack?",
        f"How nice! For the {place} you and {name} need {spoken_list(_PACKING[place])}.",
    ]


def _explain(rng: random.Random) -> Turns:
    name = rng.choice(NAMES)
    if rng.random() < 0.5:
        use, tool = rng.choice(USES)
        thing = sentence(f"a {tool}").lower()
        return [
            f"{name} asked me about {thing}. Can you explain?",
            f"Sure! Tell {name} that {thing} helps you to {use}.",
        ]
    work, worker = rng.choice(WORKERS)
    return [
        f"{name} wants to be a {worker}. What is that?",
        f"What a fine plan! Tell {name} that a {worker} {work}.",
    ]


def _polite(rng: random.Random) -> Turns:
    verb = rng.choice(("give", "bring", "show", "lend", "send"))
    thing, whom = rng.choice(_THINGS), rng.choice(("me", "us", "him", "her"))
    return [
        f"Say it politely: {verb} {whom} the {thing}!",
        f"Of course! You could say: would you please {verb} {whom} the {thing}?",
    ]


def _feeling(rng: random.Random) -> Turns:
    mood, day = rng.choice(_MOODS), rng.choice(DAYS)
    friend = rng.choice(NAMES)
    return [
        f"I was {mood} on {day} and so was {friend}.",
        f"Thank you for telling me! It is all right to be {mood}. "
        f"Perhaps you and {friend} could {rng.choice(_OUTDOORS)}.",
    ]


_TALKS: tuple[Callable[[random.Random], Turns], ...] = (
    _greeting,
    _name_some,
    _sort,
    _spell,
    _count,
    _story,
    _plan,
    _pack,
    _explain,
    _polite,
    _feeling,
)


def _word_problem(rng: random.Random) -> Row:
    name, other = rng.sample(NAMES, 2)
    goods = rng.choice(_GOODS)
    a, b, c = rng.randint(2, 20), rng.randint(2, 20), rng.randint(2, 6)
    kind = rng.randrange(4)
    if kind == 0:
        question = (
            f"{name} has {a} {goods}. {other} gives {name} {b} more. "
            f"How many {goods} has {name} now?"
        )
        steps = [(f"{name} now has ", f"{a}+{b}", a + b)]
    elif kind == 1:
        question = (
            f"{name} has {a + b} {goods} and gives {b} to {other}. How many {goods} are left?"
        )
        steps = [(f"{name} keeps ", f"{a + b}-{b}", a)]
    elif kind == 2:
        question = f"{name} has {c} bags with {a} {goods} each. How many {goods} is that?"
        steps = [("In all that is ", f"{c}*{a}", c * a)]
    else:
        question = (
            f"{name} has {c} bags with {a} {goods} each. {other} brings {b} more. "
            f"How many {goods} are there?"
        )
        steps = [
            ("In the bags there are ", f"{c}*{a}", c * a),
            ("Together that makes ", f"{c * a}+{b}", c * a + b),
        ]
    parts: list[dict[str, str]] = []
    said = ""
    for words, python, result in steps:
        parts += [
            {"type": "text", "text": said + words},
            {"type": "python", "text": python},
            {"type": "python_output", "text": str(result)},
        ]
        said = f"{result} {goods}.\n"
    final = str(steps[-1][2])
    parts.append({"type": "text", "text": f"{said}#### {final}"})
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": parts},
        ],
        "final": final,
    }
