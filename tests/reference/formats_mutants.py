"""Texts with something wrong in them, or not: small changes at random places."""

from __future__ import annotations

import random
import re

_TOKEN = re.compile(r'\s+|"[^"\n]*"|[{}()\[\],;|]|[^\s{}()\[\],;|"]+|"')
_NUMBER = re.compile(r"(?<![\w.])[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?(?![\w.])")
NUMBERS = "0 1 2 3 -1 0.5 1e-3 0.25 1.0 .9999 .99995 nan inf 1e999 1e-999 99999999999 1_0 0x1 +1 1. 007 -0.0".split()
WORDS = [
    *'{ } ( ) [ ] , ; | /* */ // " table default property type probability a b x0 MARKOV BAYES'.split(),
    "\x00",
    "é",
]


def mutant(text: str, draw: random.Random) -> bytes:
    """The text with one to three changes."""
    content = text.encode()
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        content = draw.choice(CHANGES)(content, draw)
    return content


def _tokens(change):
    def changed(content: bytes, draw: random.Random) -> bytes:
        tokens = _TOKEN.findall(content.decode("utf-8", "replace"))
        solid = [place for place, token in enumerate(tokens) if not token.isspace()]
        if solid:
            change(tokens, solid, draw)
        return "".join(tokens).encode()

    return changed


@_tokens
def delete(tokens, solid, draw):
    tokens[draw.choice(solid)] = ""


@_tokens
def swap(tokens, solid, draw):
    one, other = draw.choice(solid), draw.choice(solid)
    tokens[one], tokens[other] = tokens[other], tokens[one]


@_tokens
def double(tokens, solid, draw):
    place = draw.choice(solid)
    tokens[place] += " " + tokens[place]


@_tokens
def insert(tokens, solid, draw):
    place = draw.choice(solid)
    tokens[place] = f"{tokens[place]} {draw.choice(WORDS + NUMBERS)} "


@_tokens
def replace(tokens, solid, draw):
    tokens[draw.choice(solid)] = draw.choice(WORDS)


def renumber(content: bytes, draw: random.Random) -> bytes:
    """Another number; often one nearby, so that some mutants mean something."""
    text = content.decode("utf-8", "replace")
    found = list(_NUMBER.finditer(text))
    if not found:
        return content
    match = draw.choice(found)
    other = draw.choice(NUMBERS) if draw.random() < 0.6 else repr(float(match[0]) * (1 + 1e-5 * draw.random()))
    return (text[: match.start()] + other + text[match.end() :]).encode()


def exchange(content: bytes, draw: random.Random) -> bytes:
    """Two numbers trade places: rows may still sum to one."""
    text = content.decode("utf-8", "replace")
    found = list(_NUMBER.finditer(text))
    if len(found) < 2:
        return content
    one, other = sorted(draw.sample(found, 2), key=lambda match: match.start())
    parts = (text[: one.start()], other[0], text[one.end() : other.start()], one[0], text[other.end() :])
    return "".join(parts).encode()


def truncate(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def flip(content: bytes, draw: random.Random) -> bytes:
    if not content:
        return content
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def repeat(content: bytes, draw: random.Random) -> bytes:
    """A stretch of lines, or a block, once more somewhere."""
    pieces = content.split(b"\n}\n") if draw.random() < 0.5 else content.split(b"\n")
    end = b"\n}\n" if content.count(b"\n}\n") == len(pieces) - 1 else b"\n"
    pieces.insert(draw.randrange(len(pieces) + 1), draw.choice(pieces))
    return end.join(pieces)


def move(content: bytes, draw: random.Random) -> bytes:
    """A block or line elsewhere: entries of a BIF file may stand in any order."""
    end = b"\n}\n" if draw.random() < 0.7 else b"\n"
    pieces = content.split(end)
    pieces.insert(draw.randrange(len(pieces)), pieces.pop(draw.randrange(len(pieces))))
    return end.join(pieces)


CHANGES = (delete, swap, double, insert, replace, renumber, renumber, exchange, exchange, truncate, flip, repeat, move)
