"""Random git histories for the property test: renames, modes, links, attributes and odd names, by
fast-import."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.git_histories import IDENTITY

Entry = tuple[bytes, bytes]
"""Mode and content; for a gitlink the content is the 40-hex commit."""
Tree = dict[bytes, Entry]

FILE, EXECUTABLE, LINK, MODULE = b"100644", b"100755", b"120000", b"160000"
FOLDERS = (b"", b"src", b"src/app", b"docs", b"lib/deep/er", b"odd name ", b"-dash", b"new\nline", b"gl[o]b*")
NAMES = (
    *(b"a.txt", b"b.txt", b"c.bin", b"Makefile", b"README", b"readme", b"run.sh", b'qu"ote.txt', b"-x.txt"),
    *(b"sp ace.txt", b"tr ", b"\xff\xfe.txt", "é🙂.txt".encode(), b"nl\n.txt", b"st*r?.txt", b"[x].txt"),
    *(b"#hash", b"tab\t.txt"),
)
ATTRIBUTES = (
    *(b"* text=auto", b"*.txt merge=union", b"*.txt -merge", b"*.txt merge=ours", b"*.txt binary"),
    *(b"*.bin -text", b"*.txt merge=binary", b"*.txt eol=crlf", b"[attr]mine merge=union", b"*.txt mine"),
    *(b"*.txt filter=lfs -text", b"*.txt conflict-marker-size=3", b"*.txt merge=custom", b"a.txt !merge"),
    *(b"src/** merge=union", b"*.txt ident"),
)


@dataclass
class RandomHistory:
    """A history under way: commits as fast-import marks, written out at the end by `import_into`."""

    rng: random.Random
    stream: list[bytes] = field(default_factory=list)
    marks: int = 0
    clock: int = 1_700_000_000

    def commit(self, ref: bytes, parents: list[int], tree: Tree, message: bytes) -> int:
        self.marks += 1
        self.clock += 60
        out = [b"commit refs/heads/%s\nmark :%d\n" % (ref, self.marks)]
        out.append(b"committer Dana <dana@example.com> %d +0000\n" % self.clock)
        out.append(b"data %d\n%s\n" % (len(message), message))
        for number, parent in enumerate(parents):
            out.append((b"from :%d\n" if number == 0 else b"merge :%d\n") % parent)
        out.append(b"deleteall\n")
        for path, (mode, content) in sorted(tree.items()):
            if mode == MODULE:
                out.append(b"M 160000 %s %s\n" % (content, quoted(path)))
            else:
                out.append(b"M %s inline %s\ndata %d\n%s\n" % (mode, quoted(path), len(content), content))
        self.stream.append(b"".join(out) + b"\n")
        return self.marks

    def import_into(self, bare: Path) -> dict[int, str]:
        """Write it to a new bare repository; the commits' shas by mark."""
        subprocess.run(["git", "init", "-q", "--bare", "--template=", str(bare)], check=True)
        marks = bare / "marks"
        subprocess.run(
            ["git", "-C", str(bare), "fast-import", "--quiet", "--force", f"--export-marks={marks}"],
            input=b"".join(self.stream), check=True, env={"PATH": "/usr/bin:/bin:/usr/local/bin", **IDENTITY},
        )  # fmt: skip
        pairs = (line.split() for line in marks.read_text().splitlines())
        return {int(mark[1:]): sha for mark, sha in pairs}


def quoted(path: bytes) -> bytes:
    special = {b'"'[0]: b'\\"', b"\\"[0]: b"\\\\", b"\n"[0]: b"\\n"}
    return b'"' + b"".join(special.get(byte, bytes([byte])) for byte in path) + b'"'


def new_tree(rng: random.Random) -> Tree:
    tree: Tree = {}
    for _ in range(rng.randint(6, 14)):
        put(tree, join(rng.choice(FOLDERS), rng.choice(NAMES)), FILE, content(rng))
    for _ in range(rng.randint(0, 3)):
        set_attributes(rng, tree)
    return tree


def change(rng: random.Random, tree: Tree, times: int) -> Tree:
    """A copy of the tree after a few random edits."""
    tree = dict(tree)
    for _ in range(times):
        rng.choices(list(_EDITS), weights=list(_EDITS.values()))[0](rng, tree)
    if not tree:
        put(tree, b"a.txt", FILE, b"only\n")
    return tree


def put(tree: Tree, path: bytes, mode: bytes, data: bytes) -> None:
    """Set a path, making room where a file and a folder would have one name."""
    for other in [p for p in tree if p.startswith(path + b"/") or path.startswith(p + b"/")]:
        del tree[other]
    tree[path] = (mode, data)


def join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def content(rng: random.Random) -> bytes:
    if rng.random() < 0.1:
        return bytes(rng.randrange(256) for _ in range(40)) + b"\0"
    end = b"\r\n" if rng.random() < 0.15 else b"\n"
    lines = [b"line %d of %d" % (n, rng.randrange(4)) for n in range(rng.randint(3, 14))]
    return end.join(lines) + (end if rng.random() < 0.9 else b"")


