"""The bare repositories of the stand-in GitHub: real git reads, merges and protected branches."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rehearsal.surroundings import bare_environment

ZERO = "0" * 40
FULL_SHA = re.compile(r"[0-9a-f]{40}")
GIT_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": "false",
    "LC_ALL": "C.UTF-8",
}


class GitFailed(Exception):
    """A git command said no; `reason` is what it wrote."""

    def __init__(self, arguments: tuple[str, ...], code: int, reason: str) -> None:
        super().__init__(f"git {' '.join(arguments)} ended with {code}: {reason.strip()}")
        self.code, self.reason = code, reason


class MergeConflict(Exception):
    """The two sides of a merge touch the same lines."""


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every git process of the world: none of the person's own configuration."""
    return bare_environment({**GIT_ENVIRONMENT, **(extra or {})})


def run_git(
    where: Path,
    *arguments: str,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    may_fail: bool = False,
) -> bytes:
    """Run git in a folder and give its output; a failure is GitFailed unless it `may_fail` (then empty)."""
    done = subprocess.run(
        ["git", "-C", str(where), *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        env=git_environment(environment),
        check=False,
    )
    if done.returncode != 0:
        if may_fail:
            return b""
        raise GitFailed(arguments, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    email: str
    at: str

    @classmethod
    def parse(cls, line: str) -> Signature:
        name, _, rest = line.partition("\x1f")
        email, _, at = rest.partition("\x1f")
        return cls(name, email, at.replace("+00:00", "Z"))


@dataclass(frozen=True, slots=True)
class GitCommit:
    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str

    @property
    def subject(self) -> str:
        return self.message.partition("\n")[0]


@dataclass(frozen=True, slots=True)
class ChangedFile:
    path: str
    status: str
    additions: int
    deletions: int
    blob: str
    patch: str | None
    previous: str | None = None


_COMMIT_FORMAT = "%H%x00%T%x00%P%x00%an%x1f%ae%x1f%aI%x00%cn%x1f%ce%x1f%cI%x00%B%x1e"
_STATUS_WORDS = {"A": "added", "M": "modified", "D": "removed", "R": "renamed", "C": "copied", "T": "changed"}


class BareRepository:
    """One bare repository and everything the REST answers need to know from it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, default_branch: str) -> BareRepository:
        path.mkdir(parents=True)
        run_git(path, "init", "--quiet", "--bare", f"--initial-branch={default_branch}", ".")
        repository = cls(path)
        for key, value in (
            ("uploadpack.allowFilter", "true"),
            ("uploadpack.allowAnySHA1InWant", "true"),
            ("receive.hideRefs", "refs/pull"),
            ("receive.fsckObjects", "true"),
            ("gc.auto", "0"),
        ):
            run_git(path, "config", key, value)
        hook = path / "hooks" / "proc-receive"
        hook.parent.mkdir(exist_ok=True)
        source = Path(__file__).with_name("protected_branch_hook.py")
        hook.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{source}"\n')
        hook.chmod(0o755)
        return repository

    def git(self, *arguments: str, stdin: bytes | None = None, may_fail: bool = False) -> bytes:
        return run_git(self.path, *arguments, stdin=stdin, may_fail=may_fail)

    def text(self, *arguments: str, may_fail: bool = False) -> str:
        return self.git(*arguments, may_fail=may_fail).decode(errors="replace").strip()

    def refs(self, under: str = "refs/heads/") -> dict[str, str]:
        """Full ref name → sha."""
        lines = self.text("for-each-ref", "--format=%(refname) %(objectname)", under).splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def head(self, branch: str) -> str | None:
        return self.resolve(f"refs/heads/{branch}")

    def resolve(self, name: str) -> str | None:
        """The full sha of a commit named by sha, branch or tag; None when there is none."""
        if not name or name.startswith("-") or "\x00" in name:
            return None
        found = self.text(
            "rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}", may_fail=True
        )
        return found if FULL_SHA.fullmatch(found) else None

    def commits(self, *selection: str, limit: int = 250) -> list[GitCommit]:
        """Commits in git's order for a rev-list selection such as `A..B` or a single sha."""
        output = self.git("log", f"--max-count={limit}", f"--format={_COMMIT_FORMAT}", *selection, "--")
        found = []
        for record in output.decode(errors="replace").split("\x1e"):
            fields = record.lstrip("\n").split("\x00")
            if len(fields) == 6:
                sha, tree, parents, author, committer, message = fields
                found.append(
                    GitCommit(
                        sha,
                        tree,
                        tuple(parents.split()),
                        Signature.parse(author),
                        Signature.parse(committer),
                        message.rstrip("\n"),
                    )
                )
        return found

    def commit(self, sha: str) -> GitCommit:
        return self.commits(sha, limit=1)[0]

    def is_ancestor(self, old: str, new: str) -> bool:
        try:
            self.git("merge-base", "--is-ancestor", old, new)
        except GitFailed:
            return False
        return True

    def merge_base(self, one: str, other: str) -> str | None:
        return self.text("merge-base", one, other, may_fail=True) or None

    def count(self, selection: str) -> int:
        return int(self.text("rev-list", "--count", selection, "--"))

    def between(self, base: str, head: str) -> list[GitCommit]:
        """Commits of head that base has not, oldest first, as a pull request lists them."""
        return list(reversed(self.commits(head, f"^{base}")))

    def changed_files(self, old: str | None, new: str) -> list[ChangedFile]:
        """Files that differ between two commits (against nothing for a root commit), with their patches."""
        if old is None:
            old = self.text("hash-object", "-t", "tree", "--stdin", "-w")
        raw = self.git("diff", "--raw", "--numstat", "-z", "-M", "--no-abbrev", old, new, "--").decode(
            errors="surrogateescape"
        )
        patches = self._patches(old, new)
        entries, counts = _read_raw_and_numstat(raw)
        files = []
        for status, blob, previous, path in entries:
            added, removed = counts.get(path, (0, 0))
            safe = path.encode(errors="surrogateescape").decode(errors="replace")
            files.append(
                ChangedFile(
                    safe,
                    _STATUS_WORDS.get(status, "changed"),
                    added,
                    removed,
                    blob,
                    patches.get(path),
                    previous,
                )
            )
        return files

    def _patches(self, old: str, new: str) -> dict[str, str]:
        whole = self.git("-c", "core.quotePath=false", "diff", "-M", old, new, "--").decode(errors="replace")
        patches: dict[str, str] = {}
        for part in re.split(r"(?m)^diff --git ", whole)[1:]:
            header, at, body = part.partition("\n@@")
            name = re.search(r"(?m)^\+\+\+ b/(.+)$", header) or re.search(r"(?m)^--- a/(.+)$", header)
            if at and name:
                patches[name.group(1).rstrip("\t")] = ("@@" + body).rstrip("\n")
        return patches

    def entry(self, sha: str, path: str) -> tuple[str, str, str] | None:
        """(mode, type, object sha) of a path in a commit."""
        if not path:
            return ("040000", "tree", self.text("rev-parse", f"{sha}^{{tree}}"))
        output = self.git("ls-tree", "-z", sha, "--", path).decode(errors="surrogateescape")
        if not output:
            return None
        mode, kind, blob = output.split("\t")[0].split(" ")
        return mode, kind, blob

    def listing(self, tree: str) -> list[tuple[str, str, str, int, str]]:
        """(mode, type, sha, size, name) of each entry of a tree."""
        rows = []
        for line in self.git("ls-tree", "-z", "-l", tree).decode(errors="surrogateescape").split("\x00"):
            if line:
                facts, name = line.split("\t", 1)
                mode, kind, sha, size = facts.split()
                rows.append((mode, kind, sha, 0 if size == "-" else int(size), name))
        return rows

    def blob(self, sha: str) -> bytes:
        return self.git("cat-file", "blob", sha)

    def update(self, ref: str, new: str, old: str = "") -> None:
        """Move a ref, and only from `old` when that is given."""
        self.git("update-ref", "--", ref, new, *([old] if old else []))

    def commit_tree(
        self, tree: str, parents: list[str], message: str, author: Signature, committer: Signature
    ) -> str:
        environment = {
            "GIT_AUTHOR_NAME": author.name,
            "GIT_AUTHOR_EMAIL": author.email,
            "GIT_AUTHOR_DATE": author.at,
            "GIT_COMMITTER_NAME": committer.name,
            "GIT_COMMITTER_EMAIL": committer.email,
            "GIT_COMMITTER_DATE": committer.at,
        }
        named = [part for parent in parents for part in ("-p", parent)]
        made = run_git(
            self.path, "commit-tree", tree, *named, stdin=message.encode(), environment=environment
        )
        return made.decode().strip()

    def merged_tree(self, base: str, head: str) -> str:
        """The tree of a clean merge of two commits; MergeConflict when it is not clean."""
        try:
            return self.text("merge-tree", "--write-tree", base, head).splitlines()[0]
        except GitFailed as failed:
            if failed.code == 1:
                raise MergeConflict(f"{base[:7]} and {head[:7]} conflict") from failed
            raise

    def rebase(self, base: str, head: str, committer: Signature) -> str:
        """Replay head's commits on base with real cherry-picks in a worktree of their own; the new tip."""
        folder = Path(tempfile.mkdtemp(prefix="rehearsal-rebase-"))
        place = folder / "tree"
        who = {"GIT_COMMITTER_NAME": committer.name, "GIT_COMMITTER_EMAIL": committer.email}
        try:
            self.git("worktree", "add", "--quiet", "--detach", str(place), base)
            picks = [commit.sha for commit in self.between(base, head) if len(commit.parents) < 2]
            try:
                run_git(place, "cherry-pick", "--allow-empty", *picks, environment=who)
            except GitFailed as failed:
                raise MergeConflict(f"{head[:7]} does not replay on {base[:7]}") from failed
            return run_git(place, "rev-parse", "HEAD").decode().strip()
        finally:
            self.git("worktree", "remove", "--force", str(place), may_fail=True)
            shutil.rmtree(folder, ignore_errors=True)


def _read_raw_and_numstat(
    raw: str,
) -> tuple[list[tuple[str, str, str | None, str]], dict[str, tuple[int, int]]]:
    """Take apart `git diff --raw --numstat -z`: (status, blob, previous path, path) and line counts."""
    entries: list[tuple[str, str, str | None, str]] = []
    counts: dict[str, tuple[int, int]] = {}
    parts = iter(raw.split("\x00"))
    for part in parts:
        if part.startswith(":"):
            _, _, _, blob, status = part.split(" ")
            path, previous = next(parts), None
            if status[0] in "RC":
                previous, path = path, next(parts)
            entries.append((status[0], blob, previous, path))
        elif part.count("\t") == 2:
            added, removed, path = part.split("\t")
            if not path:
                next(parts)
                path = next(parts)
            counts[path] = (0, 0) if added == "-" else (int(added), int(removed))
    return entries, counts
