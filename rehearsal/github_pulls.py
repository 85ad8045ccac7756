"""Pull requests of the stand-in GitHub: opened, kept in step with git, merged by real git in three ways."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rehearsal.github_git import GitCommit, MergeConflict, Signature
from rehearsal.github_shapes import Json
from rehearsal.github_shapes_work import PullFacts
from rehearsal.github_state import PullRequest, Repository, User

if TYPE_CHECKING:
    from rehearsal.github import GitHub

MERGE_METHODS = ("merge", "squash", "rebase")


class CannotMerge(Exception):
    """The pull request cannot be merged now; `status` is GitHub's code for it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class Merged:
    sha: str
    tree: str
    before: str


def now_in_git() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())


class PullRequests:
    def __init__(self, github: GitHub) -> None:
        self._github = github

    def shape(self, repository: Repository, pull: PullRequest) -> Json:
        return self._github.shapes.pull(repository, pull, self.facts(repository, pull))

    def facts(self, repository: Repository, pull: PullRequest) -> PullFacts:
        git = self._github.git(repository)
        files = git.changed_files(self.fork_point(repository, pull), pull.head_sha)
        mergeable: bool | None = None
        if pull.state == "open":
            try:
                git.merged_tree(git.head(pull.base_ref) or pull.base_sha, pull.head_sha)
                mergeable = True
            except MergeConflict:
                mergeable = False
        return PullFacts(
            sum(file.additions for file in files),
            sum(file.deletions for file in files),
            len(files),
            len(self.commits(repository, pull)),
            mergeable,
            self._mergeable_state(repository, pull, mergeable),
        )

    def _mergeable_state(self, repository: Repository, pull: PullRequest, mergeable: bool | None) -> str:
        if mergeable is None:
            return "unknown"
        if not mergeable:
            return "dirty"
        if pull.draft:
            return "draft"
        rule = repository.protected.get(pull.base_ref)
        return "blocked" if rule and rule.required_reviews else "clean"

    def fork_point(self, repository: Repository, pull: PullRequest) -> str:
        """Where the pull request's own changes begin; fixed once it is merged."""
        git = self._github.git(repository)
        return git.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha

    def commits(self, repository: Repository, pull: PullRequest) -> list[GitCommit]:
        """The pull request's commits, oldest first."""
        return self._github.git(repository).between(pull.base_sha, pull.head_sha)

    def open(
        self,
        repository: Repository,
        author: User,
        *,
        head: str,
        base: str,
        title: str,
        body: str | None = None,
        draft: bool = False,
        number: int | None = None,
    ) -> PullRequest:
        """Open a pull request between two branches; ValueError says why GitHub would not."""
        git = self._github.git(repository)
        head_sha, base_sha = git.head(head), git.head(base)
        if head_sha is None or base_sha is None:
            raise ValueError("head" if head_sha is None else "base")
        with repository.lock:
            for other in repository.pulls.values():
                if other.state == "open" and (other.head_ref, other.base_ref) == (head, base):
                    owner = repository.owner.login
                    raise ValueError(f"A pull request already exists for {owner}:{head}.")
            if git.count(f"{base_sha}..{head_sha}") == 0:
                raise ValueError(f"No commits between {base} and {head}")
            repository.last_number = number if number is not None else repository.last_number + 1
            now = time.time()
            pull = PullRequest(
                self._github.ledger.next_id() * 10,
                repository.last_number,
                title,
                body,
                author,
                head,
                head_sha,
                base,
                base_sha,
                now,
                now,
                draft=draft,
            )
            repository.pulls[pull.number] = pull
            git.update(f"refs/pull/{pull.number}/head", head_sha)
        self._github.events.pull_request("opened", repository, pull, author)
        return pull

    def close(self, repository: Repository, pull: PullRequest, by: User) -> None:
        if pull.state == "open":
            pull.state, pull.closed_s, pull.updated_s = "closed", time.time(), time.time()
            self._github.events.pull_request("closed", repository, pull, by)

    def merge(
        self,
        repository: Repository,
        number: int,
        by: User,
        *,
        method: str = "merge",
        title: str | None = None,
        message: str | None = None,
        expected_head: str | None = None,
        admin: bool = False,
    ) -> Merged:
        """Merge an open pull request; CannotMerge carries GitHub's answer when it is not possible.

        `admin` merges past the branch's review rule, as a maintainer with that right does.
        """
        git = self._github.git(repository)
        with repository.lock:
            pull = repository.pulls[number]
            self._check_mergeable(repository, pull, expected_head, admin)
            base = git.head(pull.base_ref)
            assert base is not None
            try:
                sha = self._merge_commit(repository, pull, base, by, method, title, message)
            except MergeConflict as conflict:
                raise CannotMerge(405, "Pull Request is not mergeable") from conflict
            git.update(f"refs/heads/{pull.base_ref}", sha, base)
            self._mark_merged(repository, pull, by, base, sha)
        self._github.branch_moved(repository, f"refs/heads/{pull.base_ref}", base, sha, by)
        self._github.events.pull_request("closed", repository, pull, by)
        return Merged(sha, git.commit(sha).tree, base)

    def _check_mergeable(
        self, repository: Repository, pull: PullRequest, expected_head: str | None, admin: bool
    ) -> None:
        if pull.state != "open":
            raise CannotMerge(405, "Pull Request is not mergeable")
        if pull.draft:
            raise CannotMerge(405, "Pull Request is still a draft")
        if expected_head is not None and expected_head != pull.head_sha:
            raise CannotMerge(409, "Head branch was modified. Review and try the merge again.")
        rule = repository.protected.get(pull.base_ref)
        if rule is not None and rule.required_reviews and not admin:
            raise CannotMerge(
                405,
                f"At least {rule.required_reviews} approving review is required by reviewers with write "
                "access.",
            )

    def _merge_commit(
        self,
        repository: Repository,
        pull: PullRequest,
        base: str,
        by: User,
        method: str,
        title: str | None,
        message: str | None,
    ) -> str:
        git = self._github.git(repository)
        at = now_in_git()
        web = Signature("GitHub", "noreply@github.com", at)
        if method == "rebase":
            return git.rebase(base, pull.head_sha, Signature(by.name or by.login, by.commit_email, at))
        tree = git.merged_tree(base, pull.head_sha)
        if method == "squash":
            commits = self.commits(repository, pull)
            subject = title or f"{pull.title if len(commits) > 1 else commits[0].subject} (#{pull.number})"
            listed = "\n\n".join("* " + commit.message for commit in commits)
            if len(commits) == 1:
                listed = commits[0].message.partition("\n")[2].strip("\n")
            text = f"{subject}\n\n{listed if message is None else message}".rstrip() + "\n"
            author = pull.author
            who = Signature(author.name or author.login, author.commit_email, at)
            return git.commit_tree(tree, [base], text, who, web)
        subject = title or (
            f"Merge pull request #{pull.number} from {repository.owner.login}/{pull.head_ref}"
        )
        text = f"{subject}\n\n{pull.title if message is None else message}".rstrip() + "\n"
        who = Signature(by.name or by.login, by.commit_email, at)
        return git.commit_tree(tree, [base, pull.head_sha], text, who, web)

    def _mark_merged(
        self, repository: Repository, pull: PullRequest, by: User, before: str, sha: str
    ) -> None:
        git = self._github.git(repository)
        own = {commit.sha for commit in self.commits(repository, pull)}
        introduced = {commit.sha for commit in git.commits(sha, f"^{before}", limit=1000)}
        pull.base_sha = before
        pull.introduced = frozenset(own | introduced)
        pull.state, pull.merged, pull.merged_by, pull.merge_commit_sha = "closed", True, by, sha
        pull.merged_s = pull.closed_s = pull.updated_s = time.time()

    def containing(self, repository: Repository, sha: str) -> list[PullRequest]:
        """The merged pull requests that introduced a commit, and open ones of a commit not yet merged."""
        git = self._github.git(repository)
        default = git.head(repository.default_branch)
        landed = default is not None and git.is_ancestor(sha, default)
        found = []
        for pull in repository.pulls.values():
            if pull.merged:
                if sha in pull.introduced:
                    found.append(pull)
            elif pull.state == "open" and not landed and self._holds(repository, pull, sha):
                found.append(pull)
        return sorted(found, key=lambda pull: pull.number)

    def _holds(self, repository: Repository, pull: PullRequest, sha: str) -> bool:
        return any(commit.sha == sha for commit in self.commits(repository, pull))

    def follow_push(self, repository: Repository, ref: str, before: str, after: str, by: User) -> None:
        """Bring pull requests up to date after a branch moved: new heads, and merges made by a push."""
        branch = ref.removeprefix("refs/heads/")
        git = self._github.git(repository)
        for pull in list(repository.pulls.values()):
            if pull.state != "open":
                continue
            if pull.head_ref == branch:
                if set(after) == {"0"}:
                    self.close(repository, pull, by)
                    continue
                pull.head_sha, pull.updated_s = after, time.time()
                git.update(f"refs/pull/{pull.number}/head", after)
                self._github.events.pull_request(
                    "synchronize", repository, pull, by, before=before, after=after
                )
            elif pull.base_ref == branch and git.is_ancestor(pull.head_sha, after):
                self._mark_merged(repository, pull, by, before, after)
                self._github.events.pull_request("closed", repository, pull, by)

    def enable_auto_merge(self, repository: Repository, pull: PullRequest, by: User, method: str) -> None:
        """Remember that the pull request merges by itself once its branch's rules are met."""
        pull.auto_merge_method, pull.auto_merge_by = method, by
        pull.updated_s = time.time()
        self._github.events.pull_request("auto_merge_enabled", repository, pull, by)
