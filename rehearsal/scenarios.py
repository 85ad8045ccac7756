"""The stories that can be told, each with what must be true at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rehearsal.claims import DJANGO_LINE
from rehearsal.github_pulls import Merged
from rehearsal.github_rest import ApiError
from rehearsal.github_state import PullRequest, User
from rehearsal.runner import Deployed
from rehearsal.stagelog_history import BROKEN_PULL, HARMLESS_PULL
from rehearsal.story import Story
from rehearsal.world import BRANCH, CONTAINER

SETTLE_S = 1.5
BAD_FOR_S = 8.0
HEALTHY_WATCH_S = 12


@dataclass(frozen=True, slots=True)
class Scenario:
    """A name, one sentence for --list, how the world is made, and the play itself."""

    name: str
    summary: str
    play: Callable[[Story], None]
    pull: int = BROKEN_PULL
    world: dict[str, Any] = field(default_factory=dict)


def _container_state(story: Story) -> dict[str, Any]:
    found = story.world.machine.container(CONTAINER)
    return dict(found["State"]) if found else {}


def _break_develop(story: Story) -> tuple[Merged, Deployed]:
    """Merge #42 and watch the site go down; (merge, deploy)."""
    world, narrator = story.world, story.narrator
    with narrator.stage("merge to deployed"):
        merged = story.merge(BROKEN_PULL)
        deploy = story.deploy_of(merged.sha)
    with narrator.stage("deployed to 502"):
        story.wait_for("the site answers 502", lambda: world.site_status() == 502)
    narrator.say("The site answers 502 Bad Gateway", "bad")
    story.wait_for("the container ends", lambda: _container_state(story).get("Status") == "exited")
    state = _container_state(story)
    narrator.say(
        f"docker ps -a: {CONTAINER} is", "bad", detail=f"{state.get('Status')} ({state.get('ExitCode')})"
    )
    return merged, deploy


def _wait_for_comment(story: Story, number: int) -> None:
    world = story.world
    story.wait_for(f"the bot comments on #{number}", lambda: world.bot_comments(number))
    story.narrator.say(f"The bot comments on #{number}", detail=world.pull_page(number))


def _recovered_by_push(story: Story, merged: Merged, deploy: Deployed) -> None:
    """From the outage to the end: the bot's push, the deploy of the revert, 200, the comment that says so."""
    narrator = story.narrator
    with narrator.stage("deploy to bot's push"):
        push = story.wait_for(
            f"the bot pushes to {BRANCH}", lambda: story.pushed_by_bot(deploy.completed_s or 0)
        )
    narrator.say("GitHub accepts the bot's push", "good", detail=f"{push.before[:7]} → {push.after[:7]}")
    with narrator.stage("push to deployed again"):
        again = story.deploy_of(push.after)
    recovered_s = _wait_until_healthy(story, again.replaced_s or 0)
    _wait_until_told(story, merged.sha, BROKEN_PULL)
    story.measure(merged.sha, deploy, push.at_s, recovered_s)
    story.ending.revert_sha = story.claims.one_revert(merged.sha, story.tree_of(merged.before))
    _claims_of_recovery(story, deploy)


def _wait_until_healthy(story: Story, since_s: float) -> float | None:
    world = story.world
    with story.narrator.stage("deployed again to 200"):
        story.wait_for("the site answers 200 again", lambda: world.site_status() == 200)
    story.narrator.say("The site answers 200 again", "good")
    return world.load_balancer.first_answer(200, since_s)


def _wait_until_told(story: Story, sha: str, number: int) -> None:
    """Wait until the bot's comment says that it is over, and until nothing more is written."""
    world = story.world

    def told() -> bool:
        return any("recovered" in one.body.lower() for one in world.bot_comments(number))

    with story.narrator.stage("200 to the comment says so"):
        story.wait_for(f"the comment on #{number} says that the service recovered", told)
    story.narrator.say(f"The comment on #{number} says: recovered", "good", detail=world.pull_page(number))
    time.sleep(SETTLE_S)


def _claims_of_recovery(story: Story, deploy: Deployed) -> None:
    claims, ending = story.claims, story.ending
    claims.bot_was_awake(deploy.completed_s or 0)
    ending.comment = claims.one_comment(BROKEN_PULL)
    claims.comment_says(ending.comment, DJANGO_LINE, why="The comment contains Django's own line.")
    claims.comment_says(ending.comment, "recovered", why="The comment says that the service recovered.")
    claims.no_comment(HARMLESS_PULL)
    claims.nothing_leaked()
    claims.aws_refused_nothing()
    claims.site_answers(200)
    ending.outcome = "recovered"


def incident(story: Story) -> None:
    merged, deploy = _break_develop(story)
    if story.world.bot is None:
        story.ending.outcome = "broken"
        story.claims.site_answers(502)
        return
    _recovered_by_push(story, merged, deploy)


