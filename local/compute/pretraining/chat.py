"""Synthetic English chat: short questions in many wordings, with short answers.

The base model must be fluent, attend to the words of a question, and say that it does not know
when asked about places and people it has never heard of. Everything comes from small tables and
one seeded generator, so the same seed gives the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from local.compute.pretraining.facts import (
    ANIMALS,
    CAPITALS,
    COLOURS,
    DAYS,
    MONTHS,
    NAMES,
    NUMBERS,
    OPPOSITES,
    PLACES,
    TOPICS,
    WORDS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    Message = dict[str, str]
    Turn = tuple[str, str]

SYSTEMS: Final = (
    "You are a helpful assistant.",
    "You are a friendly helper. Answer briefly.",
    "Answer the question of the user.",
    "You are a polite assistant.",
    "Be kind and short.",
)
OPENERS: Final = (
    "",
    "",
    "",
    "",
    "Please tell me: ",
    "Hello! ",
    "Hi, ",
    "Tell me, ",
    "I have a question. ",
    "Excuse me, ",
    "Could you help me? ",
)
UNKNOWN: Final = "I am sorry, I do not know that."


def _pick(random: Random, *wordings: str) -> str:
    return random.choice(wordings)


def _chance(random: Random, share: float) -> bool:
    return random.random() < share


def greeting(random: Random) -> Turn:
    """Say hello, thanks and good-bye."""
    return random.choice(
        (
            ("Hello", "Hello! How can I help you?"),
            ("Hi", "Hello! How can I help you?"),
            ("Good morning", "Good morning! How can I help you?"),
            ("Good evening", "Good evening! How can I help you?"),
            ("How are you?", "I am fine, thank you. How are you?"),
            ("How do you do?", "I am fine, thank you. How are you?"),
            ("Who are you?", "I am a small language model. I answer short questions."),
            ("What are you?", "I am a small language model. I answer short questions."),
            ("What can you do?", "I can answer short questions and repeat words."),
            ("Thank you", "You are welcome!"),
            ("Thanks a lot!", "You are welcome!"),
            ("Good night", "Good night! Sleep well."),
            ("Goodbye", "Goodbye! Have a nice day."),
            ("Bye", "Goodbye! Have a nice day."),
            ("Are you a robot?", "Yes, I am a small language model."),
        )
    )


def arithmetic(random: Random) -> Turn:
    """Add and subtract small numbers, in digits or in words."""
    left, right = random.randint(0, 10), random.randint(0, 10)
    if _chance(random, 0.5):
        sign, word, total = "+", "plus", left + right
    else:
        left, right = max(left, right), min(left, right)
        sign, word, total = "-", "minus", left - right
    if _chance(random, 0.3):
        question = _pick(random, "What is {} {} {}?", "How much is {} {} {}?")
        return (
            question.format(NUMBERS[left], word, NUMBERS[right]),
            f"{NUMBERS[left].capitalize()} {word} {NUMBERS[right]} is {NUMBERS[total]}.",
        )
    question = _pick(
        random,
        f"What is {left} {sign} {right}?",
        f"How much is {left} {sign} {right}?",
        f"Calculate {left} {sign} {right}.",
        f"What is {left} {word} {right}?",
    )
    return question, f"{left} {sign} {right} is {total}."


def colour(random: Random) -> Turn:
    """Name the colour of a thing."""
    thing, shade = random.choice(list(COLOURS.items()))
    question = _pick(
        random,
        f"What colour is {thing}?",
        f"Which colour does {thing} have?",
        f"What is the colour of {thing}?",
        f"Do you know the colour of {thing}?",
        f"Name the colour of {thing}.",
        f"{thing.capitalize()}, what colour is it?",
    )
    return question, f"{thing.capitalize()} is {shade}."


def capital(random: Random) -> Turn:
    """Name the capital of a country, or the country of a capital."""
    country, city = random.choice(list(CAPITALS.items()))
    if _chance(random, 0.25):
        question = _pick(
            random,
            f"Where is {city}?",
            f"In which country is {city}?",
            f"Which country is {city} the capital of?",
        )
        return question, f"{city} is the capital of {country}."
    question = _pick(
        random,
        f"What is the capital of {country}?",
        f"Which city is the capital of {country}?",
        f"Name the capital of {country}.",
        f"Do you know the capital of {country}?",
        f"What is {country}'s capital?",
        f"{country}: what is its capital?",
    )
    return question, f"The capital of {country} is {city}."


def opposite(random: Random) -> Turn:
    """Name the opposite of a word."""
    pair = random.choice(list(OPPOSITES.items()))
    word, other = pair if _chance(random, 0.5) else pair[::-1]
    question = _pick(
        random,
        f"What is the opposite of {word}?",
        f"Which word is the opposite of {word}?",
        f"Tell me the opposite of {word}.",
        f"If something is not {word}, what is it?",
    )
    return question, f"The opposite of {word} is {other}."


def animal(random: Random) -> Turn:
    """Tell an animal's sound, legs and life."""
    name, (sound, legs, life) = random.choice(list(ANIMALS.items()))
    article = "an" if name[0] in "aeiou" else "a"
    kind = random.randrange(3)
    if kind == 0:
        question = _pick(
            random,
            f"What sound does {article} {name} make?",
            f"What does {article} {name} do?",
            f"How does {article} {name} sound?",
            f"Which noise does the {name} make?",
        )
        return question, f"The {name} {sound}."
    if kind == 1:
        question = _pick(
            random,
            f"How many legs does {article} {name} have?",
            f"Count the legs of {article} {name}.",
            f"How many legs has the {name} got?",
        )
        return question, f"The {name} has {legs} legs."
    question = _pick(
        random,
        f"Tell me about the {name}.",
        f"What do you know about the {name}?",
        f"Say something about {article} {name}.",
    )
    return question, f"The {name} {sound}. {life}"


