"""The comment of an incident at a GitHub over real HTTP, with its faults: one, ours, and never twice."""

from __future__ import annotations

import threading
import time

import pytest

from bot.failures import CannotReachForge
from bot.pull_requests import GitHubPullRequests
from bot.sticky_comment import MOST_BYTES
from tests.faulty_http import answered, dropped, slow
from tests.github_stand_in import COMMENTS, MARK, NAME, SLOW_DOWN, Scene, bodies, by, scene

__all__ = ["scene"]


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
