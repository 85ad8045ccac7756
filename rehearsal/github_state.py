"""What the stand-in GitHub remembers besides git: people, repositories, pull requests, deployments."""

from __future__ import annotations

import base64
import itertools
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROLES = ("none", "read", "triage", "write", "maintain", "admin")


def iso(at_s: float | None) -> str | None:
    """GitHub's way to write a moment: UTC, whole seconds, `Z`."""
    return None if at_s is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


def node_id(kind: str, number: int) -> str:
    """An opaque global id in GitHub's older form, base64 of length, kind and number."""
    return base64.b64encode(f"0{len(kind)}:{kind}{number}".encode()).decode()


@dataclass(slots=True)
class User:
    id: int
    login: str
    type: str = "User"
    name: str | None = None
    email: str | None = None
    created_s: float = 0.0

    @property
    def commit_email(self) -> str:
        return self.email or f"{self.id}+{self.login}@users.noreply.github.com"


@dataclass(slots=True)
class App:
    """The GitHub App that the bot is; `public_key_pem` verifies the JWTs it signs."""

    id: int
    slug: str
    name: str
    owner: User
    bot: User
    public_key_pem: bytes
    permissions: dict[str, str]
    events: list[str]
    created_s: float
    installation_id: int
    client_id: str = ""


@dataclass(slots=True)
class Token:
    """A secret that signs its holder in; `app` is set for installation tokens, which expire."""

    secret: str
    user: User
    app: App | None = None
    permissions: dict[str, str] = field(default_factory=dict)
    expires_s: float | None = None
    repository_ids: frozenset[int] | None = None


@dataclass(slots=True)
class Protection:
    """What a protected branch asks for; nobody but `bypass` (logins) may push to it."""

    required_reviews: int = 1
    required_checks: tuple[str, ...] = ()
    bypass: frozenset[str] = frozenset()


@dataclass(slots=True)
class PullRequest:
    id: int
    number: int
    title: str
    body: str | None
    author: User
    head_ref: str
    head_sha: str
    base_ref: str
    base_sha: str
    created_s: float
    updated_s: float
    draft: bool = False
    state: str = "open"
    merged: bool = False
    merged_s: float | None = None
    closed_s: float | None = None
    merged_by: User | None = None
    merge_commit_sha: str | None = None
    introduced: frozenset[str] = frozenset()
    auto_merge_method: str | None = None
    auto_merge_by: User | None = None
    labels: list[str] = field(default_factory=list)
    locked: bool = False


@dataclass(slots=True)
class Reaction:
    id: int
    user: User
    content: str
    created_s: float


@dataclass(slots=True)
class Comment:
    id: int
    issue_number: int
    author: User
    body: str
    created_s: float
    updated_s: float
    via_app: App | None = None
    reactions: list[Reaction] = field(default_factory=list)
    edits: int = 0


@dataclass(slots=True)
class DeploymentStatus:
    id: int
    state: str
    creator: User
    description: str
    environment: str
    environment_url: str
    log_url: str
    created_s: float


@dataclass(slots=True)
class Deployment:
    id: int
    sha: str
    ref: str
    environment: str
    creator: User
    created_s: float
    task: str = "deploy"
    description: str | None = None
    payload: Any = field(default_factory=dict)
    transient: bool = False
    production: bool = False
    statuses: list[DeploymentStatus] = field(default_factory=list)


@dataclass(slots=True)
class WorkflowRun:
    id: int
    number: int
    name: str
    head_sha: str
    head_branch: str
    actor: User
    created_s: float
    updated_s: float
    display_title: str
    status: str = "requested"
    conclusion: str | None = None
    event: str = "push"


@dataclass(slots=True)
class CheckRun:
    id: int
    name: str
    head_sha: str
    app: App | None
    started_s: float
    status: str = "queued"
    conclusion: str | None = None
    completed_s: float | None = None
    details_url: str | None = None
    external_id: str = ""
    output: dict[str, Any] = field(default_factory=dict)
    actions: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class CommitStatus:
    id: int
    sha: str
    state: str
    context: str
    creator: User
    created_s: float
    description: str | None = None
    target_url: str | None = None


@dataclass(slots=True)
class Label:
    id: int
    name: str
    color: str = "ededed"
    description: str | None = None


@dataclass(slots=True)
class Repository:
    id: int
    owner: User
    name: str
    path: Path
    created_s: float
    default_branch: str = "main"
    private: bool = False
    description: str | None = None
    pushed_s: float = 0.0
    allow_auto_merge: bool = True
    roles: dict[str, str] = field(default_factory=dict)
    custom_roles: dict[str, str] = field(default_factory=dict)
    protected: dict[str, Protection] = field(default_factory=dict)
    pulls: dict[int, PullRequest] = field(default_factory=dict)
    comments: dict[int, Comment] = field(default_factory=dict)
    deployments: dict[int, Deployment] = field(default_factory=dict)
    workflow_runs: dict[int, WorkflowRun] = field(default_factory=dict)
    check_runs: dict[int, CheckRun] = field(default_factory=dict)
    commit_statuses: list[CommitStatus] = field(default_factory=list)
    labels: dict[str, Label] = field(default_factory=dict)
    last_number: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    def role_of(self, login: str) -> str:
        """What a login may do, one of ROLES; a public repository is readable by everyone."""
        name = self.role_name_of(login)
        return self.custom_roles.get(name, name)

    def role_name_of(self, login: str) -> str:
        """The collaborator role of a login by its name, which may be a custom one of the organization's."""
        return self.roles.get(login, "none" if self.private else "read")

    def comments_on(self, number: int) -> list[Comment]:
        return sorted((c for c in self.comments.values() if c.issue_number == number), key=lambda c: c.id)


def at_least(role: str, wanted: str) -> bool:
    """Whether a collaborator role includes another one."""
    return ROLES.index(role) >= ROLES.index(wanted)


class Ledger:
    """Every record of the stand-in, with the numbers it hands out; guarded by one lock."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.repositories: dict[str, Repository] = {}
        self.tokens: dict[str, Token] = {}
        self.app: App | None = None
        self.teams: dict[str, dict[str, str]] = {}
        """`org/team-slug` → login → `active` or `pending` (invited)."""
        self._ids = itertools.count(int(time.time()) % 1_000_000 * 1000 + 1_000_000_000)

    def next_id(self) -> int:
        with self.lock:
            return next(self._ids)

    def user(self, login: str, kind: str = "User", **facts: Any) -> User:
        """The user of that login, made when it is new."""
        with self.lock:
            known = self.users.get(login.lower())
            if known is None:
                known = User(self.next_id(), login, kind, created_s=time.time() - 86_400 * 400, **facts)
                self.users[login.lower()] = known
            return known

    def repository(self, owner: str, name: str) -> Repository | None:
        return self.repositories.get(f"{owner}/{name}".lower())
