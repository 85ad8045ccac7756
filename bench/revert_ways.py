"""The ways to take a merge back, from a script's fresh clone to ours, and the limit below which nobody can
go."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.revert_repositories import BRANCH, Subject, git
from bot.repository import CommitIdentity, GitRepositories
from policies.facts import RevertOutcome, RollbackOrder

BOT = CommitIdentity("bench[bot]", "bench@example.com")
STALE_BY = 15


@dataclass
class Measured:
    """Of one way: seconds from verdict to accepted push, a run each, and the largest RSS at one instant of the
    processes it starts, and of those and the process that started them."""

    seconds: list[float] = field(default_factory=list)
    git_bytes: int = 0
    """Of git's processes alone, at one instant; what ours needs beside the bot's own process."""
    all_bytes: int = 0


@dataclass(frozen=True)
class Place:
    """Where a way works: the server's address and a folder on the same disk."""

    subject: Subject
    server_url: str
    root: Path

    @property
    def url(self) -> str:
        return f"{self.server_url}/{self.subject.name}.git"

    def reset(self, tip: str) -> None:
        """The branch on the server at `tip`."""
        git(self.subject.bare, "update-ref", f"refs/heads/{BRANCH}", tip)

    def check(self, merge: str) -> None:
        """The branch stands one commit above the merge, with the tree from before it."""
        git(self.subject.bare, "merge-base", "--is-ancestor", merge, BRANCH)
        trees = git(self.subject.bare, "rev-parse", f"{BRANCH}^{{tree}}", f"{merge}^1^{{tree}}").split()
        if trees[0] != trees[1]:
            raise SystemExit(
                f"{self.subject.label}: the tree after the revert is not the one from before {merge}"
            )


@contextlib.contextmanager
def folder(place: Place) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=place.root))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Stretch:
    """The stretch that counts, from verdict to accepted push: its seconds and, if `weighed`, its largest RSS.

    Looking for memory takes processor time: what is over in a blink is not timed while it is weighed."""

    def __init__(self, weighed: bool) -> None:
        self.seconds = 0.0
        self.git_bytes = 0
        self.all_bytes = 0
        self._weighed = weighed
        self._began = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._before: set[int] = set()

    def begin(self) -> None:
        self._before = set(_descendants(os.getpid()))
        if self._weighed:
            self._thread.start()
        self._began = time.perf_counter()

    def end(self) -> None:
        self.seconds = time.perf_counter() - self._began
        if self._weighed:
            self._over.set()
            self._thread.join()

    def _look(self) -> None:
        """RSS of all processes of the way at one instant, every few milliseconds, the largest."""
        me = os.getpid()
        own = _command(me)
        while not self._over.is_set():
            pids = [pid for pid in _descendants(me) if pid not in self._before]
            # Between fork and exec a child still wears our memory, which is not its own.
            git_bytes = sum(_rss(pid) for pid in pids if _command(pid) != own)
            self.git_bytes = max(self.git_bytes, git_bytes)
            self.all_bytes = max(self.all_bytes, git_bytes + _rss(me))
            self._over.wait(0.003)


