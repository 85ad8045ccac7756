"""Real git repositories for tests: histories built with plain git, and a plain `git revert` to compare
with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "Dana",
    "GIT_AUTHOR_EMAIL": "dana@example.com",
    "GIT_COMMITTER_NAME": "Dana",
    "GIT_COMMITTER_EMAIL": "dana@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C",
}


def git(folder: Path, *args: str | bytes, stdin: bytes = b"", check: bool = True, **env: str) -> bytes:
    """Run plain git and give its standard output; the test's own git, not the bot's."""
    done = run_git(folder, *args, stdin=stdin, **env)
    if check and done.returncode:
        raise AssertionError(f"git {args!r} → {done.returncode}\n{done.stdout!r}\n{done.stderr!r}")
    return done.stdout


def run_git(
    folder: Path, *args: str | bytes, stdin: bytes = b"", **env: str
) -> subprocess.CompletedProcess[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", str(folder), *args], input=stdin, capture_output=True, env={**clean, **IDENTITY, **env}
    )


class History:
    """A working clone that pushes to a bare repository: where a team's commits come from."""

    def __init__(self, root: Path, name: str = "acme/stagelog", branch: str = "develop") -> None:
        self.root = root
        self.name = name
        self.branch = branch
        self.bare = root / f"{name}.git"
        self.work = root / "work" / name
        self.bare.parent.mkdir(parents=True, exist_ok=True)
        self.work.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "init", "-q", "--bare", "-b", branch, str(self.bare)], check=True)
        git(self.bare, "config", "receive.advertisePushOptions", "true")
        git(self.bare, "config", "http.receivepack", "true")
        subprocess.run(["git", "init", "-q", "-b", branch, str(self.work)], check=True)
        git(self.work, "config", "core.autocrlf", "false")
        git(self.work, "remote", "add", "origin", str(self.bare))

    # --- making history ---------------------------------------------------------------------------

    def write(self, files: Mapping[str | bytes, str | bytes | None]) -> None:
        """Put files into the work tree; None removes one."""
        for name, content in files.items():
            path = self.work / os.fsdecode(name)
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(
        self, message: str | bytes, files: Mapping[str | bytes, str | bytes | None] | None = None
    ) -> str:
        """A commit with everything in the work tree; its sha."""
        self.write(files or {})
        git(self.work, "add", "-A")
        raw = message if isinstance(message, bytes) else message.encode()
        git(self.work, "commit", "-q", "--allow-empty", "--cleanup=verbatim", "-F", "-", stdin=raw)
        return self.head()

    def head(self, ref: str = "HEAD") -> str:
        return git(self.work, "rev-parse", ref).decode().strip()

    def tree(self, ref: str = "HEAD") -> str:
        return self.head(f"{ref}^{{tree}}")

    def switch(self, branch: str, start: str | None = None) -> None:
        git(self.work, "checkout", "-q", *(["-B", branch, start] if start else [branch]))

    def merged(
        self,
        files: Mapping[str | bytes, str | bytes | None],
        message: str | bytes = "Merge pull request #42 from acme/feature",
        feature: str = "feature",
        start: str | None = None,
    ) -> str:
        """A true merge of a one-commit feature branch into the branch; the merge's sha."""
        self.switch(feature, start or self.branch)
        self.commit("Work on it", files)
        self.switch(self.branch)
        return self.merge(feature, message=message)

    def merge(self, *features: str, message: str | bytes = "Merge pull request #42 from acme/feature") -> str:
        raw = message if isinstance(message, bytes) else message.encode()
        said = self.root / "merge-message"
        said.write_bytes(raw)
        git(self.work, "merge", "-q", "--no-ff", "--cleanup=verbatim", "-F", str(said), *features)
        return self.head()

    def push(self, *, force: bool = False, branch: str | None = None) -> str:
        """Push the branch to the bare repository; its head."""
        name = branch or self.branch
        git(self.work, "push", "-q", *(["--force"] if force else []), "origin", name)
        return self.head(name)

    # --- looking at the bare repository -----------------------------------------------------------

    def remote_head(self, branch: str | None = None) -> str | None:
        out = git(self.bare, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch or self.branch}")
        return out.decode().strip() or None

    def remote_tree(self, branch: str | None = None) -> str:
        return git(self.bare, "rev-parse", f"refs/heads/{branch or self.branch}^{{tree}}").decode().strip()

    def remote_refs(self) -> dict[str, str]:
        lines = git(self.bare, "for-each-ref", "--format=%(refname) %(objectname)").decode().split("\n")
        return dict(line.split(" ") for line in lines if line)

    def message(self, ref: str) -> str:
        return git(self.bare, "log", "-1", "--format=%B", ref).decode()

    def count(self, since: str, branch: str | None = None) -> int:
        """How many commits the bare branch has on top of `since`."""
        return int(git(self.bare, "rev-list", "--count", f"{since}..refs/heads/{branch or self.branch}"))

    def hook(self, name: str, script: str) -> None:
        """A server-side hook of the bare repository."""
        path = self.bare / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


PROTECTED = """
while read old new ref; do
  if [ "$ref" = refs/heads/develop ]; then
    echo "error: GH006: Protected branch update failed for $ref." >&2
    echo "error: Changes must be made through a pull request." >&2
    exit 1
  fi
done
"""


@dataclass(frozen=True, slots=True)
class PlainRevert:
    """What `git revert -m 1` in a full checkout says: `clean`, `conflict`, `empty` or `failed`."""

    outcome: str
    tree: str | None
    conflicts: tuple[bytes, ...]
    err: str = ""


def plain_revert(repository: Path, head: str, commits: tuple[str, ...], scratch: Path) -> PlainRevert:
    """Check everything out in full and revert plainly, newest first as given."""
    subprocess.run(["rm", "-rf", str(scratch)], check=True)
    env = {"GIT_NO_REPLACE_OBJECTS": "1"}
    subprocess.run(["git", "init", "-q", str(scratch)], check=True)
    (scratch / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (scratch / ".git" / "objects" / "info" / "alternates").write_text(f"{_objects(repository)}\n")
    git(scratch, "-c", "advice.detachedHead=false", "checkout", "-q", "--detach", head, **env)
    made = False
    for sha in commits:
        done = run_git(scratch, "revert", "-m", "1", "--no-edit", sha, GIT_EDITOR="false", **env)
        if done.returncode == 0:
            made = True
            continue
        unmerged = git(scratch, "ls-files", "-u", "-z", **env)
        if unmerged:
            paths = {entry.partition(b"\t")[2] for entry in unmerged.split(b"\0")[:-1]}
            return PlainRevert("conflict", None, tuple(sorted(paths)))
        if done.returncode != 1:
            return PlainRevert("failed", None, (), done.stderr.decode("utf-8", "replace"))
        if run_git(scratch, "diff-index", "--cached", "--quiet", "HEAD", **env).returncode:
            return PlainRevert("conflict", None, ())
        git(scratch, "revert", "--quit", **env)
    tree = git(scratch, "rev-parse", "HEAD^{tree}", **env).decode().strip()
    return PlainRevert("clean" if made else "empty", tree, ())


def _objects(repository: Path) -> Path:
    return repository / ".git" / "objects" if (repository / ".git").is_dir() else repository / "objects"
