"""Word tables that all starter material is made from.

Every table is a relation from a key to one answer. A word that could be a second
right answer to another key is left out on purpose (no "quick" beside "fast"), since
the answers of one relation serve as the wrong choices of each other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One kind of fact: pairs, how a text states them, how a question asks for them."""

    subject: str
    pairs: tuple[tuple[str, str], ...]
    says: tuple[str, ...]
    """Statements with {a} and {b}; the only form in which the base model reads every fact."""
    asks: tuple[str, ...]
    """Questions with {a}; the answer is b."""
    back: tuple[str, ...] = ()
    """Questions with {b}; the answer is a (only where b has one a)."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _pairs(table: str) -> tuple[tuple[str, str], ...]:
    """`key answer, key answer`; the answer is the last word, the key may be a phrase."""
    entries = (entry.split() for entry in table.replace("\n", " ").split(","))
    return tuple((" ".join(words[:-1]), words[-1]) for words in entries if words)


_NO_ARTICLE = r"\ban? (scissors|scales|soap|dice)\b"


def sentence(text: str) -> str:
    """A filled template as a sentence: a/an mended, first letter large."""
    text = re.sub(_NO_ARTICLE, r"\1", text)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return text[0].upper() + text[1:]


def spoken_list(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


OPPOSITES = _pairs("""
    hot cold, big small, tall short, wet dry, old new, fast slow, full empty, open closed,
    early late, light dark, happy sad, rich poor, clean dirty, loud quiet, strong weak, thick thin,
    wide narrow,
    high low, near far, left right, day night, first last, hard soft, rough smooth, sweet sour,
    win lose, buy sell, push pull, give take, start stop, come go, laugh cry, remember forget,
    love hate, float sink, rise fall, top bottom, front back, inside outside, before after,
    always never, friend enemy, north south, east west, summer winter, black white, true false,
    safe dangerous, sharp blunt, deep shallow, asleep awake, cheap expensive, same different,
    many few, alive dead, polite rude, tight loose, tame wild, raw cooked, war peace, good bad,
    save spend, build destroy, teach learn, king queen, uncle aunt, brother sister, boy girl""")

YOUNG = _pairs("""
    dog puppy, cat kitten, cow calf, horse foal, sheep lamb, pig piglet, hen chick, duck duckling,
    goose gosling, goat kid, bear cub, deer fawn, frog tadpole, swan cygnet, owl owlet,
    kangaroo joey, eagle eaglet, hare leveret, seal pup, moth caterpillar""")

HOMES = _pairs("""
    bee hive, bird nest, spider web, dog kennel, horse stable, rabbit burrow, lion den, pig sty,
    beaver lodge, hen coop, snail shell, king palace, soldier barracks, monk monastery,
    prisoner cell, car garage, plane hangar, ship harbour""")

SOUNDS = _pairs("""
    dog barks, cat purrs, cow moos, sheep bleats, duck quacks, lion roars, horse neighs,
    pig grunts, snake hisses, bee buzzes, owl hoots, wolf howls, frog croaks, mouse squeaks,
    hen clucks, crow caws, elephant trumpets, donkey brays, turkey gobbles, bell rings,
    clock ticks, drum booms""")

WORKERS = _pairs("""
    bakes bread baker, teaches children teacher, puts out fires firefighter, flies a plane pilot,
    grows corn farmer, cuts hair barber, mends teeth dentist, writes books author,
    paints pictures painter, heals sick people doctor, heals sick animals vet, sells meat butcher,
    mends shoes cobbler, makes clothes tailor, builds houses builder, cooks meals chef,
    brings letters postman, drives a bus driver, plays the piano pianist, repairs cars mechanic,
    takes photographs photographer, looks after books librarian, mends pipes plumber,
    studies stars astronomer, works in court judge, sails a ship sailor, digs for coal miner,
    grows flowers gardener, acts in plays actor, sings songs singer, catches thieves policeman,
    looks after sheep shepherd""")

USES = _pairs("""
    cut paper scissors, write a letter pen, tell the time clock, open a lock key,
    sweep the floor broom, drive in a nail hammer, cut wood saw, dig a hole spade,
    see the moon well telescope, draw a straight line ruler, eat soup spoon,
    keep off the rain umbrella, tidy your hair comb, dry your hands towel, boil water kettle,
    sew cloth needle, call a friend telephone, light a dark room lamp, see tiny things microscope,
    take a photograph camera, weigh flour scales, measure heat thermometer,
    climb to the roof ladder, carry shopping bag, find north compass, wash your hands soap,
    rub out a mistake eraser, bake a cake oven, keep milk cold fridge, cross a river bridge,
    look at your face mirror, play a tune flute""")

PAST = _pairs("""
    go went, see saw, eat ate, run ran, come came, give gave, take took, make made, write wrote,
    sing sang, swim swam, drink drank, fly flew, know knew, grow grew, buy bought, bring brought,
    think thought, teach taught, catch caught, sleep slept, keep kept, feel felt, leave left,
    lose lost, find found, stand stood, tell told, sell sold, speak spoke, break broke, wake woke,
    drive drove, ride rode, fall fell, sit sat, begin began, win won, hear heard, hold held,
    build built, send sent, throw threw, draw drew""")

PLURALS = _pairs("""
    mouse mice, child children, foot feet, tooth teeth, man men, woman women, goose geese,
    leaf leaves, knife knives, wolf wolves, baby babies, city cities, box boxes, bus buses,
    dish dishes, loaf loaves, lady ladies, fox foxes, shelf shelves, cherry cherries, ox oxen,
    half halves, life lives, story stories, church churches, thief thieves, penny pennies""")

CAPITALS = _pairs("""
    France Paris, Italy Rome, Spain Madrid, England London, Germany Berlin, Japan Tokyo,
    China Beijing, Egypt Cairo, Greece Athens, Russia Moscow, Norway Oslo, Sweden Stockholm,
    Portugal Lisbon, Austria Vienna, Ireland Dublin, Poland Warsaw, Cuba Havana, Kenya Nairobi,
    Peru Lima, Hungary Budapest, Finland Helsinki, Denmark Copenhagen, Turkey Ankara,
    Canada Ottawa, Chile Santiago, Iran Tehran, Iraq Baghdad, Belgium Brussels,
    Scotland Edinburgh, Wales Cardiff, Thailand Bangkok, Vietnam Hanoi""")

COLOURS = _pairs("""
    grass green, snow white, coal black, blood red, a lemon yellow, a carrot orange,
    chocolate brown, the clear sky blue, milk white, a tomato red, a banana yellow,
    an elephant grey, a ripe plum purple, a flamingo pink, a frog green, a crow black,
    a fire engine red, a swan white, the deep sea blue, tree bark brown, a pumpkin orange,
    an emerald green, a ruby red, a piglet pink""")

UNITS = _pairs("""
    minutes are in an hour 60, hours are in a day 24, days are in a week 7,
    seconds are in a minute 60, months are in a year 12, weeks are in a year 52,
    centimetres are in a metre 100, metres are in a kilometre 1000, grams are in a kilogram 1000,
    millimetres are in a centimetre 10, years are in a century 100, years are in a decade 10,
    eggs are in a dozen 12, sides has a triangle 3, sides has a square 4, sides has a pentagon 5,
    sides has a hexagon 6, legs has a spider 8, legs has an ant 6, legs has a horse 4,
    wheels has a car 4, wheels has a bicycle 2, wheels has a tricycle 3, cents are in a dollar 100,
    fingers are on a hand 5, letters are in the alphabet 26, days has a fortnight 14,
    corners has a cube 8, faces has a cube 6, strings has a violin 4,
    players has a football team 11,
    hours has half a day 12, minutes has half an hour 30, minutes has a quarter of an hour 15""")

CATEGORIES: dict[str, tuple[str, ...]] = {
    name: _words(words)
    for name, words in {
        "animal": "dog cat cow horse sheep pig goat bear deer lion wolf fox mouse rabbit elephant",
        "fruit": "apple pear plum cherry lemon banana grape peach melon mango fig",
        "bird": "hen duck goose swan owl eagle crow robin sparrow parrot",
        "tool": "hammer saw spade axe drill rake ladder broom chisel",
        "colour": "red blue green yellow orange purple pink brown black white grey",
        "drink": "water milk tea coffee juice lemonade cocoa",
        "vegetable": "carrot potato onion cabbage pea bean turnip leek spinach",
        "vehicle": "car bus train bicycle ship plane lorry tractor boat",
        "metal": "iron gold silver copper tin lead zinc steel",
        "flower": "rose tulip daisy lily violet poppy daffodil",
        "tree": "oak pine willow birch maple elm cedar",
        "insect": "bee ant wasp moth beetle butterfly fly",
        "instrument": "piano violin drum flute trumpet guitar harp",
        "shape": "circle square triangle hexagon oval pentagon",
        "furniture": "chair table bed sofa desk shelf cupboard",
        "garment": "shirt coat hat scarf sock skirt jacket glove",
    }.items()
}

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = _words(
    "January February March April May June July August September October November December"
)
MONTH_DAYS = ("31", "28", "31", "30", "31", "30", "31", "31", "30", "31", "30", "31")
ORDINALS = _words(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
)

_ONES = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")


def number_word(number: int) -> str:
    """The English word of 0..99, e.g. 47 -> forty-seven."""
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")


def _after(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(zip(names, names[1:] + names[:1], strict=True))


RELATIONS: tuple[Relation, ...] = (
    Relation(
        subject="opposites",
        pairs=OPPOSITES,
        says=("The opposite of {a} is {b}.", "The opposite of {b} is {a}.", "Not {a} but {b}."),
        asks=("What is the opposite of {a}?", "Which word means the opposite of {a}?"),
        back=("What is the opposite of {b}?", "Which word means the opposite of {b}?"),
    ),
    Relation(
        subject="young animals",
        pairs=YOUNG,
        says=("A young {a} is a {b}.", "The {b} is the young of the {a}."),
        asks=("What is a young {a} called?", "Which word names the young of the {a}?"),
        back=("Which animal has a {b} as its young?", "What does a {b} grow into?"),
    ),
    Relation(
        subject="homes",
        pairs=HOMES,
        says=("The home of a {a} is a {b}.", "You find a {a} in a {b}."),
        asks=("What is the home of a {a} called?", "Where do you find a {a}?"),
        back=("Whose home is a {b}?", "What do you find in a {b}?"),
    ),
    Relation(
        subject="sounds",
        pairs=SOUNDS,
        says=("The {a} {b}.", "Listen how the {a} {b}."),
        asks=("Which sound fits a {a}?", "What does a {a} do when we hear it?"),
        back=("What {b}?", "What do we hear when something {b}?"),
    ),
    Relation(
        subject="work",
        pairs=WORKERS,
        says=("A {b} {a}.", "Someone who {a} is a {b}."),
        asks=("Who {a}?", "What do we call someone who {a}?"),
    ),
    Relation(
        subject="tools",
        pairs=USES,
        says=("To {a} you use a {b}.", "You need a {b} to {a}."),
        asks=("What do you use to {a}?", "What do you need to {a}?"),
    ),
    Relation(
        subject="past tense",
        pairs=PAST,
        says=("Today I {a}, yesterday I {b}.", "The past of {a} is {b}."),
        asks=("What is the past of {a}?", "Today I {a}; what did I do yesterday?"),
        back=("Of which word is {b} the past?", "Yesterday I {b}; what do I do today?"),
    ),
    Relation(
        subject="plurals",
        pairs=PLURALS,
        says=("One {a}, two {b}.", "The plural of {a} is {b}."),
        asks=("What is the plural of {a}?", "I have one {a} and get one more; what have I now?"),
        back=("Of which word is {b} the plural?", "I have two {b} and lose one; what is left?"),
    ),
    Relation(
        subject="capitals",
        pairs=CAPITALS,
        says=("The capital of {a} is {b}.", "{b} is the capital of {a}."),
        asks=("What is the capital of {a}?", "Which city is the capital of {a}?"),
        back=("Of which country is {b} the capital?", "In which country is {b}?"),
    ),
    Relation(
        subject="colours",
        pairs=COLOURS,
        says=("The colour of {a} is {b}.", "You know that {a} is {b}."),
        asks=("What is the colour of {a}?", "Which colour has {a}?"),
    ),
    Relation(
        subject="numbers of things",
        pairs=UNITS,
        says=("This many {a}: {b}.", "Count them: {b} {a}."),
        asks=("How many {a}?", "Which number tells how many {a}?"),
    ),
    Relation(
        subject="kinds",
        pairs=tuple(
            (word, name)
            for name, words in CATEGORIES.items()
            for word in words
            if sum(word in others for others in CATEGORIES.values()) == 1
        ),
        says=("{a} is a kind of {b}.", "One kind of {b} is {a}."),
        asks=("What kind of thing is {a}?", "To which kind belongs {a}?"),
    ),
    Relation(
        subject="days",
        pairs=_after(DAYS),
        says=("After {a} comes {b}.", "Before {b} comes {a}."),
        asks=("Which day comes after {a}?", "Today is {a}; what day is tomorrow?"),
        back=("Which day comes before {b}?", "Today is {b}; what day was yesterday?"),
    ),
    Relation(
        subject="months",
        pairs=_after(MONTHS),
        says=("After {a} comes {b}.", "Before {b} comes {a}."),
        asks=("Which month comes after {a}?", "It is {a}; which month is next?"),
        back=("Which month comes before {b}?", "It is {b}; which month was last?"),
    ),
    Relation(
        subject="order of months",
        pairs=tuple(zip(ORDINALS, MONTHS, strict=True)),
        says=("The {a} month is {b}.", "{b} is the {a} month of the year."),
        asks=("Which is the {a} month of the year?", "What is the name of the {a} month?"),
        back=("Which place in the year has {b}?",),
    ),
    Relation(
        subject="days of months",
        pairs=tuple(zip(MONTHS, MONTH_DAYS, strict=True)),
        says=("{a} has {b} days.", "There are {b} days in {a}."),
        asks=("How many days has {a} in a common year?", "How long is {a} in a common year?"),
    ),
    Relation(
        subject="number words",
        pairs=tuple((str(n), number_word(n)) for n in range(1, 100)),
        says=("The number {a} is written {b}.", "We say {b} and write {a}."),
        asks=("How is the number {a} said?", "Which word means {a}?"),
        back=("Which number is {b}?", "How is {b} written in digits?"),
    ),
)
