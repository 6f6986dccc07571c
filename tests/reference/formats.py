"""BIF and UAI read again, by other means: all tokens at once, exact decimals, dicts; no line numbers, no speed.

`bif` and `uai` give what a text means, or raise `Wrong`; `score` is a direct product over it.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import product

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|[ \t\n\r\f\v]+|"[^"\x00-\x1f\x7f]*"|[{}()\[\],;|]|[^{}()\[\],;|"\s]', re.DOTALL)
MARKS = set("{}()[],;|")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Wrong(Exception):
    """The text means nothing."""


def check(condition):
    if not condition:
        raise Wrong


def number(word):
    """An exact value, if a float64 can hold it without becoming zero or infinite."""
    check(NUMBER.fullmatch(word))
    value = float(word)
    check(0 <= value < math.inf)
    digits = re.split("[eE]", word)[0]
    check(value > 0 or not re.search("[1-9]", digits))
    return Fraction(value)


def bif_tokens(text):
    """Words as ('w', text), marks as themselves; characters are put together to words one by one."""
    found, place, glue = [], 0, False
    while place < len(text):
        match = TOKEN.match(text, place)
        check(match)
        token = match[0]
        check(token[0] in " \t\n\r\f\v" or (token[0] >= " " and token != "\x7f"))
        check(not text.startswith("/*", place) or token.endswith("*/"))
        place = match.end()
        if token.isspace() or token[:2] in ("//", "/*"):
            glue = False
        elif token in MARKS:
            found.append(token)
            glue = False
        elif token[0] == '"':
            check(len(token) > 2)
            found.append(("w", token[1:-1]))
            glue = False
        elif glue:
            found[-1] = ("w", found[-1][1] + token)
        else:
            found.append(("w", token))
            glue = True
    return found


class Tokens:
    def __init__(self, found):
        self.found = [*found, None]
        self.at = 0

    def next(self):
        self.at += 1
        check(self.found[self.at - 1] is not None)
        return self.found[self.at - 1]

    def peek(self):
        return self.found[self.at]

    def mark(self, mark):
        check(self.next() == mark)

    def word(self):
        token = self.next()
        check(isinstance(token, tuple))
        return token[1]

    def until(self, mark):
        """Words with at most one comma between two."""
        found = [self.word()]
        while self.peek() != mark:
            if self.peek() == ",":
                self.next()
            found.append(self.word())
        self.next()
        return found

    def property(self):
        while self.peek() != ";":
            check(self.next() not in ("{", "}"))
        self.next()


def bif(text):
    """(states by variable, (parents, rows by states of parents) by variable); rows are normalised."""
    tokens, states, blocks, networks = Tokens(bif_tokens(text)), {}, [], 0
    while tokens.peek() is not None:
        word = tokens.word()
        check(word in ("network", "variable", "probability"))
        if word == "network":
            networks += 1
            tokens.word()
            tokens.mark("{")
            while tokens.peek() != "}":
                check(tokens.word() == "property")
                tokens.property()
            tokens.next()
        elif word == "variable":
            _variable(tokens, states)
        else:
            blocks.append(_block(tokens))
    check(networks <= 1 and states)
    tables = {}
    for child, parents, entries in blocks:
        check(child not in tables)
        tables[child] = (parents, _rows(child, parents, entries, states))
    check(tables.keys() == states.keys())
    _acyclic({child: parents for child, (parents, _) in tables.items()})
    return states, tables


def _variable(tokens, states):
    name = tokens.word()
    check(name not in states and "`" not in name)
    tokens.mark("{")
    found = None
    while tokens.peek() != "}":
        word = tokens.word()
        if word == "property":
            tokens.property()
            continue
        check(word == "type" and found is None)
        check(tokens.word() == "discrete")
        tokens.mark("[")
        count = tokens.word()
        tokens.mark("]")
        tokens.mark("{")
        found = tokens.until("}")
        tokens.mark(";")
        check(re.fullmatch("[0-9]+", count) and len(count) < 50 and int(count) == len(found) == len(set(found)))
    tokens.next()
    check(found)
    states[name] = found


def _block(tokens):
    tokens.mark("(")
    child = tokens.word()
    bar = tokens.peek() == "|"
    if bar:
        tokens.next()
        parents = tokens.until(")")
    elif tokens.peek() == ")":
        tokens.next()
        parents = []
    else:
        if tokens.peek() == ",":
            tokens.next()
        parents = tokens.until(")")
    tokens.mark("{")
    entries = []
    while tokens.peek() != "}":
        if tokens.peek() == "(":
            tokens.next()
            entries.append((tuple(tokens.until(")")), tokens.until(";")))
            continue
        word = tokens.word()
        if word == "property":
            tokens.property()
        else:
            check(word in ("table", "default"))
            entries.append((word, tokens.until(";")))
    tokens.next()
    return child, tuple(parents), entries


def _rows(child, parents, entries, states):
    check(len({child, *parents}) == 1 + len(parents) and {child, *parents} <= states.keys())
    keys = [key for key, _ in entries]
    check(keys and len(set(keys)) == len(keys))
    values = {key: [number(word) for word in words] for key, words in entries}
    every = list(product(*(states[parent] for parent in parents)))
    if "table" in values:
        check(len(values) == 1 and len(values["table"]) == len(states[child]) * len(every))
        rows = {key: values["table"][place :: len(every)] for place, key in enumerate(every)}
    else:
        check(values.keys() - {"default"} <= set(every) - ({()} if not parents else set()))
        default = values.pop("default", None)
        if default is not None:
            _row(default, states[child])
        check(default is not None or values.keys() == set(every))
        rows = {key: values.get(key, default) for key in every}
    return {key: _row(row, states[child]) for key, row in rows.items()}


def _row(row, states):
    check(len(row) == len(states) and abs(float(sum(row)) - 1) <= 1e-4)
    return [value / sum(row) for value in row]


def _acyclic(parents):
    left = dict(parents)
    while left:
        free = [name for name, own in left.items() if not any(parent in left for parent in own)]
        check(free)
        for name in free:
            del left[name]


def uai(text):
    """(kind, numbers of states, (scope, values) of each factor); rows of a BAYES file are normalised."""
    words = iter(text.split())

    def next_word():
        word = next(words, None)
        check(word is not None)
        return word

    def whole():
        word = next_word()
        check(re.fullmatch("[0-9]{1,18}", word))
        return int(word)

    kind = next_word()
    check(kind in ("MARKOV", "BAYES"))
    count = whole()
    check(0 < count <= len(text))
    sizes = [whole() for _ in range(count)]
    check(all(0 < size <= 2**26 for size in sizes))
    scopes = []
    for _ in range(whole()):
        scopes.append([whole() for _ in range(whole())])
        check(len(set(scopes[-1])) == len(scopes[-1]) and all(place < count for place in scopes[-1]))
    tables = []
    for scope in scopes:
        entries = whole()
        check(entries == math.prod(sizes[place] for place in scope))
        tables.append((tuple(scope), [number(next_word()) for _ in range(entries)]))
    check(next(words, None) is None)
    if kind == "BAYES":
        tables = _conditionals(tables, sizes)
    return kind, sizes, tables


def _conditionals(tables, sizes):
    check(all(scope for scope, _ in tables))
    check(sorted(scope[-1] for scope, _ in tables) == list(range(len(sizes))))
    _acyclic({scope[-1]: scope[:-1] for scope, _ in tables})
    found = []
    for scope, values in tables:
        size = sizes[scope[-1]]
        rows = [_row(values[start : start + size], range(size)) for start in range(0, len(values), size)]
        found.append((scope, [value for row in rows for value in row]))
    return found


def log(value):
    """The logarithm of an exact fraction, zero included."""
    if value == 0:
        return -math.inf
    return math.log(value.numerator) - math.log(value.denominator)


def bif_score(meaning, assignment):
    """The log-probability of states by name."""
    states, tables = meaning
    return sum(
        log(rows[tuple(assignment[parent] for parent in parents)][states[child].index(assignment[child])])
        for child, (parents, rows) in tables.items()
    )


def uai_score(meaning, assignment):
    """The sum of logarithms at numbers of states."""
    _, sizes, tables = meaning
    total = 0.0
    for scope, values in tables:
        index = 0
        for place in scope:
            index = index * sizes[place] + assignment[place]
        total += log(values[index])
    return total
