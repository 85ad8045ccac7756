"""The sentences that must be true when a story has ended, each checked on the facts themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rehearsal.planted_secrets import leaked
from rehearsal.world import BOT_SLUG, BRANCH, World

DJANGO_LINE = (
    "You're using the staticfiles app without having set the STATIC_ROOT setting to a filesystem path."
)
TRAILER = "Rollback-Deploy"


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence, whether it is true, and what was seen when it is not."""

    sentence: str
    true: bool
    seen: str = ""


class Claims:
    """Collects the claims of a story about a world; `untrue` is what went wrong."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.all: list[Claim] = []

    @property
    def untrue(self) -> list[Claim]:
        return [claim for claim in self.all if not claim.true]

    def that(self, sentence: str, true: bool, seen: object = "") -> None:
        self.all.append(Claim(sentence, bool(true), "" if true else str(seen)))

    # About the branch

    def nothing_pushed(self, since: str) -> None:
        count = self._new_commits(since)
        self.that(f"No commit was added to {BRANCH}.", count == 0, f"{count} new commits")

    def one_revert(self, merge: str, before: str) -> str | None:
        """Exactly one new commit on the branch, with the tree from before and the trailer; its sha."""
        git = self.world.github.git(self.world.repository)
        found = git.commits(self.world.head(), f"^{merge}")
        self.that(
            f"There is exactly one new commit on {BRANCH} after the merge.",
            len(found) == 1,
            f"{len(found)}: {[commit.subject for commit in found]}",
        )
        if not found:
            return None
        revert = found[0]
        self._revert_is_right(revert.sha, before)
        return revert.sha

    def revert_by_pull_request(self, merge: str, before: str) -> str | None:
        """The branch moved by a merged pull request of the bot only, and its tree is the one from before."""
        git, world = self.world.github.git(self.world.repository), self.world
        pushed = [
            push
            for push in world.github.pushes
            if push.ref == f"refs/heads/{BRANCH}" and push.by == world.bot_login
        ]
        self.that(f"The bot never moved the protected {BRANCH} itself.", not pushed, pushed)
        landed = [
            pull
            for pull in world.repository.pulls.values()
            if pull.author.login == world.bot_login and pull.merged
        ]
        self.that("One pull request of the bot was merged.", len(landed) == 1, [p.title for p in landed])
        if not landed:
            return None
        revert = landed[0].head_sha
        tree = git.commit(world.head()).tree
        self.that(f"The tree of {BRANCH} equals the tree before the merge.", tree == before, tree)
        self._revert_is_right(revert, before)
        return revert

    def _revert_is_right(self, sha: str, before: str) -> None:
        git = self.world.github.git(self.world.repository)
        commit = git.commit(sha)
        self.that("The revert's tree equals the tree before the merge.", commit.tree == before, commit.tree)
        trailers = git.git("interpret-trailers", "--parse", stdin=commit.message.encode()).decode()
        self.that(f"The revert carries the trailer {TRAILER}.", f"{TRAILER}: " in trailers, commit.message)

    def _new_commits(self, since: str) -> int:
        return self.world.github.git(self.world.repository).count(f"{since}..{self.world.head()}")

    # About what people read

    def no_comment(self, number: int) -> None:
        found = self.world.bot_comments(number)
        self.that(f"The bot wrote no comment on #{number}.", not found, [one.body[:200] for one in found])

    def one_comment(self, number: int) -> str | None:
        """Exactly one comment of the bot on a pull request; its text."""
        found = self.world.bot_comments(number)
        self.that(
            f"There is exactly one comment of the bot on #{number}.",
            len(found) == 1,
            f"{len(found)}: {[one.body[:120] for one in found]}",
        )
        return found[-1].body if found else None

    def comment_says(self, text: str | None, wanted: str, *, why: str) -> None:
        self.that(why, text is not None and wanted.lower() in text.lower(), (text or "no comment")[:600])

    def nothing_leaked(self) -> None:
        """None of the planted secrets, nor the bot's own, in anything that is read by people."""
        world = self.world
        secrets = dict(world.secrets.values)
        own = {"webhook secret": world.webhook_secret, "deploy webhook secret": world.deploy_webhook_secret}
        own |= {
            f"installation token {n}": t for n, t in enumerate(world.github.ledger.tokens) if t[:4] == "ghs_"
        }
        comments = "\n".join(one.body for one in world.repository.comments.values())
        pulls = "\n".join(f"{one.title}\n{one.body}" for one in world.repository.pulls.values())
        messages = world.github.git(world.repository).text("log", "--all", "--format=%B")
        checks = "\n".join(str(run.output) for run in world.repository.check_runs.values())
        for where, text in (
            ("any comment", comments),
            ("any pull request, check or commit message", f"{pulls}\n{checks}\n{messages}"),
            ("the bot's own logs", world.bot.logs() if world.bot else ""),
        ):
            found = leaked(secrets | own, text)
            self.that(f"None of the {len(secrets)} planted secrets stands in {where}.", not found, found)

    def aws_refused_nothing(self) -> None:
        """The policy in docs/ was enough for every call that the bot made."""
        journal = self.world.aws_journal
        lines = journal.read_text().splitlines() if journal.exists() else []
        calls = [json.loads(line) for line in lines]
        own = [one for one in calls if one["principal"].endswith(f"/{BOT_SLUG}")]
        refused = sorted({one["action"] for one in own if not one["allowed"]})
        self.that(
            f"The bot's IAM policy was enough for each of its {len(own)} calls of AWS.",
            bool(own) and not refused,
            refused or "it made none",
        )

    # About the bot's attention

    def bot_was_awake(self, since_s: float) -> None:
        """The bot took every event, and looked at the site after a moment: silence alone proves nothing."""
        deliveries = self.world.github.webhooks.deliveries
        refused = [f"{one.event}: {one.status_code}" for one in deliveries if one.status_code // 100 != 2]
        self.that("The bot took every webhook it was sent.", bool(deliveries) and not refused, refused)
        looks = [
            one
            for one in self.world.load_balancer.served
            if one.at_s >= since_s and BOT_SLUG in one.agent.lower()
        ]
        self.that("The bot looked at the site after the deploy.", len(looks) >= 3, f"{len(looks)} probes")

    def site_answers(self, status: int) -> None:
        seen = self.world.site_status()
        self.that(f"The site answers {status}.", seen == status, seen)
