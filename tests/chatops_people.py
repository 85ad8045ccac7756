"""People in the embedded world: they comment on pull requests and read what the bot answers."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rehearsal.github_state import Comment
from rehearsal.world import World
from tests.patience import until
from tests.rehearsal_worlds import Checkout

EYES = "eyes"


class People:
    """Everybody of the world's repository."""

    def __init__(self, world: World) -> None:
        self.world = world

    def says(self, who: str, number: int, text: str) -> Comment:
        """Post a comment; what becomes of it is not waited for."""
        github, repository = self.world.github, self.world.repository
        return github.activity.comment(repository, repository.pulls[number], github.user(who), text)

    def seen(self, comment: Comment) -> float:
        """Wait for the acknowledgement; seconds since the comment."""
        until(lambda: EYES in self.reactions(comment), f"👀 on {comment.body!r}", self.world)
        return next(r.created_s for r in comment.reactions if r.content == EYES) - comment.created_s

    def answered(self, comment: Comment) -> str:
        """Wait for the answer's reaction; it."""
        until(lambda: len(self.reactions(comment)) > 1, f"an answer to {comment.body!r}", self.world)
        return next(reaction for reaction in self.reactions(comment) if reaction != EYES)

    def asks(self, who: str, number: int, text: str) -> tuple[str, str]:
        """Post a command and wait for its end; the reaction and the first line of the reply."""
        before = {comment.id for comment in self.replies(number)}
        reaction = self.answered(self.says(who, number, text))
        new = [comment for comment in self.replies(number) if comment.id not in before]
        assert len(new) == 1, [comment.body for comment in new]
        return reaction, self.lead(new[0])

    def ask_at_once(self, number: int, **texts: str) -> dict[str, tuple[str, str]]:
        """Several people speak in the same instant; for each the reaction and the first line of their reply."""
        before = {comment.id for comment in self.replies(number)}
        said = {who: self.says(who, number, text) for who, text in texts.items()}
        reactions = {who: self.answered(comment) for who, comment in said.items()}
        until(lambda: len(self.replies(number)) >= len(before) + len(texts), "every answer", self.world)
        new = {self.command_of(c): self.lead(c) for c in self.replies(number) if c.id not in before}
        assert len(new) == len(texts), new
        return {who: (reactions[who], new[self.marker_of(comment)]) for who, comment in said.items()}

    def marker_of(self, comment: Comment) -> str:
        """The hidden first line of the answer to a comment."""
        named = f"github\0{self.world.repository.full_name}\0comment-{comment.id}".encode()
        return f"<!-- rollback-bot:command:{hashlib.sha256(named).hexdigest()[:24]} -->"

    def command_of(self, reply: Comment) -> str:
        return reply.body.split("\n")[0]

    def says_unheard(self, *said: tuple[str, int, str]) -> list[Comment]:
        """Comments whose deliveries do not arrive: GitHub keeps them, to be delivered again in any order."""
        hooks = self.world.github.webhooks
        url, hooks.url = hooks.url, "http://127.0.0.1:9/"
        comments = [self.says(*one) for one in said]
        until(hooks.idle, "the deliveries fail")
        hooks.url = url
        return comments

    def deliver(self, comment: Comment) -> None:
        """Deliver the event of a comment (again), as the button on GitHub does."""
        hooks = self.world.github.webhooks
        wanted = f'"id":{comment.id},'.encode()
        found = next(
            one
            for one in hooks.deliveries
            if one.event == "issue_comment" and one.action == "created" and wanted in one.body
        )
        hooks.redeliver(found.id)
        until(hooks.idle, "the delivery is handed over")

    def reactions(self, comment: Comment) -> list[str]:
        return [reaction.content for reaction in comment.reactions]

    def replies(self, number: int) -> list[Comment]:
        """The bot's answers to commands, oldest first."""
        return [c for c in self.world.bot_comments(number) if "rollback-bot:command:" in c.body[:40]]

    def lead(self, reply: Comment) -> str:
        return reply.body.split("\n")[1]

    def incident_comments(self, number: int) -> list[Comment]:
        return [c for c in self.world.bot_comments(number) if "rollback-bot:incident:" in c.body[:40]]

    def merges(self, who: str, number: int) -> str:
        """Merge a pull request, wait for its deploy and for the old container to be gone; the merge commit."""
        github, repository = self.world.github, self.world.repository
        sha = github.pulls.merge(repository, number, github.user(who), admin=True).sha
        self.deployed(sha)
        return sha

    def deployed(self, sha: str) -> None:
        deploys = self.world.runner.deploys
        until(lambda: any(d.sha == sha and d.completed_s for d in deploys), f"deploy of {sha[:7]}")

    def configures(self, folder: Path, replaced: dict[str, str]) -> None:
        """Change `.github/rollback.yml` on develop by replacing text, and wait for the deploy of that."""
        github, repository = self.world.github, self.world.repository
        folder.mkdir()
        checkout = Checkout(folder, github, repository.full_name, github.personal_token("priya"))
        checkout.git("clone", "--quiet", "--branch", "develop", checkout.remote, ".")
        text = (folder / ".github" / "rollback.yml").read_text()
        for old, new in replaced.items():
            assert old in text, f"{old} is not in rollback.yml"
            text = text.replace(old, new)
        sha = checkout.commit("Change how develop is guarded", _github__rollback_yml=text)
        checkout.push("HEAD:develop")
        self.deployed(sha)

    def bot_commits(self, since: str) -> list[str]:
        """Commits on develop since one, newest first."""
        git = self.world.github.git(self.world.repository)
        return [commit.sha for commit in git.commits(self.world.head(), f"^{since}")]
