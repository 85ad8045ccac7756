"""Writes StageLog's past into a bare repository: commits, merged pull requests, and the next branches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rehearsal.github import GitHub
from rehearsal.github_git import run_git
from rehearsal.github_state import PullRequest, Repository, User

SOURCE = Path(__file__).with_name("stagelog")
DAY_S = 86_400.0
PLACES = {
    "rollback.yml": ".github/rollback.yml",
    "deploy.yml": ".github/workflows/deploy.yml",
    "readme.txt": "README.md",
    "Dockerfile.txt": "Dockerfile",
}
"""Names here → names in the repository, where they differ."""

BROKEN_BRANCH = "feature/uploads-presign"
HARMLESS_BRANCH = "feature/time-zone-note"
BROKEN_PULL, HARMLESS_PULL = 42, 43


@dataclass(frozen=True, slots=True)
class Step:
    """One commit: who, when (days ago), what it says, the files it brings (names below a source folder)."""

    author: str
    days_ago: float
    message: str
    files: tuple[str, ...]
    folder: str = "base"


@dataclass(frozen=True, slots=True)
class Landed:
    """A pull request that was merged before the story begins."""

    number: int
    branch: str
    title: str
    steps: tuple[Step, ...]
    merged_by: str
    merged_days_ago: float


PAST: tuple[Step | Landed, ...] = (
    Step(
        "priya",
        61,
        "Start StageLog: a Django project with one page",
        (
            "manage.py",
            "config/__init__.py",
            "config/settings.py",
            "config/urls.py",
            "config/wsgi.py",
            "requirements.txt",
            "readme.txt",
        ),
    ),
    Step(
        "priya",
        60,
        "Keep stages in the database",
        (
            "stages/__init__.py",
            "stages/models.py",
            "stages/migrations/__init__.py",
            "stages/migrations/0001_initial.py",
        ),
    ),
    Landed(
        38,
        "feature/stage-list",
        "Show the stages, newest first",
        (
            Step(
                "dana",
                45,
                "List stages on the front page",
                (
                    "stages/views.py",
                    "stages/templates/stages/list.html",
                ),
            ),
            Step("dana", 44.5, "Give the page a little air", ("stages/static/stages/style.css",)),
        ),
        "lee",
        44,
    ),
    Landed(
        39,
        "chore/container",
        "Run in a container",
        (
            Step("lee", 30, "Add a Dockerfile", ("Dockerfile.txt",)),
            Step("lee", 29.9, "Collect static files, migrate, then serve", ("start.sh",)),
            Step("lee", 29.8, "Print the configuration at boot while we debug develop", ("boot_report.py",)),
        ),
        "priya",
        29,
    ),
    Landed(
        40,
        "chore/deploy-on-push",
        "Deploy develop on push",
        (Step("lee", 21, "Deploy develop on every push", ("deploy.yml",)),),
        "priya",
        20,
    ),
)
GUARD = Landed(
    41,
    "chore/rollback-bot",
    "Let the rollback bot guard develop",
    (Step("priya", 3, "Add the rollback bot's configuration", ("rollback.yml",)),),
    "lee",
    2,
)
BROKEN = (
    Step("dana", 4, "Sign upload addresses", ("uploads/__init__.py", "uploads/presign.py"), "broken"),
    Step("dana", 3.5, "Serve POST /api/uploads/presign", ("config/urls.py",), "broken"),
    Step("dana", 1, "Read the S3 settings from the environment", ("config/settings.py",), "broken"),
)
HARMLESS = (
    Step("lee", 1, "Say which time zone the list is in", ("stages/templates/stages/list.html",), "harmless"),
)

BROKEN_BODY = """Browsers upload straight to S3 with an address that StageLog signs.

- `POST /api/uploads/presign` with `{"filename": "test.png"}`
- the settings come from the environment: `AWS_REGION`, `S3_UPLOAD_BUCKET`, `S3_UPLOAD_PREFIX` and
  `S3_PUBLIC_BASE_URL`
