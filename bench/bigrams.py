"""Counts which letters follow which in ordinary code: makes the table of policies/redaction_bigrams.py anew.

    python -m bench.bigrams > policies/redaction_bigrams.py

Reads the sources of the standard library and of the packages that are installed; a table from other sources of
ordinary text serves as well (the scores move by less than a bit).
"""

from __future__ import annotations

import re
import sysconfig
from collections import Counter
from itertools import pairwise
from math import log2
from pathlib import Path

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORD = re.compile(r"[A-Za-z0-9_.\-/]{3,80}")
HEX = re.compile(r"[0-9a-fA-F]{6,}")
PACKAGES = ("django", "botocore", "sqlalchemy", "werkzeug", "flask")
MAX_FILES = 4_000
SMOOTHING = 3
HEADER = '''"""How likely one letter follows another in ordinary words; made by bench/bigrams.py, not by hand."""

from __future__ import annotations

from typing import Final

# One string a first letter, one character a second: half bits over chance, `A` is eleven bits under it.
FOLLOWING: Final = (
'''


def _kind(char: str) -> str:
    if char.isdigit():
        return "0"
    return ("a" if char.islower() else "A") if char.isalpha() else "-"


def main() -> None:
    paths = sysconfig.get_paths()
    folders = [Path(paths["stdlib"]), *(Path(paths["purelib"]) / name for name in PACKAGES)]
    files = sorted({file for folder in folders for file in folder.rglob("*.py") if "test" not in file.parts})
    words = {
        word
        for file in files[:: max(1, len(files) // MAX_FILES)]
        for word in WORD.findall(file.read_text("utf-8", "ignore"))
        if word.isascii() and not HEX.fullmatch(word)
    }
    letters: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for word in words:
        for one, two in pairwise(word):
            kinds[_kind(one) + _kind(two)] += 1
            if one.isalpha() and two.isalpha():
                letters[(one + two).lower()] += 1
    print(HEADER, end="")
    for one in LETTERS:
        total = sum(letters[one + two] for two in LETTERS) + len(LETTERS) * SMOOTHING
        bits = (log2((letters[one + two] + SMOOTHING) / total * len(LETTERS)) for two in LETTERS)
        row = "".join(chr(ord("A") + max(0, min(40, round(2 * bit) + 22))) for bit in bits)
        print(f"    {row!r},".replace("'", '"') if "\\" not in row else f"    {row!r},")
    print(
        ")\n\n# Of characters after a lower-case letter, a capital, a digit and a sign: the shares of those four."
    )
    print("KINDS: Final = {")
    for one in "aA0-":
        total = sum(kinds[one + two] for two in "aA0-")
        row = ", ".join(f'"{two}": {kinds[one + two] / total:.4f}' for two in "aA0-")
        print(f'    "{one}": {{{row}}},')
    print("}")


if __name__ == "__main__":
    main()
