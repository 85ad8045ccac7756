"""The forge's side of a deploy at GitHub: pull requests, our comments on them, deployments and roles."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import dropwhile, islice
from typing import TypeVar

import structlog
from github import GithubException, UnknownObjectException
from github.IssueComment import IssueComment
from github.PullRequest import PullRequest
from github.Repository import Repository

from bot.failures import CannotReachForge
from bot.github_access import GitHubAccess
from bot.github_failures import asking_github, once_only
from bot.sticky_comment import sendable, write_sticky
from policies.facts import PullRequestFacts, RepositoryAbout

Answer = TypeVar("Answer")

REACTIONS = frozenset({"eyes", "rocket", "-1", "confused", "+1"})
NOT_YET_BEGUN = frozenset({"waiting", "queued"})
"""States of a deployment that waits for a reviewer or a runner: it has not changed what is deployed."""
_FULL_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,99})(?:\[bot\])?")
log = structlog.get_logger(__name__)


LOOK_BACK_DEPLOYMENTS = 30


class GitHubPullRequests:
    """Fills `bot.ports.PullRequests`. Every method blocks, may be repeated, and raises CannotReachForge."""

    def __init__(self, access: GitHubAccess) -> None:
        self._access = access

    def of_commit(self, repository: str, sha: str, base: str | None = None) -> tuple[PullRequestFacts, ...]:
        """Merged pull requests that brought `sha`, best match first: merged as this commit, into `base`.

        A commit that GitHub does not know yet has none.
        """
        if not _FULL_SHA.fullmatch(sha):
            raise CannotReachForge(
                f"{sha[:80]!r} is no full commit id, so its pull request cannot be asked for."
            )

        def read(repo: Repository) -> list[PullRequest]:
            try:
                pulls = repo.get_commit(sha).get_pulls()
                return [pull for pull in pulls if pull.number and pull.merged_at is not None]
            except GithubException as error:
                if error.status == 422 and "no commit found" in (error.message or "").lower():
                    return []
                raise

        merged = self._ask(repository, f"list the pull requests of {sha[:12]} in {repository}", read)
        with asking_github(f"describe the pull requests of {sha[:12]} in {repository}"):
            # Of the rest the earliest brought the commit; later ones only carried it to other branches.
            ranked = sorted(
                merged,
                key=lambda pull: (
                    pull.merge_commit_sha != sha,
                    base is not None and pull.base.ref != base,
                    pull.merged_at,
                    pull.number,
                ),
            )
            return tuple(_facts(pull) for pull in ranked)

    def say(self, repository: str, number: int, marker: str, body: str, fresh: bool = False) -> str:
        """Create or edit the one comment of ours that begins with `marker`; its URL.

        `fresh` replaces it by a new one where the text is another, because only new comments notify people."""
        text = sendable(marker, body)
        me = self._access.me()
        return self._ask(
            repository,
            f"take our comment on {repository}#{number}",
            lambda repo: write_sticky(repo.get_issue(number), marker, text, me, fresh),
        )

    def propose(
        self, repository: str, head: str, base: str, title: str, body: str, draft: bool = False
    ) -> PullRequestFacts:
        """Open the pull request `head` → `base`, or return the one there already is.

        It merges by itself once checks and reviews allow, where the repository permits it; never a draft.
        """
        owner = repository.split("/", maxsplit=1)[0]

        def look(repo: Repository) -> PullRequest | None:
            """The open one; else one merged as it stands, for then there is nothing left to propose."""
            known = list(repo.get_pulls(state="all", head=f"{owner}:{head}", base=base))
            for pull in known:
                if pull.state == "open":
                    return pull
            for pull in known:
                if pull.merged_at is not None and pull.head.sha == repo.get_branch(head).commit.sha:
                    return pull
            return None

        def create(repo: Repository) -> PullRequest:
            try:
                return repo.create_pull(base=base, head=head, title=title, body=body, draft=draft)
            except GithubException as error:
                if error.status == 422 and (other := look(repo)) is not None:
                    return other
                raise

        def open_it(repo: Repository) -> PullRequestFacts:
            pull = once_only(lambda: look(repo), lambda: create(repo))
            if not draft and pull.state == "open":
                _merge_when_allowed(pull)
            return _facts(pull)

        return self._ask(repository, f"open the pull request {head} → {base} in {repository}", open_it)

    def deployed_sha(self, repository: str, environment: str) -> str | None:
        """The sha of the newest deployment of `environment` that has begun; None where there is none."""

        def read(repo: Repository) -> str | None:
            for deployment in repo.get_deployments(environment=environment):
                states = deployment.get_statuses()
                newest = next(iter(states), None)
                if newest is None or newest.state not in NOT_YET_BEGUN:
                    return deployment.sha
            return None

        return self._ask(repository, f"list the deployments of {repository} to {environment}", read)

    def deployed_before(self, repository: str, environment: str, sha: str) -> str | None:
        """The newest deployment that succeeded before those of `sha`; None if the forge knows none."""

        def read(repo: Repository) -> str | None:
            found = islice(repo.get_deployments(environment=environment), LOOK_BACK_DEPLOYMENTS)
            older = dropwhile(lambda deployment: deployment.sha != sha, found)
            for deployment in older:
                if deployment.sha == sha:
                    continue
                if any(status.state == "success" for status in deployment.get_statuses()):
                    return deployment.sha
            return None

        return self._ask(repository, f"list the deployments of {repository} to {environment}", read)

    def about(self, repository: str) -> RepositoryAbout:
        """The default branch, and whether the public is kept out (private, or internal to an enterprise)."""

        def read(repo: Repository) -> RepositoryAbout:
            return RepositoryAbout(repo.default_branch, bool(repo.private))

        return self._ask(repository, f"describe {repository}", read)

    def read_before(self, repository: str, sha: str, path: str) -> bytes | None:
        """The file as it stood in the first parent of `sha`; None without parent or file."""

        def read(repo: Repository) -> bytes | None:
            try:
                parents = repo.get_commit(sha).parents
                found = repo.get_contents(path, ref=parents[0].sha) if parents else None
            except UnknownObjectException:
                return None
            if found is None or isinstance(found, list) or found.type != "file":
                return None
            return found.decoded_content

        return self._ask(repository, f"read {path} of {repository} before {sha[:12]}", read)

    def role(self, repository: str, login: str) -> str:
        """`login`'s role: none, read, triage, write, maintain, admin, or the name of an organization's custom role."""
        if not LOGIN.fullmatch(login):
            raise CannotReachForge(f"{login[:60]!r} is no GitHub login, so its role cannot be asked for.")

        def read(repo: Repository) -> str:
            _, answer = repo.requester.requestJsonAndCheck(
                "GET", f"/repos/{repository}/collaborators/{login}/permission"
            )
            name = answer["role_name"]
            if not isinstance(name, str) or not name:
                raise TypeError("role_name is no text")
            return name

        return self._ask(repository, f"tell the role of {login} in {repository}", read)

    def react(self, repository: str, comment_id: int, reaction: str) -> None:
        """Put `reaction` on a comment; GitHub keeps one of a kind from us, so it may be repeated."""
        if reaction not in REACTIONS:
            raise ValueError(f"{reaction!r} is none of {sorted(REACTIONS)}")

        def put(repo: Repository) -> None:
            comment = IssueComment(repo.requester, url=f"/repos/{repository}/issues/comments/{comment_id}")
            once_only(lambda: None, lambda: comment.create_reaction(reaction))

        self._ask(repository, f"take our reaction to a comment in {repository}", put)

    def _ask(self, repository: str, what: str, call: Callable[[Repository], Answer]) -> Answer:
        """Run `call`; if GitHub refused the cached credentials, nothing was done: once more with new ones."""
        with asking_github(what):
            repo = self._access.for_repository(repository)
            try:
                return call(repo)
            except GithubException as error:
                if error.status != 401:
                    raise
                self._access.forget(repository)
                return call(repo)


def _facts(pull: PullRequest) -> PullRequestFacts:
    return PullRequestFacts(
        number=pull.number,
        title=pull.title or "",
        author=pull.user.login if pull.user else "ghost",
        url=pull.html_url,
        head_ref=pull.head.ref,
        base_ref=pull.base.ref,
        merged=pull.merged_at is not None,
    )


def _merge_when_allowed(pull: PullRequest) -> None:
    """Ask for auto-merge, the way that keeps the commit first; a repository that forbids it is no failure."""
    for method in ("MERGE", "REBASE", "SQUASH"):
        try:
            with asking_github("switch on auto-merge"):
                pull.enable_automerge(merge_method=method)
            return
        except CannotReachForge as failure:
            log.info(
                "auto-merge not switched on", pull_request=pull.number, method=method, why=failure.reason
            )
