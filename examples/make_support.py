#!/usr/bin/env python3
"""Writes the rows of support/: train.jsonl and heldout.jsonl.

Each row is a customer's message to an invented shop and the line that a clerk would file it under:

    team | urgency | item

team is billing, delivery, repair or returns; urgency is low, normal or high; item is copied from the message.
Every sentence below was made up for this project. Training rows and held-out rows share openings such as
"Hello." and nothing else: items, problem sentences and urgency sentences of the two sets are disjoint.

    python3 examples/make_support.py           # write both files
    python3 examples/make_support.py --check   # fail if the files differ from what this script writes
"""

import json
import pathlib
import random
import sys

SYSTEM = "File the message: team | urgency | item"
TRAIN_ROWS = 352
HELDOUT_ROWS = 64
SEED = 20261122

OPENINGS = ["", "", "", "Hello.", "Hi!", "Good morning.", "Dear team!", "Hi there!", "Good evening."]

TRAIN = {
    "items": """
        desk lamp|coffee grinder|garden hose|office chair|rain jacket|electric kettle|yoga mat|bookshelf|
        camping tent|frying pan|water bottle|alarm clock|hair dryer|bath towel|picnic basket|bicycle pump|
        wool blanket|chess set|photo frame|toaster|sleeping bag|wall mirror|tool box|rice cooker|guitar stand|
        laptop sleeve|paper shredder|vacuum cleaner|hiking boots|umbrella|cutting board|floor fan|step ladder|
        bird feeder|cake tin|baby monitor|door mat|jigsaw puzzle|travel pillow|lawn mower|sewing machine|
        winter gloves|ice cream scoop|shower curtain|pencil case|soup ladle|fish tank|plant pot
    """,
    "problems": {
        "billing": """
            I was charged twice for the {item}.|The invoice for the {item} shows the wrong amount.|
            My card was debited two times when I bought the {item}.|The price on my bill for the {item} is higher than in the shop.|
            You took payment for a {item} that I never ordered.|I still have no receipt for the {item}.|
            The discount code was not applied to the {item}.|Please correct the tax on the invoice of my {item}.|
            I paid for the {item} but my account says unpaid.|The bank tells me you booked the {item} twice.|
            My voucher did not reduce the price of the {item}.|There is an extra fee on the bill for the {item}.|
            I need an invoice with my company address for the {item}.|Your payment reminder for the {item} is wrong, I paid last week.|
            The money for the cancelled {item} has not been paid back.|Why does my statement list the {item} at double price?|
            The instalments for the {item} do not add up.|I was billed in the wrong currency for the {item}.
        """,
        "delivery": """
            My {item} has not arrived yet.|The parcel with the {item} is a week late.|
            Tracking for the {item} has not moved in days.|The courier left the {item} at the wrong house.|
            When will the {item} be shipped?|The {item} was sent to my old address.|
            I waited all day and nobody delivered the {item}.|The package with the {item} seems to be lost.|
            The driver says he could not find my door for the {item}.|Please send the {item} to my neighbour instead.|
            The {item} is stuck at the depot.|My order of a {item} still says preparing.|
            Can the {item} be delivered on Saturday?|I never got the shipping notice for the {item}.|
            The {item} went back to your warehouse without any attempt.|Has the {item} left your warehouse?|
            The carrier lost my {item}.|I would like to change the delivery address of the {item}.
        """,
        "repair": """
            The {item} stopped working after two days.|My {item} makes a strange noise.|
            There is a crack in the {item}.|The {item} fell apart when I used it.|
            One part of the {item} is broken.|The {item} is defective, can you fix it?|
            The handle of the {item} came off.|I need a spare part for the {item}.|
            The {item} is still under warranty and does not work any more.|The {item} leaks.|
            A screw of the {item} is missing and it wobbles.|The {item} smells of burning.|
            Can your workshop look at my {item}?|The {item} broke on first use.|
            The {item} is damaged and needs mending.|The seam of the {item} tore open.|
            My {item} got stuck and will not move.|The {item} has a fault that comes and goes.
        """,
        "returns": """
            I would like to send the {item} back.|The {item} is too small, I want to return it.|
            I changed my mind about the {item}.|How can I return the {item}?|
            Please send me a return label for the {item}.|The {item} is not what I expected, please take it back.|
            I want to exchange the {item} for another colour.|I got the {item} twice as a gift and want to give one back.|
            The {item} does not fit, I want to swap it.|I no longer need the {item}, can I hand it back?|
            You sent a {item} in the wrong colour, I want to exchange it.|Is it too late to return the {item}?|
            The {item} does not suit me and goes back to you.|Where do I drop off the {item} that I am returning?|
            I ordered the wrong {item}, please take it back.|I do not like the {item} and want my purchase undone.|
            May I return the {item} without its box?|I prefer another model, so the {item} should go back.
        """,
    },
    "urgency": {
        "low": """
            No hurry.|There is no rush.|Take your time.|Whenever you have a moment.|It can wait.|
            This is not urgent.|Any time this month is fine.|I am not in a hurry.|Answer when it suits you.|
            It is not important.|Next week is early enough.|Only when you have time.|This has no priority for me.
        """,
        "normal": """
            Thank you.|Thanks for your help.|Kind regards.|I bought it in your online shop.|||||
            Please let me know.|I look forward to your reply.|What should I do?|Best wishes.
        """,
        "high": """
            I need an answer today.|This is urgent.|Please act at once.|It is an emergency.|
            Please hurry.|I need this solved right now.|As soon as possible, please.|This cannot wait.|
            I must have this sorted by tonight.|Please reply immediately.|Time is running out.|
            I need it tomorrow morning.|Very urgent!
        """,
    },
}

