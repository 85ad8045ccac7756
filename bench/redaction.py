"""Measures redaction: secrets wholly removed, ordinary lines changed, time for 200 lines, time on hostile lines.

    python -m bench.redaction [--seed N] [--rounds N] [ORDINARY.log …]

The secrets are made up anew for every seed. Ordinary lines are those of tests/logs and of the files named.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from policies.cleaning import clean
from policies.redaction import redact, redact_bytes
from tests.redaction_cases import ALNUM, cases, survives

LOGS = Path(__file__).resolve().parent.parent / "tests" / "logs"
MEGABYTE = 1_000_000
HOSTILE = {
    "letters": b"a",
    "random": b"",
    "names": b"password",
    "names with separators": b"password=",
    "unclosed quotes": b"password='",
    "escaped quotes": b'password=\\"',
    "begin lines": b"-----BEGIN RSA PRIVATE KEY-----",
    "begin lines apart": b"-----BEGIN RSA PRIVATE KEY-----\n",
    "end lines": b"-----END RSA PRIVATE KEY-----\n",
    "urls": b"http://a:b",
    "urls with at": b"http://a:b@",
    "schemes": b"postgres://",
    "slashes": b"/",
    "equals": b"=",
    "backslashes": b"\\",
    "quotes": b"'\"",
    "jwt heads": b"eyJhbGciOi",
    "dots": b"ey.",
    "bearer": b"Bearer ",
    "authorization": b"Authorization: ",
    "cookies": b"Cookie: ",
    "base64 lines": b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg==\n",
    "frames": b'  File "x", line 1\n    password=password\n',
    "kind": b"kind: Secret\ndata:\n  a: b\n",
    "brackets": b'"tokens": [',
    "words of ids": b"request_id=",
    "hyphens": b"a-",
    "spaces": b" ",
    "curl": b"curl -u ",
    "identified": b"identified by 'x",
    "spaces in names": b"password          ",
    "braces": b"{{",
    "key names": b'"name":"password",',
    "percent codes": b"%41",
    "values first": b'"value":"x1","name":"token",',
    "attributes": b'<a key="password">',
    "typed values": b'["token"]=>\n',
    "rejected values": b"token\n input_value",
}


def removal(seed: int, rounds: int) -> None:
    leaked: Counter[str] = Counter()
    total = 0
    for case in cases(seed, rounds):
        total += 1
        if survives(case.secret, clean(case.text).text):
            leaked[f"{case.kind} in {case.place}"] += 1
    lost = sum(leaked.values())
    print(f"removed: {100 * (1 - lost / total):.2f} % of {total} secrets")
    for name, count in leaked.most_common(20):
        print(f"  {count} x {name}")


def ordinary(files: list[Path]) -> None:
    total = changed = 0
    for file in files:
        before = file.read_text("utf-8", "replace").split("\n")
        after = redact("\n".join(before)).text.split("\n")
        different = sum(one != two for one, two in zip(before, after, strict=False))
        total, changed = total + len(before), changed + different
    print(f"changed: {100 * changed / max(1, total):.2f} % of {total} ordinary lines in {len(files)} files")


def speed(files: list[Path]) -> None:
    lines = [line for file in files for line in file.read_text("utf-8", "replace").split("\n") if line]
    rng = random.Random(1)
    lines += [line for case in cases(1) for line in case.text.split("\n")]
    times = []
    for _ in range(30):
        text = "\n".join(rng.choices(lines, k=200))
        begun = time.process_time()
        clean(text)
        times.append(1000 * (time.process_time() - begun))
    print(
        f"200 lines: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms of {len(times)} samples"
    )


def hostile() -> None:
    rng = random.Random(1)
    print(f"{'1 MB of':24} {'0.5 MB':>8} {'1 MB':>8}  ratio")
    for name, unit in HOSTILE.items():
        whole = (
            (unit * (MEGABYTE // len(unit) + 1))[:MEGABYTE]
            if unit
            else "".join(rng.choices(ALNUM, k=MEGABYTE)).encode()
        )
        spent = []
        for size in (MEGABYTE // 2, MEGABYTE):
            begun = time.process_time()
            redact_bytes(whole[:size])
            spent.append(time.process_time() - begun)
        print(f"{name:24} {spent[0]:7.2f}s {spent[1]:7.2f}s  {spent[1] / spent[0]:.1f}", flush=True)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("files", nargs="*", type=Path)
    asked = parser.parse_args(arguments)
    files = [*sorted(LOGS.rglob("*.log")), *asked.files]
    print(f"seed {asked.seed}")
    removal(asked.seed, asked.rounds)
    ordinary(files)
    speed(files)
    hostile()


if __name__ == "__main__":
    main(sys.argv[1:])
