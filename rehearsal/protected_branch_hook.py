"""git's proc-receive hook: refuse every push to a protected branch in GitHub's own words.

git hands only the refs of `receive.procReceiveRefs` to this hook, and the server sets that variable to the
branches which the person pushing may not touch. (A pre-receive hook could refuse too, but the client would
then read "pre-receive hook declined".) The protocol is in githooks(5); lines are pkt-lines.
"""

from __future__ import annotations

import os
import sys
from typing import BinaryIO


def read_packet(stream: BinaryIO) -> bytes | None:
    """One pkt-line's content; None for a flush packet or the end."""
    size = stream.read(4)
    if len(size) < 4 or size == b"0000":
        return None
    return stream.read(int(size, 16) - 4)


def write_packet(stream: BinaryIO, content: bytes) -> None:
    stream.write(b"%04x" % (len(content) + 4) + content)


def read_until_flush(stream: BinaryIO) -> list[bytes]:
    packets = []
    while (packet := read_packet(stream)) is not None:
        packets.append(packet.rstrip(b"\n"))
    return packets


def main() -> int:
    heard, said = sys.stdin.buffer, sys.stdout.buffer
    greeting = read_until_flush(heard)
    offered = greeting[0].partition(b"\x00")[2].split() if greeting else []
    write_packet(said, b"version=1\0" + (b"push-options" if b"push-options" in offered else b"") + b"\n")
    said.write(b"0000")
    said.flush()
    commands = read_until_flush(heard)
    if b"push-options" in offered:
        read_until_flush(heard)
    refs = [command.split(b" ", 2)[2] for command in commands]
    rules = os.environ.get("REHEARSAL_PROTECTION_RULES", "Changes must be made through a pull request.")
    for ref in refs:
        sys.stderr.write(
            f"error: GH006: Protected branch update failed for {ref.decode(errors='replace')}.\n"
        )
        for rule in rules.splitlines():
            sys.stderr.write(f"error: {rule}\n")
    sys.stderr.flush()
    for ref in refs:
        write_packet(said, b"ng " + ref + b" protected branch hook declined\n")
    said.write(b"0000")
    said.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
