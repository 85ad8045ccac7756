"""Talks on a pull request at GitHub as commands need it: what it is, reactions, answers, open ones of a branch."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from github import UnknownObjectException
from github.PullRequest import PullRequest
from github.Repository import Repository

from bot.failures import CannotReachForge
from bot.pull_requests import LOGIN, GitHubPullRequests
from policies.asked import PullHead
from policies.facts import PullRequestFacts


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull request now. `merge_sha` is the commit it became on its base; None unless it is merged."""

    facts: PullRequestFacts
    is_open: bool
    merge_sha: str | None
    base_head_sha: str


class GitHubConversation(GitHubPullRequests):
    """More of GitHub's side of a pull request. Every method blocks, may be repeated, and raises
    CannotReachForge."""

    def pull(self, repository: str, number: int) -> Pull:
        """The pull request and the present head of the branch it goes to."""

        def read(repo: Repository) -> Pull:
            pull = repo.get_pull(number)
            return Pull(
                facts=_facts(pull),
                is_open=pull.state == "open",
                merge_sha=pull.merge_commit_sha if pull.merged_at is not None else None,
                base_head_sha=_head_of_base(repo, pull),
            )

        return self._ask(repository, f"describe {repository}#{number}", read)

    def is_member(self, repository: str, team: str, login: str) -> bool:
        """Whether `login` is an active member of `team` (`org/slug`); a team that we may not see has no members
        for us. An App needs the organization permission "Members: read"."""
        org, _, slug = team.partition("/")
        if not LOGIN.fullmatch(login):
            raise CannotReachForge(f"{login[:60]!r} is no GitHub login, so its teams cannot be asked for.")

        def read(repo: Repository) -> bool:
            path = f"/orgs/{quote(org, safe='')}/teams/{quote(slug, safe='')}/memberships/{quote(login, safe='')}"
            try:
                _, answer = repo.requester.requestJsonAndCheck("GET", path)
            except UnknownObjectException:
                return False
            return bool(answer["state"] == "active")

        return self._ask(repository, f"tell whether {login} is in the team {team}", read)

    def open_heads(self, repository: str, base: str) -> tuple[PullHead, ...]:
        """The newest commit of every open pull request to `base`."""

        def read(repo: Repository) -> tuple[PullHead, ...]:
            pulls = repo.get_pulls(state="open", base=base)
            return tuple(PullHead(repository, pull.number, base, pull.head.sha) for pull in pulls)

        return self._ask(repository, f"list the open pull requests to {base} of {repository}", read)


def _head_of_base(repo: Repository, pull: PullRequest) -> str:
    """Where the base branch is now; where it is gone (a stack of pull requests, an old release), where it was."""
    try:
        return repo.get_branch(pull.base.ref).commit.sha
    except UnknownObjectException:
        return pull.base.sha


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