def healthy(story: Story) -> None:
    world, narrator = story.world, story.narrator
    with narrator.stage("merge to deployed"):
        merged = story.merge(HARMLESS_PULL, by="lee")
        deploy = story.deploy_of(merged.sha)
    with narrator.stage("deployed to 200"):
        story.wait_for("the site answers 200", lambda: world.site_status() == 200)
    narrator.say("The site answers 200", "good")
    with narrator.stage("watched"):
        narrator.say("The bot watches, and should do nothing", "wait", detail=f"{HEALTHY_WATCH_S} s")
        done_s = (deploy.completed_s or time.time()) + HEALTHY_WATCH_S + 3
        story.wait_for("the watch ends", lambda: time.time() > done_s)
    if world.bot is not None:
        story.claims.bot_was_awake(deploy.completed_s or 0)
    story.claims.nothing_pushed(merged.sha)
    story.claims.no_comment(HARMLESS_PULL)
    story.claims.no_comment(BROKEN_PULL)
    story.claims.nothing_leaked()
    story.claims.site_answers(200)
    story.ending.outcome = "healthy"


def bad_before(story: Story) -> None:
    world, narrator = story.world, story.narrator
    with narrator.stage("broken before the deploy"):
        world.detach_volume()
        story.wait_for("the site answers 500", lambda: world.site_status() == 500)
        narrator.say("The volume with StageLog's database is gone: the site answers 500", "bad")
        story.wait_for("the target is unhealthy", lambda: world.target.state == "unhealthy")
        since_s = time.time()
        narrator.say("It stays like that for a while", "wait", detail=f"{BAD_FOR_S:.0f} s")
        story.wait_for("a while goes by", lambda: time.time() > since_s + BAD_FOR_S)
    with narrator.stage("merge to deployed"):
        merged = story.merge(HARMLESS_PULL, by="lee")
        deploy = story.deploy_of(merged.sha)
    if world.bot is None:
        story.ending.outcome = "broken"
        return
    with narrator.stage("deployed to the bot says why not"):
        _wait_for_comment(story, HARMLESS_PULL)
        story.wait_for(
            "the comment says why the bot did not act",
            lambda: any("before" in one.body.lower() for one in world.bot_comments(HARMLESS_PULL)),
        )
    with narrator.stage("held"):
        narrator.say("The bot holds", "good")
        time.sleep(5)
    story.claims.bot_was_awake(deploy.completed_s or 0)
    story.claims.nothing_pushed(merged.sha)
    story.ending.comment = story.claims.one_comment(HARMLESS_PULL)
    story.claims.comment_says(
        story.ending.comment, "before", why="The comment says that the service was bad before the deploy."
    )
    story.claims.no_comment(BROKEN_PULL)
    story.claims.nothing_leaked()
    told = story.incident_of(merged.sha)
    story.ending.incident_id = told.get("id") and str(told["id"])
    story.ending.outcome = "held"


def protected_branch(story: Story) -> None:
    world, narrator = story.world, story.narrator
    merged, deploy = _break_develop(story)
    story.check_bot()

    def revert_pull() -> PullRequest | None:
        found = [one for one in world.repository.pulls.values() if one.author.login == world.bot_login]
        return found[0] if found else None

    with narrator.stage("deploy to the bot's pull request"):
        pull = story.wait_for("the bot opens a pull request", revert_pull)
    narrator.say(
        f"The push is refused; the bot opens #{pull.number} “{pull.title}”",
        detail=world.pull_page(pull.number),
    )
    opened_s = pull.created_s
    with narrator.stage("a maintainer merges it"):
        time.sleep(1)
        landed = story.merge(pull.number, by="lee")
    with narrator.stage("merged to deployed again"):
        again = story.deploy_of(landed.sha)
    recovered_s = _wait_until_healthy(story, again.replaced_s or 0)
    _wait_until_told(story, merged.sha, BROKEN_PULL)
    story.measure(merged.sha, deploy, opened_s, recovered_s)
    story.ending.revert_sha = story.claims.revert_by_pull_request(merged.sha, story.tree_of(merged.before))
    _claims_of_recovery(story, deploy)


def bot_crash(story: Story) -> None:
    """The worker dies at its first comment after the accepted push, and comes back."""
    world = story.world
    story.check_bot()
    killed: list[float] = []

    def die_after_push(author: User, number: int, body: str) -> None:
        if killed or author.login != world.bot_login or story.pushed_by_bot(0) is None:
            return
        killed.append(time.time())
        assert world.bot is not None
        world.bot.kill("worker")
        world.bot.restart("worker")
        raise ApiError(502, "The one who asked is gone")

    world.github.activity.before_comment_write = die_after_push
    merged, deploy = _break_develop(story)
    with story.narrator.stage("deploy to bot's push"):
        story.wait_for("the worker is killed after its push", lambda: killed)
    story.narrator.say("The bot's worker is killed (SIGKILL) between its push and its comment", "bad")
    story.narrator.say("The platform starts a new worker")
    _recovered_by_push(story, merged, deploy)
    story.claims.that("The worker was killed once, and started again.", len(killed) == 1, killed)


_ALL = (
    Scenario("incident", "#42 breaks develop; the bot reverts it and the site recovers", incident),
    Scenario(
        "healthy",
        "a harmless #43 is deployed; the bot does nothing",
        healthy,
        HARMLESS_PULL,
        {"watch_for_s": HEALTHY_WATCH_S},
    ),
    Scenario(
        "bad-before",
        "the service was broken before #43 was deployed; the bot holds and says why",
        bad_before,
        HARMLESS_PULL,
    ),
    Scenario(
        "protected-branch",
        "the bot may not push to develop; it opens a pull request, a maintainer merges it",
        protected_branch,
        world={"protected": True},
    ),
    Scenario("bot-crash", "the worker is killed between push and comment, and comes back", bot_crash),
)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