HELDOUT = {
    "items": """
        bread maker|tennis racket|leather wallet|radio|cheese grater|mountain bike|oven glove|letter tray|
        snow shovel|piano stool|sun hat|salad bowl|drill|curtain rail|backpack|milk jug|
        rocking horse|headphones|fire extinguisher|candle holder|roller skates|barbecue|stapler|wheelbarrow
    """,
    "problems": {
        "billing": """
            You charged my card three times for the {item}.|The invoice for my {item} has a wrong total.|
            I paid the {item} already, yet I got another bill.|The coupon did not lower the price of the {item}.|
            Please send me a receipt for the {item}.|My bank statement shows two payments for the {item}.|
            There is a fee on my invoice for the {item} that I do not understand.|The refund money for the {item} is not on my account.
        """,
        "delivery": """
            I am still waiting for the parcel with my {item}.|The courier never came with the {item}.|
            According to tracking, the {item} is lost.|Where is my {item}? It should have arrived on Monday.|
            The {item} was delivered to a stranger's address.|When does the {item} leave the warehouse?|
            My package with the {item} is late.|Please ship the {item} to my new address.
        """,
        "repair": """
            The {item} does not work any longer.|My {item} is broken after one week.|
            The {item} has a crack and leaks.|A part of my {item} came loose and fell off.|
            The {item} is faulty, can it be fixed?|The {item} makes a grinding noise and then stops working.|
            I need my {item} repaired under warranty.|A spare part is needed for my damaged {item}.
        """,
        "returns": """
            I want to give the {item} back to you.|Can I exchange the {item} for a bigger one?|
            I would like to return my {item}.|The {item} is the wrong size and I want to send it back.|
            Please take the {item} back, I changed my plans.|I need a label to return the {item}.|
            I do not want the {item} any more, how do I send it back?|I want to swap the {item} for a different colour.
        """,
    },
    "urgency": {
        "low": """
            There is really no hurry.|You can take your time with this.|It is not urgent at all.|
            This can wait until next week.|Reply whenever you like.|I am in no rush.
        """,
        "normal": """
            Thanks a lot.|Many thanks for looking into it.|||Please tell me what to do.|With kind regards.
        """,
        "high": """
            This is very urgent.|Please answer immediately.|I need it solved today.|It really cannot wait.|
            Please hurry, I need it tonight.|Help me right now, please.
        """,
    },
}


def options(text):
    """The alternatives of a `|`-separated block; an empty one stands for saying nothing."""
    return [" ".join(part.split()) for part in text.split("|")]


class Deck:
    """Deals every option once, in random order, before any of them comes again."""

    def __init__(self, cards, rng):
        self.cards, self.rng, self.left = cards, rng, []

    def deal(self):
        if not self.left:
            self.left = list(self.cards)
        # Only random() gives the same numbers in every version of Python.
        return self.left.pop(int(self.rng.random() * len(self.left)))


def rows(bank, count, rng):
    """`count` different rows, balanced over teams and urgencies."""
    items = Deck(options(bank["items"]), rng)
    openings = Deck(OPENINGS, rng)
    problems = {team: Deck(options(text), rng) for team, text in bank["problems"].items()}
    urgencies = {level: Deck(options(text), rng) for level, text in bank["urgency"].items()}
    kinds = Deck([(team, level) for team in problems for level in urgencies], rng)
    seen, result = set(), []
    while len(result) < count:
        team, level = kinds.deal()
        item = items.deal()
        problem = problems[team].deal().format(item=item)
        urgency = urgencies[level].deal()
        # An urgent message sometimes begins with its urgency.
        ordered = [urgency, problem] if level == "high" and rng.random() < 0.3 else [problem, urgency]
        message = " ".join(part for part in [openings.deal(), *ordered] if part)
        if message in seen:
            continue
        seen.add(message)
        result.append(
            {
                "messages": [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": message},
                    {"role": "assistant", "content": f"{team} | {level} | {item}"},
                ]
            }
        )
    return result


def assert_disjoint():
    """Nothing that a row is made of may stand in both sets, openings and silence apart."""
    def parts(bank):
        texts = [bank["items"], *bank["problems"].values(), *bank["urgency"].values()]
        return {option for text in texts for option in options(text)} - {""}

    shared = parts(TRAIN) & parts(HELDOUT)
    assert not shared, f"in both sets: {sorted(shared)}"


def main():
    assert_disjoint()
    rng = random.Random(SEED)
    folder = pathlib.Path(__file__).resolve().parent / "support"
    for name, bank, count in [("train", TRAIN, TRAIN_ROWS), ("heldout", HELDOUT, HELDOUT_ROWS)]:
        path = folder / f"{name}.jsonl"
        text = "".join(json.dumps(row) + "\n" for row in rows(bank, count, rng))
        if sys.argv[1:] == ["--check"]:
            if path.read_text(encoding="utf-8") != text:
                sys.exit(f"{path.name} is not what {pathlib.Path(__file__).name} writes")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{path.name}: {count} rows")


if __name__ == "__main__":
    main()
