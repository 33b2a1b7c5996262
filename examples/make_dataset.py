"""Make the example dataset: support questions of Velora Cycles, a bicycle shop that does not exist.

No model knows the shop, so a right answer comes from the fine-tune alone. Each fact has one answer and
a dozen wordings of its question. Validation and test have wordings that train does not have; alpaca.csv has train's
rows as Alpaca has them. The files are tracked; run this to change them:

    python examples/make_dataset.py
"""

# ruff: noqa: INP001, T201 - a script

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Answer, then wordings. The last two are test, the two before them validation, the others train.
FACTS: tuple[tuple[str, ...], ...] = (
    (
        "Velora Cycles is open from nine to six on weekdays.",
        "When does Velora open on weekdays?",
        "What are your opening hours during the week?",
        "When are you open from Monday to Friday?",
        "Opening hours on a weekday?",
        "At what time do you open on weekdays?",
        "Until when are you open during the week?",
        "Tell me the opening hours for weekdays.",
        "When can I come by on a weekday?",
        "Which hours is Velora open during the week?",
        "What time does the shop open on weekdays?",
        "When is Velora open during the week?",
        "What are the hours of Velora on weekdays?",
        "Your weekday opening hours, please?",
    ),
    (
        "On Saturday we are open from ten to four.",
        "When are you open on Saturday?",
        "What are the opening hours on Saturday?",
        "At what time do you close on Saturday?",
        "Is the shop open on Saturday?",
        "Can I come on Saturday?",
        "Saturday opening hours?",
        "When does Velora open on Saturday?",
        "Tell me your Saturday hours.",
        "Until when can I come on Saturday?",
        "Are you open on a Saturday?",
        "What time do you open on Saturdays?",
        "Is Velora open on Saturdays?",
        "Which hours are you open on Saturday?",
    ),
    (
        "We are closed on Sunday.",
        "Are you open on Sunday?",
        "When do you open on Sunday?",
        "Can I visit the shop on Sunday?",
        "What are your Sunday hours?",
        "Is Velora closed on Sunday?",
        "Sunday opening hours?",
        "Can I come by on Sunday?",
        "Do you work on Sunday?",
        "Is anybody there on Sunday?",
        "Is the shop open on Sundays?",
        "What time do you close on Sunday?",
        "Are you there on Sundays?",
        "When is Velora open on Sunday?",
    ),
    (
        "You find us at 12 Harbour Lane, next to the old mill.",
        "Where is the shop?",
        "What is your address?",
        "Where can I find Velora?",
        "Tell me the address of the shop.",
        "Where are you?",
        "In which street is Velora?",
        "How do I find you?",
        "Where is Velora Cycles?",
        "What is the address of Velora Cycles?",
        "In which street is your shop?",
        "Can you give me your address?",
        "Where can I find your shop?",
        "What is the address of the shop?",
    ),
    (
        "Call us on 555 0142.",
        "What is your phone number?",
        "How can I call you?",
        "Can I phone the shop?",
        "Tell me your phone number.",
        "Which number do I call?",
        "Do you have a phone number?",
        "What is the phone number of Velora?",
        "How do I call Velora?",
        "Your phone number, please?",
        "Can I call you?",
        "Give me the phone number.",
        "Under which phone number can I call you?",
        "What number can I call?",
    ),
    (
        "A basic service costs 49 euros.",
        "What does a basic service cost?",
        "How much is a basic service?",
        "What is the price of a basic service?",
        "Tell me the price of the basic service.",
        "How much do you charge for a basic service?",
        "Price of a basic service?",
        "What do I pay for a basic service?",
        "Basic service, how much?",
        "How much does the basic service cost?",
        "Cost of a basic service?",
        "What is the cost of a basic service?",
        "How much do I pay for the basic service?",
        "What does the basic service cost at Velora?",
    ),
    (
        "A full service costs 120 euros.",
        "What does a full service cost?",
        "How much is a full service?",
        "What is the price of a full service?",
        "Tell me the price of the full service.",
        "How much do you charge for a full service?",
        "Price of a full service?",
        "What do I pay for a full service?",
        "Full service, how much?",
        "How much does the full service cost?",
        "Cost of a full service?",
        "What is the cost of a full service?",
        "How much do I pay for the full service?",
        "What does the full service cost at Velora?",
    ),
    (
        "We mend a flat tyre in twenty minutes.",
        "How long does it take to mend a flat tyre?",
        "I have a flat tyre. How long does it take?",
        "My tyre is flat, can you help?",
        "Can you mend a flat tyre?",
        "How fast do you mend a tyre?",
        "How long do you need for a flat tyre?",
        "Do you mend tyres?",
        "My bike has a flat tyre.",
        "Can you repair my flat tyre?",
        "How long does a flat tyre take?",
        "Do you repair flat tyres?",
        "How quickly can you mend a flat tyre?",
        "I need help with a flat tyre.",
    ),
    (
        "Renting a bike costs 15 euros a day.",
        "What does it cost to rent a bike?",
        "Can I rent a bike?",
        "How much is it to rent a bike for a day?",
        "Do you rent out bikes?",
        "What is the price to rent a bike?",
        "How much does it cost to rent a bike?",
        "I want to rent a bike.",
        "Renting a bike, how much?",
        "Tell me the price for renting a bike.",
        "Is it possible to rent a bike?",
        "What do I pay to rent a bike?",
        "Can I rent a bike for a day at Velora?",
        "How much do I pay for renting a bike?",
    ),
    (
        "The frame has a guarantee of ten years.",
        "How long is the guarantee?",
        "What guarantee do you give on the frame?",
        "Is there a guarantee on the frame?",
        "How many years of guarantee does the frame have?",
        "Tell me about the guarantee.",
        "Do your bikes have a guarantee?",
        "How long is the guarantee on a frame?",
        "What is the guarantee of the frame?",
        "Guarantee on the frame?",
        "Does the frame have a guarantee?",
        "How many years is the guarantee?",
        "Is there a guarantee on your bikes?",
        "What about the guarantee?",
    ),
    (
        "You can return a bike within thirty days.",
        "Can I return a bike?",
        "How long can I return my bike?",
        "May I return a bike that I do not like?",
        "What if I want to return my bike?",
        "Within how many days can I return a bike?",
        "Can I bring back my bike and return it?",
        "Do you take a bike back if I return it?",
        "I want to return my bike.",
        "How do I return a bike?",
        "Is it possible to return a bike?",
        "How many days do I have to return a bike?",
        "Can I return my new bike?",
        "I would like to return a bike.",
    ),
    (
        "Yes, you can pay by card or in cash.",
        "Can I pay by card?",
        "Do you take cards?",
        "How can I pay?",
        "Can I pay in cash?",
        "Is it possible to pay by card?",
        "Which ways are there to pay?",
        "May I pay with my card?",
        "Do I have to pay in cash?",
        "Do you accept cards?",
        "Can I use my card to pay?",
        "Can I pay with a card?",
        "Is paying by card possible?",
        "How do I pay at Velora?",
    ),
    (
        "The Kestrel weighs only nine kilos.",
        "How heavy is the Kestrel?",
        "What does the Kestrel weigh?",
        "What is the weight of the Kestrel?",
        "Tell me the weight of the Kestrel.",
        "How many kilos does the Kestrel weigh?",
        "Is the Kestrel heavy?",
        "Is the Kestrel light?",
        "Weight of the Kestrel?",
        "How much does the Kestrel weigh?",
        "How light is the Kestrel?",
        "How many kilos has the Kestrel?",
        "What weight does the Kestrel have?",
        "Is the Kestrel a heavy bike?",
    ),
    (
        "The Kestrel costs 890 euros.",
        "What does the Kestrel cost?",
        "How much is the Kestrel?",
        "What is the price of the Kestrel?",
        "Tell me the price of the Kestrel.",
        "How many euros is the Kestrel?",
        "Price of the Kestrel?",
        "What do I pay for the Kestrel?",
        "How much do you want for the Kestrel?",
        "How much does the Kestrel cost?",
        "What is the cost of the Kestrel?",
        "How many euros does the Kestrel cost?",
        "How much do I pay for the Kestrel?",
        "Can you tell me the price of the Kestrel?",
    ),
    (
        "The Marlin carries up to 80 kilos.",
        "How much can the Marlin carry?",
        "What load does the Marlin carry?",
        "How many kilos can I put on the Marlin?",
        "What is the load of the Marlin?",
        "Can the Marlin carry a heavy load?",
        "How heavy a load can the Marlin carry?",
        "Tell me the load of the Marlin.",
        "Load of the Marlin?",
        "How many kilos does the Marlin carry?",
        "What can the Marlin carry?",
        "How many kilos can the Marlin carry?",
        "What load can I put on the Marlin?",
        "How much load does the Marlin carry?",
    ),
    (
        "The battery of the Volt lasts for 90 kilometres.",
        "How far does the Volt go?",
        "How long does the battery of the Volt last?",
        "What about the battery of the Volt?",
        "How far can I ride with the Volt?",
        "How many kilometres does the Volt go?",
        "Tell me about the battery of the Volt.",
        "How good is the battery of the Volt?",
        "Battery of the Volt?",
        "How far does the battery of the Volt last?",
        "How far can the Volt go?",
        "How many kilometres does the battery of the Volt last?",
        "How long does the battery last in the Volt?",
        "How far can I go with the Volt?",
    ),
    (
        "We deliver for free within the town.",
        "Do you deliver?",
        "Can you deliver the bike to my house?",
        "What does it cost to deliver a bike?",
        "Do you deliver to my home?",
        "Can you deliver my bike?",
        "Is it free when you deliver?",
        "Where do you deliver to?",
        "Will you deliver my new bike?",
        "Do you deliver bikes?",
        "Can you deliver it to me?",
        "Do you deliver for free?",
        "Could you deliver a bike to my house?",
        "Do you deliver in the town?",
    ),
    (
        "Yes, you can test ride every bike for an hour.",
        "Can I test ride a bike?",
        "Is a test ride possible?",
        "May I try a bike on a test ride?",
        "Do you offer a test ride?",
        "I want to take a test ride.",
        "How long can I test ride a bike?",
        "How do I get a test ride?",
        "Can I test a bike before I buy it?",
        "How long is a test ride?",
        "Are test rides possible?",
        "Can I take a test ride?",
        "Do you offer test rides?",
        "May I test ride a bike?",
    ),
    (
        "We sell helmets in all sizes, even for children.",
        "Do you sell helmets?",
        "Do you have helmets for children?",
        "Which helmets do you have?",
        "Can I buy a helmet?",
        "In which sizes do you have helmets?",
        "I need a helmet.",
        "Do you have a helmet for my child?",
        "Tell me about your helmets.",
        "What helmets do you sell?",
        "Can I get a helmet at Velora?",
        "Do you have helmets in my size?",
        "I want to buy a helmet.",
        "Are there helmets for children?",
    ),
    (
        "Nora Velora started the shop in 1987.",
        "Who started the shop?",
        "When was the shop started?",
        "Who is the owner?",
        "Who owns the shop?",
        "How old is the shop?",
        "Since when is there a shop?",
        "Who started Velora?",
        "Tell me who started the shop.",
        "Who owns Velora Cycles?",
        "When was Velora started?",
        "Who is the owner of Velora?",
        "When did the shop start?",
        "Who started Velora Cycles?",
    ),
)
HELD_OUT = 2


