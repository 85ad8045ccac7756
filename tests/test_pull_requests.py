"""Pull requests, comments, deployments and roles at a GitHub over real HTTP, with its faults."""

from __future__ import annotations

import threading
import time

import pytest

from bot.conversation import GitHubConversation
from bot.failures import CannotReachForge
from bot.pull_requests import GitHubPullRequests
from bot.sticky_comment import MOST_BYTES
from rehearsal.github_state import Comment
from tests.faulty_http import answered, dropped, slow
from tests.github_stand_in import Scene, scene

__all__ = ["scene"]
NAME = "acme/stagelog"
MARK = "<!-- rollback-bot:incident:3f2a9c41d07e -->"
COMMENTS = r"/issues/42/comments$"
SLOW_DOWN = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}


def bodies(scene: Scene) -> list[str]:
    return [comment.body for comment in scene.comments]


def by(scene: Scene, login: str, body: str) -> Comment:
    return scene.github.activity.comment(scene.repository, scene.pull, scene.github.user(login), body)


class TestPullRequestsOfACommit:
    def test_the_one_that_was_merged_as_this_commit(self, scene: Scene) -> None:
        (found,) = scene.hands.of_commit(NAME, scene.merge)
        assert (found.number, found.title, found.author, found.merged) == (42, "Uploads", "dana", True)
        assert (found.head_ref, found.base_ref) == ("feature/uploads", "develop")
        assert found.url == f"{scene.github.url}/acme/stagelog/pull/42"

    def test_the_merge_itself_stands_before_what_carried_it_further(self, scene: Scene) -> None:
        git = scene.github.git(scene.repository)
        git.update("refs/heads/main", git.commit(scene.merge).parents[0])
        release = scene.github.pulls.open(
            scene.repository, scene.github.user("dana"), head="develop", base="main", title="Release"
        )
        scene.github.pulls.merge(scene.repository, release.number, scene.github.user("dana"))
        numbers = [pull.number for pull in scene.hands.of_commit(NAME, scene.merge)]
        assert numbers == [42, release.number]
        commit = git.commit(scene.merge).parents[1]
        assert scene.hands.of_commit(NAME, commit, base="main")[0].number == release.number
        assert scene.hands.of_commit(NAME, commit, base="develop")[0].number == 42

    def test_one_that_is_not_merged_is_none(self, scene: Scene) -> None:
        sha = scene.commit("feature/open", "open.txt", scene.merge)
        scene.github.pulls.open(
            scene.repository, scene.github.user("dana"), head="feature/open", base="develop", title="Open"
        )
        assert scene.hands.of_commit(NAME, sha) == ()

    def test_a_commit_that_github_does_not_know_has_none(self, scene: Scene) -> None:
        assert scene.hands.of_commit(NAME, "0" * 39 + "1") == ()

    def test_what_is_no_commit_id_is_not_sent(self, scene: Scene) -> None:
        scene.faults.forget()
        for bad in ("develop", "b7c1f0e", "../../x", "b" * 41, ""):
            with pytest.raises(CannotReachForge, match="is no full commit id"):
                scene.hands.of_commit(NAME, bad)
        assert not scene.faults.seen

    def test_reading_survives_drops_and_bad_gateways(self, scene: Scene) -> None:
        scene.faults.at("GET", r"/pulls$", dropped(), answered(502), answered(503))
        assert scene.hands.of_commit(NAME, scene.merge)[0].number == 42

    def test_a_gateway_that_stays_bad_is_a_sentence(self, scene: Scene) -> None:
        scene.faults.at("GET", r"/pulls$", *[answered(502)] * 4)
        with pytest.raises(
            CannotReachForge, match=r"did not list the pull requests .* answered 502 again and again"
        ):
            scene.hands.of_commit(NAME, scene.merge)

    @pytest.mark.parametrize(
        "answer",
        [
            b"<html>",
            b"[1",
            b"[1]",
            b'[{"number": "x"}]',
            {"unexpected": 1},
            [{"merged_at": "yesterday"}],
            7,
        ],
    )
    def test_an_answer_of_another_shape_is_a_sentence(self, scene: Scene, answer: object) -> None:
        scene.faults.at("GET", r"/pulls$", answered(200, answer))
        with pytest.raises(CannotReachForge, match=r"^GitHub did not (list|describe) the pull requests"):
            scene.hands.of_commit(NAME, scene.merge)