def set_attributes(rng: random.Random, tree: Tree) -> None:
    path = join(rng.choice(FOLDERS), b".gitattributes")
    lines = rng.sample(ATTRIBUTES, rng.randint(1, 3))
    put(tree, path, FILE, b"\n".join(lines) + b"\n")


def _files(tree: Tree) -> list[bytes]:
    return [path for path, (mode, _) in sorted(tree.items()) if mode in (FILE, EXECUTABLE)]


def _edit(rng: random.Random, tree: Tree) -> None:
    if files := _files(tree):
        path = rng.choice(files)
        mode, data = tree[path]
        lines = data.split(b"\n")
        at = rng.randrange(len(lines))
        kind = rng.random()
        if kind < 0.5:
            lines[at] = b"edited %d" % rng.randrange(5)
        elif kind < 0.8:
            lines.insert(at, b"inserted %d" % rng.randrange(5))
        else:
            del lines[at]
        tree[path] = (mode, b"\n".join(lines))


def _add(rng: random.Random, tree: Tree) -> None:
    put(tree, join(rng.choice(FOLDERS), rng.choice(NAMES)), FILE, content(rng))


def _delete(rng: random.Random, tree: Tree) -> None:
    if tree:
        del tree[rng.choice(sorted(tree))]


def _rename(rng: random.Random, tree: Tree) -> None:
    if files := _files(tree):
        old = rng.choice(files)
        entry = tree.pop(old)
        put(tree, join(rng.choice(FOLDERS), rng.choice(NAMES)), *entry)


def _rename_folder(rng: random.Random, tree: Tree) -> None:
    folder = rng.choice(FOLDERS[1:])
    goal = rng.choice((b"moved", b"src/moved", *FOLDERS[1:]))
    inside = [path for path in sorted(tree) if path.startswith(folder + b"/")]
    if goal == folder or goal.startswith(folder + b"/"):
        return
    for path in inside:
        entry = tree.pop(path)
        put(tree, goal + path[len(folder) :], *entry)


def _mode(rng: random.Random, tree: Tree) -> None:
    if files := _files(tree):
        path = rng.choice(files)
        mode, data = tree[path]
        tree[path] = (FILE if mode == EXECUTABLE else EXECUTABLE, data)


def _link(rng: random.Random, tree: Tree) -> None:
    path = rng.choice([*sorted(tree), join(rng.choice(FOLDERS), rng.choice(NAMES))])
    put(tree, path, LINK, rng.choice((b"a.txt", b"../../outside", b"/etc/passwd", b"src", b"docs/README")))


def _folder_for_file(rng: random.Random, tree: Tree) -> None:
    if files := _files(tree):
        path = rng.choice(files)
        entry = tree.pop(path)
        put(tree, path + b"/" + rng.choice(NAMES), *entry)


def _file_for_folder(rng: random.Random, tree: Tree) -> None:
    put(tree, rng.choice(FOLDERS[1:]), FILE, content(rng))


def _module(rng: random.Random, tree: Tree) -> None:
    put(tree, rng.choice((b"vendor", b"lib/mod")), MODULE, b"%040x" % rng.choice((1, 2, 3)))


_EDITS: dict[Callable[[random.Random, Tree], None], int] = {
    _edit: 40, _add: 10, _delete: 8, _rename: 12, _rename_folder: 7, _mode: 4, _link: 4, _folder_for_file: 3,
    _file_for_folder: 2, _module: 3, set_attributes: 7,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A bare repository, the branch's head in it, and the commits to revert (newest first)."""

    bare: Path
    head: str
    commits: tuple[str, ...]


def make_case(rng: random.Random, bare: Path) -> Case:
    """A base, one to three merges or squashes, and later work; the merges are what is reverted."""
    history = RandomHistory(rng)
    tree = new_tree(rng)
    tip = history.commit(b"develop", [], tree, b"Start")
    tree = change(rng, tree, rng.randint(0, 3))
    tip = history.commit(b"develop", [tip], tree, b"Before")
    culprits = []
    for number in range(rng.choices((1, 2, 3), weights=(7, 2, 1))[0]):
        tree, tip = _bring(history, tree, tip, number)
        culprits.append(tip)
        for _ in range(rng.choices((0, 1, 3), weights=(4, 3, 3))[0]):
            tree = change(rng, tree, rng.randint(1, 3))
            tip = history.commit(b"develop", [tip], tree, b"Later")
    shas = history.import_into(bare)
    return Case(bare, shas[tip], tuple(shas[mark] for mark in reversed(culprits)))


def _bring(history: RandomHistory, tree: Tree, tip: int, number: int) -> tuple[Tree, int]:
    """A true merge, an octopus or a squash with a few edits in it."""
    rng = history.rng
    changed = change(rng, tree, rng.randint(1, 5))
    kind = rng.choices(("merge", "squash", "octopus"), weights=(7, 2, 1))[0]
    if kind == "squash":
        return changed, history.commit(b"develop", [tip], changed, b"Squashed (#%d)" % number)
    sides = [
        history.commit(b"side%d" % n, [tip], changed, b"Work") for n in range(2 if kind == "octopus" else 1)
    ]
    merge = history.commit(b"develop", [tip, *sides], changed, b"Merge pull request #%d from a/b" % number)
    return changed, merge
