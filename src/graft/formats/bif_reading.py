"""BIF, the Interchange Format for Bayesian networks: from the text to blocks.

Source: F. G. Cozman, The Interchange Format for Bayesian Networks, version 0.15 (1998).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from graft.formats.bif_tables import Block, tables_of
from graft.formats.decimals import shown
from graft.formats.network import Network, Variable
from graft.formats.scanner import Scanner
from graft.formats.source import Source
from graft.graph.parse import EXISTENCE


def parse(source: Source) -> Network:
    """The network that a BIF text describes.

    Entries may come in any order. The name of the network and all properties are passed over.

    Args:
        source: the text.

    Returns:
        A directed network; tables in the order of their variables' declarations.

    Raises:
        FormatError: with the line at fault.

    Example:
        >>> text = "variable rain { type discrete [2] { no, yes }; } probability (rain) { table 0.8, 0.2; }"
        >>> parse(Source("rain.bif", text)).variables
        (Variable(name='rain', states=2, labels=('no', 'yes')),)
    """
    parser = _Parser(Scanner(source))
    while parser.scanner.peek():
        parser.block()
    if not parser.variables:
        raise source.error("a variable is expected, but the file ends", len(source.text))
    tables = tables_of(source, parser.variables, parser.places, parser.blocks)
    return Network("BAYES", tuple(parser.variables.values()), tables)


@dataclass
class _Parser:
    scanner: Scanner
    variables: dict[str, Variable] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    networks: int = 0

    def block(self) -> None:
        word, at = self.scanner.word("network, variable or probability")
        if word == "network":
            self.network(at)
        elif word == "variable":
            self.variable()
        elif word == "probability":
            self.blocks.append(self.probability(at))
        else:
            raise self.scanner.error(f"network, variable or probability is expected, not {shown(word)}", at)

    def network(self, at: int) -> None:
        self.networks += 1
        if self.networks > 1:
            raise self.scanner.error("a second network block", at)
        self.scanner.word("the network's name")
        self.scanner.take("{")
        while self.scanner.peek() != "}":
            word, at = self.scanner.word("a property or '}'")
            self.property(word, at, "a property or '}'")
        self.scanner.take("}")

    def variable(self) -> None:
        scanner = self.scanner
        name, at = scanner.word("the variable's name")
        if name in self.variables:
            raise scanner.error(f"variable {shown(name)} is declared twice", at)
        if name in EXISTENCE:
            raise scanner.error(f"a variable cannot be called {shown(name)}: formulas read the call's {name} by it", at)
        if "`" in name:
            raise scanner.error(f"variable {shown(name)} has a backquote, which no formula can have", at)
        scanner.take("{")
        labels: tuple[str, ...] | None = None
        while scanner.peek() != "}":
            word, place = scanner.word("type, a property or '}'")
            if word != "type":
                self.property(word, place, "type, a property or '}'")
            elif labels is not None:
                raise scanner.error(f"a second type of variable {shown(name)}", place)
            else:
                labels = self.states(name)
        end = scanner.take("}")
        if labels is None:
            raise scanner.error(f"variable {shown(name)} has no type", end)
        self.variables[name], self.places[name] = Variable(name, len(labels), labels), at

    def states(self, name: str) -> tuple[str, ...]:
        scanner = self.scanner
        word, at = scanner.word("discrete")
        if word != "discrete":
            raise scanner.error(f"discrete is expected, not {shown(word)}", at)
        scanner.take("[")
        count, at = scanner.word("the number of states")
        if not (count.isascii() and count.isdigit()):
            raise scanner.error(f"the number of states is expected, not {shown(count)}", at)
        scanner.take("]")
        found = scanner.words("{", "}", "a state")
        scanner.take(";")
        # compared as text: a number of thousands of digits is no number of states
        if (count.lstrip("0") or "0") != str(len(found)):
            raise scanner.error(f"{shown(name)} has {shown(count)} states, but {len(found)} are named", at)
        seen = set()
        for label, place in found:
            if label in seen:
                raise scanner.error(f"{shown(name)} has the state {shown(label)} twice", place)
            seen.add(label)
        return tuple(label for label, _ in found)

    def probability(self, at: int) -> Block:
        child, parents = self.scope()
        block = Block(at, child, parents)
        self.scanner.take("{")
        while self.scanner.peek() != "}":
            self.entry(block)
        self.scanner.take("}")
        return block

    def scope(self) -> tuple[tuple[str, int], list[tuple[str, int]]]:
        """The variable and its parents; the bar may be left out, commas too."""
        scanner = self.scanner
        scanner.take("(")
        found = [scanner.word("a variable")]
        bar = scanner.peek() == "|"
        if bar:
            scanner.take("|")
            found.append(scanner.word("a variable"))
        while scanner.peek() != ")":
            if scanner.peek() == "|":
                self._second_bar(bar)
            if scanner.peek() == ",":
                scanner.take(",")
            found.append(scanner.word("a variable"))
        scanner.take(")")
        return found[0], found[1:]

    def _second_bar(self, bar: bool) -> NoReturn:
        raise self.scanner.error("a second '|'" if bar else "a conditional has one variable before '|'")

    def entry(self, block: Block) -> None:
        scanner = self.scanner
        if scanner.peek() == "(":
            at = scanner.at
            key = scanner.words("(", ")", "a state")
            block.rows.append((key, scanner.numbers()[0], at))
            return
        what = "table, default, a row, a property or '}'"
        word, at = scanner.word(what)
        if word in ("table", "default"):
            if word in block.whole:
                raise scanner.error(f"a second {word} for {shown(block.child[0])}", at)
            block.whole[word] = (scanner.numbers()[0], at)
        else:
            self.property(word, at, what)

    def property(self, word: str, at: int, expected: str) -> None:
        """Pass a property over, whatever it says up to the semicolon."""
        scanner = self.scanner
        if word != "property":
            raise scanner.error(f"{expected} is expected, not {shown(word)}", at)
        while scanner.peek() != ";":
            if scanner.peek() in ("{", "}"):
                raise scanner.expected("';' after a property")
            if scanner.peek() in tuple("()[],|"):
                scanner.at += 1
            else:
                scanner.word("';' after a property")
        scanner.take(";")