def _descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _rss(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


Way = Callable[[Place, str, Stretch], None]


# --- what a script does ---------------------------------------------------------------------------


def _revert_and_push(work: Path, merge: str) -> None:
    parents = git(work, "rev-list", "--parents", "-n1", merge).split()[1:]
    git(work, "revert", *(["-m", "1"] if len(parents) > 1 else []), "--no-edit", merge)
    git(work, "push", "-q", "origin", f"HEAD:refs/heads/{BRANCH}")


def _by_clone(*options: str, sparse: bool = False) -> Way:
    def run(place: Place, merge: str, stretch: Stretch) -> None:
        with folder(place) as path:
            stretch.begin()
            git(path, "clone", "-q", "--single-branch", "-b", BRANCH, *options, place.url, "work")
            work = path / "work"
            if sparse:
                touched = git(work, "diff-tree", "-r", "--name-only", f"{merge}^1", merge).split("\n")
                git(work, "sparse-checkout", "set", *{str(Path(each).parent) for each in touched})
            _revert_and_push(work, merge)
            stretch.end()

    return run


def _by_worktree(place: Place, merge: str, stretch: Stretch) -> None:
    mirror = _plain_mirror(place)
    with folder(place) as path:
        stretch.begin()
        git(mirror, "fetch", "-q", place.url, f"+refs/heads/{BRANCH}:refs/heads/{BRANCH}")
        git(mirror, "worktree", "add", "-q", "--detach", str(path / "work"), BRANCH)
        git(path / "work", "revert", "-m", "1", "--no-edit", merge)
        git(path / "work", "push", "-q", place.url, f"HEAD:refs/heads/{BRANCH}")
        stretch.end()
        git(mirror, "worktree", "remove", "--force", str(path / "work"))


def _limit(place: Place, merge: str, stretch: Stretch) -> None:
    mirror = _plain_mirror(place)
    commit = git(mirror, "commit-tree", "-p", merge, "-m", "Prepared", f"{merge}^1^{{tree}}")
    stretch.begin()
    git(mirror, "push", "-q", place.url, f"{commit}:refs/heads/{BRANCH}")
    stretch.end()


def _plain_mirror(place: Place) -> Path:
    mirror = place.root / "plain-mirror.git"
    if not mirror.exists():
        git(place.root, "clone", "-q", "--bare", "--single-branch", "-b", BRANCH, place.url, str(mirror))
    git(mirror, "fetch", "-q", place.url, f"+refs/heads/{BRANCH}:refs/heads/{BRANCH}")
    return mirror


# --- ours -----------------------------------------------------------------------------------------


class Ours:
    """Our reverter on a mirror that is fetched, or `behind` so many merges."""

    def __init__(self, behind: int = 0) -> None:
        self._behind = behind

    def __call__(self, place: Place, merge: str, stretch: Stretch) -> None:
        def heard(moment: str, args: tuple[str, ...]) -> None:
            if moment == "after" and args[0] == "push":
                stretch.end()

        repositories = GitRepositories(
            place.root / "data", place.server_url, lambda _: None, BOT, allow_http=True, observe=heard
        )
        merges = place.subject.merges
        seen = merges[max(merges.index(merge) - self._behind, 0)]
        place.reset(seen)
        repositories.refresh(place.subject.name, BRANCH)
        place.reset(merge)
        good = git(place.subject.bare, "rev-parse", f"{merge}^1")
        order = RollbackOrder(
            "bench", f"bench-{time.time_ns()}", place.subject.name, "bench", BRANCH, (merge,), merge, "bench", "bench",
            good_tree_of=good,
        )  # fmt: skip
        stretch.begin()
        done = repositories.revert(order)
        if done.outcome is not RevertOutcome.REVERTED:
            raise SystemExit(f"{place.subject.label}: {done.outcome}: {done.reason}")


FRESH, SHALLOW, BLOBLESS = "fresh full clone", "clone, depth 50", "blobless + sparse clone"
WORKTREE, OURS_STALE, OURS, LIMIT = (
    "kept mirror + full worktree",
    "ours, mirror stale",
    "ours",
    "limit: bare push",
)
WAYS: dict[str, Way] = {
    FRESH: _by_clone(),
    SHALLOW: _by_clone("--depth=50"),
    BLOBLESS: _by_clone("--filter=blob:none", "--sparse", sparse=True),
    WORKTREE: _by_worktree,
    OURS_STALE: Ours(STALE_BY),
    OURS: Ours(),
    LIMIT: _limit,
}


def measure(way: str, place: Place, merges: list[str], weighed: bool = False) -> Measured:
    """Take each of `merges` back once, each time from the state where it is the branch's tip."""
    run = WAYS[way]
    measured = Measured()
    for merge in merges:
        place.reset(merge)
        stretch = Stretch(weighed)
        run(place, merge, stretch)
        place.check(merge)
        measured.git_bytes = max(measured.git_bytes, stretch.git_bytes)
        measured.all_bytes = max(measured.all_bytes, stretch.all_bytes)
        measured.seconds.append(stretch.seconds)
    return measured