class TestTheStickyComment:
    def test_one_comment_is_made_and_edited(self, scene: Scene) -> None:
        first = scene.hands.say(NAME, 42, MARK, f"{MARK}\nDetected.")
        assert scene.hands.say(NAME, 42, MARK, f"{MARK}\nRecovered.") == first
        assert bodies(scene) == [f"{MARK}\nRecovered."]
        assert first == f"{scene.github.url}/acme/stagelog/pull/42#issuecomment-{scene.comments[0].id}"

    def test_the_same_text_is_not_written_again(self, scene: Scene) -> None:
        scene.hands.say(NAME, 42, MARK, "Detected.")
        scene.comments[0].body = scene.comments[0].body.replace("\n", "\r\n") + "\r\n"
        scene.hands.say(NAME, 42, MARK, "Detected.")
        assert scene.comments[0].edits == 0

    def test_the_marker_is_put_in_front(self, scene: Scene) -> None:
        scene.hands.say(NAME, 42, MARK, "Detected.")
        assert bodies(scene) == [f"{MARK}\nDetected."]

    def test_another_incident_has_its_own(self, scene: Scene) -> None:
        scene.hands.say(NAME, 42, MARK, "One.")
        scene.hands.say(NAME, 42, "<!-- rollback-bot:incident:other -->", f"Two, with {MARK} in its log.")
        scene.hands.say(NAME, 42, MARK, "One, again.")
        assert bodies(scene)[0].endswith("One, again.")
        assert bodies(scene)[1].startswith("<!-- rollback-bot:incident:other -->\nTwo")

    def test_a_comment_of_somebody_else_with_our_marker_is_left_alone(self, scene: Scene) -> None:
        by(scene, "mallory", f"{MARK}\nAll is well!")
        scene.hands.say(NAME, 42, MARK, "Detected.")
        assert bodies(scene) == [f"{MARK}\nAll is well!", f"{MARK}\nDetected."]

    def test_it_is_found_behind_hundreds_of_others(self, scene: Scene) -> None:
        for number in range(120):
            by(scene, "dana", f"Comment {number}")
        scene.hands.say(NAME, 42, MARK, "Detected.")
        for number in range(130):
            by(scene, "dana", f"More {number}")
        scene.hands.say(NAME, 42, MARK, "Recovered.")
        assert [body for body in bodies(scene) if MARK in body] == [f"{MARK}\nRecovered."]

    @pytest.mark.parametrize("ours", [True, False])
    def test_it_is_ours_by_the_apps_id_where_the_login_is_another(self, scene: Scene, ours: bool) -> None:
        scene.hands.say(NAME, 42, MARK, "Detected.")
        url = f"{scene.github.api_url}/repos/acme/stagelog/issues/comments/{scene.comments[0].id}"
        listed = {
            "id": scene.comments[0].id,
            "url": url,
            "html_url": url,
            "body": f"{MARK}\nDetected.",
            "user": {"login": "old-name[bot]", "id": 1, "type": "Bot"},
            "performed_via_github_app": {"id": scene.app.id if ours else 1},
        }
        scene.faults.at("GET", COMMENTS, answered(200, [listed]))
        scene.hands.say(NAME, 42, MARK, "Recovered.")
        assert scene.faults.count("POST", COMMENTS) == (1 if ours else 2)
        assert bodies(scene) == [f"{MARK}\nRecovered."]

    @pytest.mark.parametrize("lost", [dropped(after_acting=True), answered(502, after_acting=True)])
    def test_a_post_whose_answer_was_lost_is_not_sent_again(self, scene: Scene, lost: object) -> None:
        scene.faults.at("POST", COMMENTS, lost)
        scene.hands.say(NAME, 42, MARK, "Detected.")
        assert bodies(scene) == [f"{MARK}\nDetected."]
        assert scene.faults.count("POST", COMMENTS) == 1

    @pytest.mark.parametrize("lost", [dropped(), answered(502), answered(200, b"<html>")])
    def test_a_post_that_did_nothing_is_sent_again(self, scene: Scene, lost: object) -> None:
        scene.faults.at("POST", COMMENTS, lost)
        scene.hands.say(NAME, 42, MARK, "Detected.")
        assert bodies(scene) == [f"{MARK}\nDetected."]
        assert scene.faults.count("POST", COMMENTS) == 2

    def test_a_secondary_rate_limit_is_waited_out(self, scene: Scene) -> None:
        scene.faults.at("POST", COMMENTS, answered(403, SLOW_DOWN, headers={"Retry-After": "1"}))
        started = time.monotonic()
        scene.hands.say(NAME, 42, MARK, "Detected.")
        assert time.monotonic() - started >= 1.0
        assert bodies(scene) == [f"{MARK}\nDetected."]

    def test_a_rate_limit_of_an_hour_is_not_waited_for(self, scene: Scene) -> None:
        scene.faults.at("POST", COMMENTS, answered(403, SLOW_DOWN, headers={"Retry-After": "3600"}))
        with pytest.raises(CannotReachForge, match=r"over its rate limit \(403\); it asks to wait 3600 s"):
            scene.hands.say(NAME, 42, MARK, "Detected.")
        reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 1800)}
        exceeded = answered(403, {"message": "API rate limit exceeded for installation."}, headers=reset)
        scene.faults.at("GET", COMMENTS, exceeded)
        with pytest.raises(CannotReachForge, match=r"over its rate limit"):
            scene.hands.say(NAME, 42, MARK, "Detected.")

    def test_an_edit_that_was_lost_is_done(self, scene: Scene) -> None:
        scene.hands.say(NAME, 42, MARK, "Detected.")
        scene.faults.at("PATCH", r"/issues/comments/", dropped(), answered(502, after_acting=True))
        scene.hands.say(NAME, 42, MARK, "Recovered.")
        assert bodies(scene) == [f"{MARK}\nRecovered."]

    def test_of_two_workers_that_post_at_once_one_comment_stays(self, scene: Scene) -> None:
        # Both have looked before either has posted.
        scene.faults.at("POST", COMMENTS, slow(0.3), slow(0.3))
        hands = [scene.hands, GitHubPullRequests(scene.new_access())]
        for each in hands:
            each.about(NAME)
        threads = [
            threading.Thread(target=each.say, args=(NAME, 42, MARK, f"From {n}."))
            for n, each in enumerate(hands)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert scene.faults.count("POST", COMMENTS) == 2
        assert len(bodies(scene)) == 1

    def test_where_a_person_must_act_a_new_comment_replaces_the_old_one(self, scene: Scene) -> None:
        scene.hands.say(NAME, 42, MARK, "Held.")
        old = scene.comments[0].id
        by(scene, "dana", "What now?")
        url = scene.hands.say(NAME, 42, MARK, "Shall I?", fresh=True)
        assert bodies(scene) == ["What now?", f"{MARK}\nShall I?"]
        assert scene.comments[-1].id != old
        assert scene.hands.say(NAME, 42, MARK, "Shall I?", fresh=True) == url
        assert scene.hands.say(NAME, 42, MARK, "Reverted.") == url
        assert bodies(scene) == ["What now?", f"{MARK}\nReverted."]

    @pytest.mark.parametrize(
        "lost", [dropped(after_acting=True), answered(502, after_acting=True), dropped()]
    )
    def test_a_lost_answer_to_a_new_comment_neither_doubles_nor_loses_it(
        self, scene: Scene, lost: object
    ) -> None:
        scene.hands.say(NAME, 42, MARK, "Held.")
        scene.faults.at("POST", COMMENTS, lost)
        scene.hands.say(NAME, 42, MARK, "Shall I?", fresh=True)
        assert bodies(scene) == [f"{MARK}\nShall I?"]

    def test_a_crash_between_the_new_comment_and_the_end_of_the_old_one_is_mended(self, scene: Scene) -> None:
        scene.hands.say(NAME, 42, MARK, "Held.")
        scene.faults.at("DELETE", r"/issues/comments/", *[answered(403, {"message": "No"})])
        with pytest.raises(CannotReachForge):
            scene.hands.say(NAME, 42, MARK, "Shall I?", fresh=True)
        assert len(bodies(scene)) == 2
        scene.hands.say(NAME, 42, MARK, "Shall I?", fresh=True)
        assert bodies(scene) == [f"{MARK}\nShall I?"]

    def test_two_workers_that_replace_it_at_once_leave_one(self, scene: Scene) -> None:
        scene.hands.say(NAME, 42, MARK, "Held.")
        hands = [scene.hands, GitHubPullRequests(scene.new_access())]
        hands[1].about(NAME)
        scene.faults.at("POST", COMMENTS, slow(0.3), slow(0.3))
        threads = [
            threading.Thread(target=each.say, args=(NAME, 42, MARK, f"From {n}.", True))
            for n, each in enumerate(hands)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(bodies(scene)) == 1
        assert bodies(scene)[0].startswith(f"{MARK}\nFrom ")

    def test_doubles_left_by_a_crash_are_removed(self, scene: Scene) -> None:
        scene.hands.say(NAME, 42, MARK, "Detected.")
        by(scene, "rollback-bot[bot]", f"{MARK}\nDetected.")
        scene.hands.say(NAME, 42, MARK, "Recovered.")
        assert bodies(scene) == [f"{MARK}\nRecovered."]

    def test_a_body_is_never_too_long(self, scene: Scene) -> None:
        scene.hands.say(NAME, 42, MARK, "🟥" * 40_000)
        (body,) = bodies(scene)
        assert len(body.encode()) <= MOST_BYTES
        assert body.startswith(f"{MARK}\n🟥")
        assert "cut here" in body

    def test_a_marker_that_people_would_see_is_a_mistake_of_ours(self, scene: Scene) -> None:
        with pytest.raises(ValueError, match="is an HTML comment"):
            scene.hands.say(NAME, 42, "3f2a9c41d07e", "Detected.")

    def test_lone_surrogates_do_not_stop_it(self, scene: Scene) -> None:
        scene.hands.say(NAME, 42, MARK, "broken \ud800 text")
        assert bodies(scene) == [f"{MARK}\nbroken ? text"]

    def test_a_locked_conversation_is_a_sentence(self, scene: Scene) -> None:
        locked = {"message": "Unable to create comment because issue is locked."}
        scene.faults.at("POST", COMMENTS, answered(403, locked))
        with pytest.raises(
            CannotReachForge, match=r"take our comment on acme/stagelog#42: we may not \(403, “Unable"
        ):
            scene.hands.say(NAME, 42, MARK, "Detected.")

    def test_a_missing_permission_is_named(self, scene: Scene) -> None:
        headers = {"X-Accepted-GitHub-Permissions": "issues=write; pull_requests=write"}
        forbidden = {"message": "Resource not accessible by integration"}
        scene.faults.at("POST", COMMENTS, answered(403, forbidden, headers=headers))
        with pytest.raises(CannotReachForge, match="Grant the App `issues=write; pull_requests=write`"):
            scene.hands.say(NAME, 42, MARK, "Detected.")

    def test_a_pull_request_that_is_gone_is_a_sentence(self, scene: Scene) -> None:
        with pytest.raises(CannotReachForge, match=r"on acme/stagelog#999: it does not know that \(404"):
            scene.hands.say(NAME, 999, MARK, "Detected.")


class TestProposing:
    HEAD = "rollback/3f2a9c41d07e"

    def propose(self, scene: Scene, **more: bool) -> int:
        return scene.hands.propose(NAME, self.HEAD, "develop", "Revert #42", "Why.", **more).number

    def test_it_is_opened_once(self, scene: Scene) -> None:
        scene.commit(self.HEAD, "revert.txt", scene.merge)
        number = self.propose(scene)
        assert self.propose(scene) == number
        assert sorted(scene.repository.pulls) == [42, number]
        pull = scene.repository.pulls[number]
        assert (pull.title, pull.body, pull.base_ref) == ("Revert #42", "Why.", "develop")

    @pytest.mark.parametrize(
        "lost", [dropped(after_acting=True), answered(502, after_acting=True), dropped()]
    )
    def test_a_lost_answer_does_not_open_a_second(self, scene: Scene, lost: object) -> None:
        scene.commit(self.HEAD, "revert.txt", scene.merge)
        scene.faults.at("POST", r"/pulls$", lost)
        assert self.propose(scene) in scene.repository.pulls
        assert len(scene.repository.pulls) == 2

    def test_one_that_was_opened_in_the_same_moment_is_taken(self, scene: Scene) -> None:
        scene.commit(self.HEAD, "revert.txt", scene.merge)
        exists = {
            "message": "Validation Failed",
            "errors": [{"message": "A pull request already exists for x."}],
        }
        scene.faults.at("POST", r"/pulls$", answered(422, exists, after_acting=True))
        assert self.propose(scene) in scene.repository.pulls
        assert len(scene.repository.pulls) == 2

    def test_one_that_is_merged_already_is_returned(self, scene: Scene) -> None:
        scene.commit(self.HEAD, "revert.txt", scene.merge)
        number = self.propose(scene)
        scene.github.pulls.merge(scene.repository, number, scene.github.user("dana"))
        again = scene.hands.propose(NAME, self.HEAD, "develop", "Revert #42", "Why.")
        assert (again.number, again.merged) == (number, True)

    def test_one_that_a_person_closed_is_not_taken_for_open(self, scene: Scene) -> None:
        scene.commit(self.HEAD, "revert.txt", scene.merge)
        number = self.propose(scene)
        scene.github.pulls.close(scene.repository, scene.repository.pulls[number], scene.github.user("dana"))
        assert self.propose(scene) != number

    def test_it_merges_by_itself_where_the_branch_waits_for_a_review(self, scene: Scene) -> None:
        scene.github.protect(scene.repository, "develop")
        scene.commit(self.HEAD, "revert.txt", scene.merge)
        number = self.propose(scene)
        assert scene.repository.pulls[number].auto_merge_method == "merge"

    def test_a_draft_does_not_merge_by_itself(self, scene: Scene) -> None:
        scene.github.protect(scene.repository, "develop")
        scene.commit(self.HEAD, "revert.txt", scene.merge)
        number = self.propose(scene, draft=True)
        assert scene.repository.pulls[number].draft
        assert scene.repository.pulls[number].auto_merge_method is None

    def test_auto_merge_that_is_not_allowed_is_no_failure(self, scene: Scene) -> None:
        scene.repository.allow_auto_merge = False
        scene.commit(self.HEAD, "revert.txt", scene.merge)
        assert self.propose(scene) in scene.repository.pulls

    def test_a_branch_that_is_not_there_is_a_sentence(self, scene: Scene) -> None:
        with pytest.raises(CannotReachForge, match=r"open the pull request nowhere → develop .*422"):
            scene.hands.propose(NAME, "nowhere", "develop", "Revert", "Why.")


class TestDeployments:
    def deploy(self, scene: Scene, sha: str, state: str, environment: str = "develop") -> None:
        robot = scene.github.user("github-actions[bot]", "Bot")
        made = scene.github.activity.deployment(
            scene.repository, robot, ref="develop", sha=sha, environment=environment
        )
        if state:
            scene.github.activity.deployment_status(scene.repository, made, robot, state)

    def test_the_newest_of_the_environment_counts(self, scene: Scene) -> None:
        assert scene.hands.deployed_sha(NAME, "develop") is None
        self.deploy(scene, "a" * 40, "success")
        self.deploy(scene, "b" * 40, "success")
        self.deploy(scene, "c" * 40, "success", environment="production")
        assert scene.hands.deployed_sha(NAME, "develop") == "b" * 40

    @pytest.mark.parametrize(
        ("state", "counts"),
        [("in_progress", True), ("", True), ("failure", True), ("queued", False), ("waiting", False)],
    )
    def test_one_that_has_not_begun_changed_nothing(self, scene: Scene, state: str, counts: bool) -> None:
        self.deploy(scene, "a" * 40, "success")
        self.deploy(scene, "b" * 40, state)
        assert scene.hands.deployed_sha(NAME, "develop") == ("b" if counts else "a") * 40


class TestRoles:
    @pytest.mark.parametrize("role", ["read", "triage", "write", "maintain", "admin", "none"])
    def test_the_role_is_told_as_it_is(self, scene: Scene, role: str) -> None:
        scene.github.user("sam")
        scene.repository.roles["sam"] = role
        assert scene.hands.role(NAME, "sam") == role

    def test_a_custom_role_keeps_its_name(self, scene: Scene) -> None:
        """Its rights say what git lets them do; whether they may order a rollback, only configuration can say."""
        scene.repository.custom_roles["Release captain"] = "admin"
        scene.github.user("sam")
        scene.repository.roles["sam"] = "Release captain"
        assert scene.hands.role(NAME, "sam") == "Release captain"
        for answer in ({"role_name": None}, {"role_name": ""}, {"role_name": 7}, {}):
            scene.faults.at("GET", r"/permission$", answered(200, {"permission": "admin", **answer}))
            with pytest.raises(CannotReachForge, match=r"its answer is not one of GitHub's"):
                scene.hands.role(NAME, "sam")

    def test_a_team_has_its_active_members(self, scene: Scene) -> None:
        talk = GitHubConversation(scene.access)
        for login in ("sam", "lee", "max"):
            scene.github.user(login)
        scene.github.ledger.teams["acme/oncall"] = {"Sam": "active", "lee": "pending"}
        assert [talk.is_member(NAME, "acme/oncall", who) for who in ("sam", "lee", "max")] == [
            True,
            False,
            False,
        ]
        assert talk.is_member(NAME, "acme/no-such-team", "sam") is False
        with pytest.raises(CannotReachForge, match="is no GitHub login"):
            talk.is_member(NAME, "acme/oncall", "../sam")

    @pytest.mark.parametrize("status", [401, 403, 500, 502])
    def test_a_team_that_cannot_be_read_is_a_failure_and_no_membership(
        self, scene: Scene, status: int
    ) -> None:
        scene.faults.at("GET", r"/memberships/sam$", *[answered(status, {"message": "no"})] * 5)
        with pytest.raises(CannotReachForge, match="tell whether sam is in the team acme/oncall"):
            GitHubConversation(scene.access).is_member(NAME, "acme/oncall", "sam")

    def test_without_the_permission_teams_cannot_be_read(self, scene: Scene) -> None:
        scene.app.permissions.pop("members")
        with pytest.raises(CannotReachForge, match="Resource not accessible by integration"):
            GitHubConversation(scene.access).is_member(NAME, "acme/oncall", "sam")

    def test_what_cannot_be_read_is_no_role(self, scene: Scene) -> None:
        with pytest.raises(CannotReachForge, match="tell the role of nobody-here"):
            scene.hands.role(NAME, "nobody-here")
        for bad in ("../admin", "a b", "", "x/y", "@dana"):
            with pytest.raises(CannotReachForge, match="is no GitHub login"):
                scene.hands.role(NAME, bad)
        scene.faults.at("GET", r"/permission$", answered(200, {"permission": "admin"}))
        with pytest.raises(CannotReachForge, match=r"its answer is not one of GitHub's"):
            scene.hands.role(NAME, "dana")


class TestReactions:
    def test_one_of_a_kind_stays_however_often_it_is_put(self, scene: Scene) -> None:
        comment = by(scene, "dana", "/rollback status")
        scene.faults.at("POST", r"/reactions$", dropped(after_acting=True))
        scene.hands.react(NAME, comment.id, "eyes")
        scene.hands.react(NAME, comment.id, "eyes")
        assert [reaction.content for reaction in comment.reactions] == ["eyes"]

    def test_a_reaction_that_does_not_exist_is_a_mistake_of_ours(self, scene: Scene) -> None:
        with pytest.raises(ValueError, match="none of"):
            scene.hands.react(NAME, 1, "shrug")


def test_a_server_that_hangs_is_a_sentence(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.github_access.REQUEST_TIMEOUT_S", 1)
    hands = GitHubPullRequests(scene.new_access())
    scene.faults.at("GET", r"/repos/acme/stagelog$", *[slow(1.5)] * 4)
    with pytest.raises(CannotReachForge, match="did not describe acme/stagelog: it did not answer in time"):
        hands.about(NAME)
