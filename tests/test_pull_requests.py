"""Pull requests, comments, deployments and roles at a GitHub over real HTTP, with its faults."""

from __future__ import annotations

import pytest

from bot.conversation import GitHubConversation
from bot.failures import CannotReachForge
from bot.pull_requests import GitHubPullRequests
from tests.faulty_http import answered, dropped, slow
from tests.github_stand_in import NAME, Scene, by, scene

__all__ = ["scene"]


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
