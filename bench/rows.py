"""Chat rows for the benchmark: the same file every time, of natural words, 50 to 400 tokens each.

A row is a conversation of one to three questions with answers; about half of its words are the assistant's. The words
say nothing: only their number, and that tokenizers know them as they know English, matters to speed.
"""

import json
import random

SEED = 1
# A rendered row has its words, a mark or two per turn, and the template's default system prompt: with the templates
# of SmolLM2 and Gemma this gives 50 to 400 tokens.
WORDS_MIN = 16
WORDS_MAX = 304
WORDS_PER_TURN_PAIR = 110
SENTENCE_WORDS = (5, 14)
WORDS = """
the a this that one some every another of to in on at by with from over under after before near between and but or so
when while because if then there here now today tomorrow again soon often never always perhaps also only just very
water house garden river street market bridge mountain window table kitchen letter paper book story question answer
reason machine engine wheel train station ticket morning evening winter summer weather rain snow wind light shadow fire
stone iron glass bread butter coffee sugar salt apple orange potato village city country island teacher student doctor
farmer driver sailor neighbour friend child mother father family number measure price money weight distance minute hour
week month year plan change problem answer result example rule letter sound music colour picture paint
is was are were has had can could will would should may might must does did goes went comes came takes took gives gave
makes made finds found keeps kept leaves left begins began writes wrote reads knows knew thinks thought shows turns
opens closes carries follows brings grows grew holds held moves stands stood waits works asks asked
small large old new young early late quick slow warm cold dry wet bright dark quiet loud heavy simple strange common
useful careful certain possible different whole empty open ready high low long short deep clean
she he they we you it her his their our your its who what which where how why
""".split()


def sentences(generator, count):
    """`count` words in sentences."""
    words = [generator.choice(WORDS) for _ in range(count)]
    text = []
    while words:
        length = min(generator.randint(*SENTENCE_WORDS), len(words))
        sentence, words = words[:length], words[length:]
        text.append(" ".join(sentence).capitalize() + ".")
    return " ".join(text)


def row(generator):
    total = generator.randint(WORDS_MIN, WORDS_MAX)
    pairs = max(1, min(3, round(total / WORDS_PER_TURN_PAIR)))
    messages = []
    for _ in range(pairs):
        words = total // pairs
        asked = round(words * generator.uniform(0.35, 0.65))
        messages.append({"role": "user", "content": sentences(generator, max(3, asked))})
        messages.append({"role": "assistant", "content": sentences(generator, max(3, words - asked))})
    return {"messages": messages}


def write(path, count):
    """Writes the first `count` rows as JSON lines."""
    generator = random.Random(SEED)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row(generator)) + "\n" for _ in range(count)))
