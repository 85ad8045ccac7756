"""The repositories the reverter is measured on: made here by fast-import, or taken from a real clone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MERGES = 40
BRANCH = "develop"
_ENV = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Bench",
    "GIT_AUTHOR_EMAIL": "bench@example.com",
    "GIT_COMMITTER_NAME": "Bench",
    "GIT_COMMITTER_EMAIL": "bench@example.com",
}


@dataclass(frozen=True)
class Subject:
    """A bare repository on the server, with the tips to measure on: merges on the branch, oldest first."""

    label: str
    name: str
    bare: Path
    merges: tuple[str, ...]
    files: int


def git(folder: Path, *args: str, stdin: bytes | None = None, **env: str) -> str:
    """Plain git, as a script would call it."""
    done = subprocess.run(
        ["git", "-C", str(folder), *args], input=stdin, capture_output=True, check=True, env={**_ENV, **env}
    )
    return done.stdout.decode().strip()


def wide(root: Path, files: int) -> Subject:
    """Many files, few commits."""
    paths = [f"pkg{n % 200:03d}/mod{(n // 200) % 25:02d}/file{n:06d}.py" for n in range(files)]
    return _made(root, f"{files:,} files", "bench/wide", paths, commits=0)


def long(root: Path, commits: int) -> Subject:
    """Few files, many commits."""
    paths = [f"src/part{n % 20:02d}/file{n:04d}.py" for n in range(1000)]
    return _made(root, f"{commits:,} commits", "bench/long", paths, commits=commits)


def deep(root: Path, files: int) -> Subject:
    """Folders twelve levels deep, with .gitattributes on the way."""
    paths = []
    for n in range(files):
        folders = "/".join(f"d{(n // 3**level) % 3}" for level in range(12))
        paths.append(f"{folders}/file{n:05d}.py")
    attributes = {
        "/".join(path.split("/")[:level]) + "/.gitattributes" for path in paths[:400] for level in (2, 6, 9)
    }
    return _made(root, "deep folders", "bench/deep", [*paths, *sorted(attributes)], commits=200)


def real(root: Path, clone: Path) -> Subject:
    """A bare copy of a real clone's present branch, with its own last merges."""
    bare = _bare(root, "bench/real")
    head = git(clone, "rev-parse", "HEAD")
    git(bare, "fetch", "-q", str(clone), f"{head}:refs/heads/{BRANCH}")
    merges = git(bare, "rev-list", "--first-parent", "--merges", f"--max-count={MERGES}", BRANCH).split()
    if not merges:
        merges = git(bare, "rev-list", "--first-parent", f"--max-count={MERGES}", BRANCH).split()
    files = int(git(bare, "ls-tree", "-r", "--name-only", BRANCH).count("\n")) + 1
    return Subject(clone.resolve().name, "bench/real", _finish(bare), tuple(reversed(merges)), files)


def _bare(root: Path, name: str) -> Path:
    bare = root / f"{name}.git"
    bare.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", "--bare", "-b", BRANCH, str(bare)], check=True, env=_ENV)
    for key, value in (("http.receivepack", "true"), ("uploadpack.allowFilter", "true"),
                       ("uploadpack.allowAnySHA1InWant", "true"), ("receive.autogc", "false")):  # fmt: skip
        git(bare, "config", key, value)
    return bare


def _finish(bare: Path) -> Path:
    git(bare, "repack", "-adq")
    git(bare, "commit-graph", "write", "--reachable")
    return bare


def _made(root: Path, label: str, name: str, paths: list[str], commits: int) -> Subject:
    bare = _bare(root, name)
    git(bare, "fast-import", "--quiet", stdin=b"".join(_stream(paths, commits)))
    merges = git(bare, "rev-list", "--first-parent", "--merges", BRANCH).split()
    return Subject(label, name, _finish(bare), tuple(reversed(merges)), len(paths))


def _stream(paths: list[str], commits: int) -> Iterator[bytes]:
    clock, mark = 1_700_000_000, 1
    yield b"commit refs/heads/%s\nmark :1\ncommitter Bench <b@example.com> %d +0000\ndata 5\nStart\n" % (
        BRANCH.encode(), clock)  # fmt: skip
    for number, path in enumerate(paths):
        content = _content(path, number, 0)
        yield b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content)
    for number in range(commits):
        mark, clock = mark + 1, clock + 60
        yield _commit(
            BRANCH, mark, clock, f"Change {number}", (mark - 1,), paths[number * 7 % len(paths)], number
        )
    for number in range(MERGES):
        path = (
            paths[number * 977 % len(paths)]
            if not paths[number * 977 % len(paths)].endswith("s")
            else paths[number]
        )
        yield _commit("feature", mark + 1, clock + 60, "Work", (mark,), path, 100_000 + number)
        yield _commit(BRANCH, mark + 2, clock + 120, f"Merge pull request #{number} from bench/feature",
                      (mark, mark + 1), path, 100_000 + number)  # fmt: skip
        mark, clock = mark + 2, clock + 120


def _commit(
    ref: str, mark: int, clock: int, subject: str, parents: tuple[int, ...], path: str, seed: int
) -> bytes:
    content = _content(path, seed, 1)
    lines = [f"commit refs/heads/{ref}", f"mark :{mark}", f"committer Bench <b@example.com> {clock} +0000"]
    lines += [
        f"data {len(subject)}",
        subject,
        f"from :{parents[0]}",
        *(f"merge :{parent}" for parent in parents[1:]),
    ]
    return "\n".join(lines).encode() + b"\nM 100644 inline %s\ndata %d\n%s\n" % (
        path.encode(),
        len(content),
        content,
    )


def _content(path: str, seed: int, version: int) -> bytes:
    if path.endswith(".gitattributes"):
        return b"*.md merge=union\n*.lock -merge\n"
    head = f"# {path} {version}\n"
    return (
        head + "".join(f"value_{line} = {seed * 31 + line * (7 + version)}\n" for line in range(25))
    ).encode()