"""


class History:
    """Speaks git's fast-import, so that a past of a dozen commits is one process."""

    def __init__(self, github: GitHub, repository: Repository, replaced: dict[str, str]) -> None:
        self.github, self.repository = github, repository
        self.replaced = replaced
        self.now = time.time()
        self._lines: list[bytes] = []
        self._mark = 0

    def write(self) -> None:
        """Fill the repository and record its pull requests."""
        tip = None
        landed: list[tuple[Landed, int, int, int]] = []
        for one in PAST:
            tip = self._land(one, tip, landed) if isinstance(one, Landed) else self._step(one, "develop", tip)
        broken, harmless = tip, tip
        for step in BROKEN:
            broken = self._step(step, BROKEN_BRANCH, broken)
        for step in HARMLESS:
            harmless = self._step(step, HARMLESS_BRANCH, harmless)
        self._land(GUARD, tip, landed)
        self._lines.append(b"done\n")
        self._import(landed)

    def _import(self, landed: list[tuple[Landed, int, int, int]]) -> None:
        path = self.repository.path
        marks = path / "history.marks"
        run_git(
            path,
            "fast-import",
            "--quiet",
            "--done",
            f"--export-marks={marks}",
            stdin=b"".join(self._lines),
        )
        lines = [line.split(" ") for line in marks.read_text().splitlines()]
        shas = {int(mark.lstrip(":")): sha for mark, sha in lines}
        marks.unlink()
        for one, base, head, merge in landed:
            self._record(one, shas[base], shas[head], shas[merge])
        self.repository.last_number = max(one.number for one, *_ in landed)

    def _record(self, one: Landed, base: str, head: str, merge: str) -> None:
        opened, merged = self._at(one.steps[0].days_ago), self._at(one.merged_days_ago)
        pull = PullRequest(
            self.github.ledger.next_id() * 10,
            one.number,
            one.title,
            None,
            self.github.user(one.steps[0].author),
            one.branch,
            head,
            "develop",
            base,
            opened,
            merged,
            state="closed",
            merged=True,
            merged_s=merged,
            closed_s=merged,
            merged_by=self.github.user(one.merged_by),
            merge_commit_sha=merge,
        )
        git = self.github.git(self.repository)
        introduced = {commit.sha for commit in git.commits(merge, f"^{base}")}
        pull.introduced = frozenset(introduced)
        self.repository.pulls[pull.number] = pull
        git.update(f"refs/pull/{pull.number}/head", head)

    def _land(self, one: Landed, tip: int | None, landed: list[tuple[Landed, int, int, int]]) -> int:
        assert tip is not None
        head = tip
        for step in one.steps:
            head = self._step(step, f"landed/{one.number}", head)
        owner = self.repository.owner.login
        message = f"Merge pull request #{one.number} from {owner}/{one.branch}\n\n{one.title}"
        merge = self._commit(
            "develop",
            self.github.user(one.merged_by),
            one.merged_days_ago,
            message,
            [tip, head],
            [path for step in one.steps for path in self._files(step)],
            by_web=True,
        )
        landed.append((one, tip, head, merge))
        self._lines.append(f"reset refs/heads/landed/{one.number}\nfrom {'0' * 40}\n\n".encode())
        return merge

    def _step(self, step: Step, branch: str, parent: int | None) -> int:
        author = self.github.user(step.author)
        parents = [] if parent is None else [parent]
        return self._commit(branch, author, step.days_ago, step.message, parents, self._files(step))

    def _files(self, step: Step) -> list[tuple[str, str, bytes]]:
        """(mode, path in the repository, content) of what a step brings."""
        found = []
        for name in step.files:
            source = SOURCE / step.folder / name
            text = source.read_text()
            for word, value in self.replaced.items():
                text = text.replace(word, value)
            mode = "100755" if name in ("start.sh", "manage.py") else "100644"
            found.append((mode, PLACES.get(name, name), text.encode()))
        return found

    def _commit(
        self,
        branch: str,
        author: User,
        days_ago: float,
        message: str,
        parents: list[int],
        files: list[tuple[str, str, bytes]],
        *,
        by_web: bool = False,
    ) -> int:
        self._mark += 1
        at = f"{int(self._at(days_ago))} +0000"
        who = f"{author.name or author.login} <{author.commit_email}> {at}"
        committer = f"GitHub <noreply@github.com> {at}" if by_web else who
        text = message.encode() + b"\n"
        lines = [
            f"commit refs/heads/{branch}\nmark :{self._mark}\nauthor {who}\ncommitter {committer}\n".encode(),
            b"data %d\n%s\n" % (len(text), text),
        ]
        for word, parent in zip(("from", "merge"), parents, strict=False):
            lines.append(f"{word} :{parent}\n".encode())
        for mode, path, content in files:
            lines.append(f"M {mode} inline {path}\ndata {len(content)}\n".encode() + content + b"\n")
        self._lines += [*lines, b"\n"]
        return self._mark

    def _at(self, days_ago: float) -> float:
        return self.now - days_ago * DAY_S


def write_history(
    github: GitHub, repository: Repository, environment_url: str, *, watch_for_s: int = 60
) -> None:
    """StageLog as it stands before the story, with pull requests 38 to 41 merged."""
    replaced = {"ENVIRONMENT_URL": environment_url, "WATCH_FOR_S": str(watch_for_s)}
    History(github, repository, replaced).write()


def open_broken_pull(github: GitHub, repository: Repository) -> PullRequest:
    """Pull request #42, which loses STATIC_ROOT from the settings."""
    return github.pulls.open(
        repository,
        github.user("dana"),
        head=BROKEN_BRANCH,
        base="develop",
        title="Presigned uploads to S3",
        body=BROKEN_BODY,
        number=BROKEN_PULL,
    )


def open_harmless_pull(github: GitHub, repository: Repository) -> PullRequest:
    return github.pulls.open(
        repository,
        github.user("lee"),
        head=HARMLESS_BRANCH,
        base="develop",
        title="Say which time zone the list is in",
        body="Producers in two countries asked.",
        number=HARMLESS_PULL,
    )