def topic(random: Random) -> Turn:
    """Say a sentence or two about an everyday thing."""
    name, text = random.choice(list(TOPICS.items()))
    question = _pick(
        random,
        f"Tell me about {name}.",
        f"What do you know about {name}?",
        f"What can you say about {name}?",
        f"Explain {name} to me.",
        f"Describe {name}.",
    )
    return question, text


def calendar(random: Random) -> Turn:
    """Walk through days, months and numbers."""
    names = random.choice((DAYS, MONTHS, tuple(NUMBERS[1:])))
    kind = "day" if names is DAYS else "month" if names is MONTHS else "number"
    at = random.randrange(1, len(names) - 1)
    if _chance(random, 0.5):
        question = _pick(
            random,
            f"Which {kind} comes after {names[at]}?",
            f"What {kind} follows {names[at]}?",
            f"Name the {kind} after {names[at]}.",
        )
        return question, f"After {names[at]} comes {names[at + 1]}."
    question = _pick(
        random,
        f"Which {kind} comes before {names[at]}?",
        f"Name the {kind} before {names[at]}.",
    )
    return question, f"Before {names[at]} comes {names[at - 1]}."


def invented(random: Random) -> str:
    """A name that means nothing, like `Tarvel` or `Quimbodo`."""
    starts = [
        "b",
        "br",
        "c",
        "d",
        "dr",
        "f",
        "g",
        "h",
        "j",
        "k",
        "kl",
        "l",
        "m",
        "n",
        "p",
        "pr",
        "qu",
        "r",
        "s",
        "st",
        "t",
        "tr",
        "v",
        "w",
        "z",
    ]
    middles = ["a", "e", "i", "o", "u", "ai", "ee", "ou"]
    ends = ["", "", "n", "l", "r", "s", "x", "nd", "rk", "m"]
    parts = (
        random.choice(starts) + random.choice(middles) + random.choice(ends)
        for _ in range(random.randint(2, 3))
    )
    return "".join(parts).capitalize()


def copying(random: Random) -> Turn:
    """Repeat words exactly; spell the first letter."""
    words = random.choices(WORDS, k=random.randint(1, 4))
    if _chance(random, 0.4):
        words[-1] = invented(random)
    text = " ".join(words)
    if _chance(random, 0.2):
        return f"What is the first letter of {words[0]}?", f"The first letter is {words[0][0]}."
    question = _pick(
        random,
        f"Say {text}.",
        f"Repeat: {text}",
        f"Please repeat after me: {text}",
        f"Copy these words: {text}",
        f"Can you say {text}?",
    )
    return question, text


def reading(random: Random) -> Turn:
    """Answer from what the question itself tells."""
    owner, other = random.sample(NAMES, 2)
    thing = random.choice(WORDS)
    first, second = random.sample(sorted(set(COLOURS.values())), 2)
    if _chance(random, 0.5):
        told = f"The {thing} of {owner} is {first}. The {thing} of {other} is {second}."
        return f"{told} What colour is the {thing} of {owner}?", (
            f"The {thing} of {owner} is {first}."
        )
    told = f"{owner} has a {thing}. {other} has a {random.choice(WORDS)}."
    return f"{told} What does {owner} have?", f"{owner} has a {thing}."


def unknown(random: Random) -> Turn:
    """Admit not to know what nobody has taught it."""
    name, place, thing = invented(random), random.choice(PLACES), random.choice(WORDS)
    day = random.choice(DAYS)
    question = _pick(
        random,
        f"When does the {name} {place} open?",
        f"When does {name} open on {day}?",
        f"What time does the {place} close on {day}?",
        f"Is the {place} open on {day}?",
        f"Where is the {name} {place}?",
        f"Where can I find the {place}?",
        f"How much does a {thing} cost at {name}?",
        f"What does a {thing} cost?",
        f"What is the price of the {thing}?",
        f"Who owns {name}?",
        f"Who is {name}?",
        f"What is the phone number of {name}?",
        f"How can I reach the {name} {place}?",
        f"Can I bring my {thing} to the {place}?",
        f"Do you sell {thing}s?",
        f"How long does it take to repair a {thing}?",
        f"Can I pay by card at the {place}?",
        f"May I return my {thing}?",
        f"Can I rent a {thing} at {name}?",
        f"What is {name}?",
    )
    return question, UNKNOWN


KINDS: Final[tuple[tuple[Callable[[Random], Turn], int], ...]] = (
    (greeting, 4),
    (arithmetic, 12),
    (colour, 9),
    (capital, 11),
    (opposite, 9),
    (animal, 11),
    (topic, 9),
    (calendar, 9),
    (copying, 14),
    (reading, 10),
    (unknown, 12),
)


def conversation(random: Random) -> list[Message]:
    """Draw one conversation: an optional system message and one to three turns.

    Returns:
        Messages `{"role": …, "content": …}` that end with the assistant's.
    """
    kinds, weights = zip(*KINDS, strict=True)
    messages: list[Message] = []
    if _chance(random, 0.2):
        messages.append({"role": "system", "content": random.choice(SYSTEMS)})
    for _ in range(random.choices((1, 2, 3), (70, 20, 10))[0]):
        question, answer = random.choices(kinds, weights)[0](random)
        opener = random.choice(OPENERS)
        if _chance(random, 0.08):
            question = question.lower()
        if _chance(random, 0.08):
            question = question.rstrip(".?!")
        messages.append({"role": "user", "content": opener + question})
        messages.append({"role": "assistant", "content": answer})
    return messages


def conversations(random: Random, count: int) -> Iterator[list[Message]]:
    """Draw `count` conversations."""
    for _ in range(count):
        yield conversation(random)
