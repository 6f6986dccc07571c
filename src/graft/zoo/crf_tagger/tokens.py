"""Raw text as the words of a treebank, by rule."""

from __future__ import annotations

import re

# contractions first, then words with inner marks, numbers, and every other sign alone
_WORD = re.compile(
    r"""
    (?:https?://|www\.)\S+            # addresses
    | [\w.+-]+@[\w-]+\.[\w.-]+
    | \w+(?=n['’]t\b)                 # do | n't
    | \w+(?=['’](?:s|m|d|ll|re|ve)\b)
    | n['’]t\b
    | ['’](?:s|m|d|ll|re|ve)\b        # it | 's
    | \d+(?:[.,:/]\d+)*%?
    | (?:\w\.){2,}                    # U.S.
    | \w+(?:[-']\w+)*
    | \.{2,} | [^\w\s]
    """,
    re.VERBOSE | re.IGNORECASE,
)


def words(text: str) -> list[str]:
    """Split English text roughly as its treebanks do; tokens of your own are better where you have them.

    Example:
        >>> words("I don't like it, it's 3.5 miles to the U.S. border.")
        ['I', 'do', "n't", 'like', 'it', ',', 'it', "'s", '3.5', 'miles', 'to', 'the', 'U.S.', 'border', '.']
    """
    return _WORD.findall(text)