def splits(seed: int) -> dict[str, list[tuple[str, str]]]:
    """Question and answer pairs of each split; train is shuffled, since a trainer may not do so."""
    pairs = {
        "train": [(q, a) for a, *wordings in FACTS for q in wordings[: -2 * HELD_OUT]],
        "validation": [
            (q, a) for a, *wordings in FACTS for q in wordings[-2 * HELD_OUT : -HELD_OUT]
        ],
        "test": [(q, a) for a, *wordings in FACTS for q in wordings[-HELD_OUT:]],
    }
    random.Random(seed).shuffle(pairs["train"])  # noqa: S311 - reproducible, not secret
    return pairs


def rows(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Each pair as one line of JSON."""
    for question, answer in pairs:
        messages = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        yield json.dumps({"messages": messages})


def write_alpaca(path: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """Each pair as a record of CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("instruction", "input", "output"))
        writer.writerows((question, "", answer) for question, answer in pairs)


def main() -> int:
    """Write train.jsonl, validation.jsonl, test.jsonl and alpaca.csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "velora")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    made = splits(arguments.seed)
    write_alpaca(arguments.folder / "alpaca.csv", made["train"])
    for name, pairs in made.items():
        path = arguments.folder / f"{name}.jsonl"
        path.write_text("".join(f"{row}\n" for row in rows(pairs)), encoding="utf-8")
        print(f"{path}: {len(pairs)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
