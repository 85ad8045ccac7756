"""Signing in: as an App with a token a repository, or with a plain token; over real HTTP."""

from __future__ import annotations

import base64
import logging
import subprocess
import threading
from pathlib import Path

import pytest
from github import GithubRetry

from bot.failures import BadSettings, CannotReachForge
from bot.github_access import GitHubAccess
from bot.pull_requests import GitHubPullRequests
from tests.faulty_http import answered, dropped, slow
from tests.github_stand_in import Scene, add_commit, scene

__all__ = ["scene"]
TOKENS = r"/access_tokens$"
NAME = "acme/stagelog"


class TestAppTokens:
    def test_the_installation_is_found_by_repository_and_its_token_kept(self, scene: Scene) -> None:
        user, first = scene.access.credentials(NAME)
        assert user == "x-access-token"
        assert first.startswith("ghs_")
        assert scene.access.credentials("Acme/StageLog") == (user, first)
        assert scene.hands.about(NAME).private
        assert scene.faults.count("GET", r"/repos/acme/stagelog/installation$") == 1
        assert scene.faults.count("POST", TOKENS) == 1

    def test_a_token_within_five_minutes_of_its_end_is_renewed(self, scene: Scene) -> None:
        scene.github.installation_token_s = 299.0
        first = scene.access.credentials(NAME)
        scene.github.installation_token_s = 400.0
        second = scene.access.credentials(NAME)
        assert first != second
        assert scene.access.credentials(NAME) == second

    def test_a_token_opens_its_own_repository_and_no_other(self, scene: Scene) -> None:
        other = scene.github.create_repository("acme", "secrets", private=True)
        add_commit(scene.github.git(other), "main", "a.txt")
        _, token = scene.access.credentials(NAME)

        def clone(name: str) -> int:
            header = base64.b64encode(f"x-access-token:{token}".encode()).decode()
            asked = ["git", "-c", f"http.extraHeader=Authorization: Basic {header}", "ls-remote"]
            environment = {"GIT_TERMINAL_PROMPT": "0", "PATH": "/usr/bin:/bin:/usr/local/bin"}
            url = f"{scene.github.url}/{name}.git"
            return subprocess.run([*asked, url], capture_output=True, env=environment).returncode

        assert clone(NAME) == 0
        assert clone("acme/secrets") != 0

    def test_a_revoked_token_is_replaced_and_the_call_done(self, scene: Scene) -> None:
        assert scene.hands.about(NAME).private
        scene.github.ledger.tokens.clear()
        assert scene.hands.about(NAME).private
        assert scene.faults.count("POST", TOKENS) == 2

    def test_a_reinstalled_app_is_found_again(self, scene: Scene) -> None:
        scene.access.credentials(NAME)
        scene.app.installation_id += 1
        scene.github.ledger.tokens.clear()
        assert scene.hands.about(NAME).private

    def test_a_lost_answer_to_a_token_request_is_asked_for_again(self, scene: Scene) -> None:
        scene.faults.at("POST", TOKENS, dropped(after_acting=True), answered(502))
        assert scene.access.credentials(NAME)[1].startswith("ghs_")
        assert scene.faults.count("POST", TOKENS) == 3

    def test_many_threads_ask_for_one_token(self, scene: Scene) -> None:
        scene.faults.at("POST", TOKENS, slow(0.2))
        got: list[str] = []
        threads = [
            threading.Thread(target=lambda: got.append(scene.access.credentials(NAME)[1])) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 8
        assert len(set(got)) == 1
        assert scene.faults.count("POST", TOKENS) == 1

    def test_an_app_that_is_not_installed_says_so(self, scene: Scene) -> None:
        with pytest.raises(CannotReachForge, match=r"token for other/repo.*install the App"):
            scene.access.credentials("other/repo")

    def test_a_repository_must_be_named_owner_and_name(self, scene: Scene) -> None:
        for bad in (
            "stagelog",
            "acme/../admin",
            "acme/..",
            "acme/x/y",
            "acme/x?y",
            "-acme/x",
            "",
            "acme/x\n",
        ):
            with pytest.raises(CannotReachForge, match="is no repository"):
                scene.access.credentials(bad)
            with pytest.raises(CannotReachForge, match="is no repository"):
                scene.access.for_repository(bad)


class TestIdentity:
    def test_an_app_is_its_bot_account(self, scene: Scene) -> None:
        bot = scene.app.bot
        email = f"{bot.id}+rollback-bot[bot]@users.noreply.github.com"
        assert scene.access.identity() == ("rollback-bot[bot]", email, "rollback-bot[bot]")
        asked = len(scene.faults.seen)
        assert scene.access.identity() == ("rollback-bot[bot]", email, "rollback-bot[bot]")
        assert len(scene.faults.seen) == asked

    def test_where_profiles_are_not_public_an_installation_asks(self, scene: Scene) -> None:
        scene.faults.at("GET", r"/users/", answered(401, {"message": "Requires authentication"}))
        assert scene.access.me().user_id == scene.app.bot.id
        assert scene.access.me().app_id == scene.app.id

    def test_a_token_is_its_owner(self, scene: Scene) -> None:
        user = scene.github.user("robo", name="Robo")
        access = scene.new_access(app_id=None, private_key=None, token=scene.github.personal_token("robo"))
        assert access.identity() == ("Robo", f"{user.id}+robo@users.noreply.github.com", "robo")
        assert access.me().user_id == user.id

    def test_an_owner_with_a_public_address_and_no_name(self, scene: Scene) -> None:
        profile = {"login": "quiet", "id": 7, "name": None, "email": "quiet@example.com"}
        scene.faults.at("GET", r"/user$", answered(200, profile))
        access = scene.new_access(app_id=None, private_key=None, token="t")
        assert access.identity() == ("quiet", "quiet@example.com", "quiet")

    def test_the_token_of_an_installation_asks_graphql(self, scene: Scene) -> None:
        _, token = scene.access.credentials(NAME)
        forbidden = {"message": "Resource not accessible by integration"}
        viewer = {"data": {"viewer": {"login": "github-actions[bot]", "databaseId": 41898282}}}
        scene.faults.at("GET", r"/user$", answered(403, forbidden))
        scene.faults.at("POST", r"/graphql$", answered(200, viewer))
        access = scene.new_access(app_id=None, private_key=None, token=token)
        assert access.identity()[2] == "github-actions[bot]"

    def test_an_enterprise_has_its_own_address_for_commits(self) -> None:
        access = GitHubAccess("https://git.corp.example/api/v3", "https://git.corp.example", token="t")
        assert access._no_reply(7, "robo") == "7+robo@users.noreply.git.corp.example"

    def test_a_lost_connection_is_a_sentence(self, scene: Scene) -> None:
        access = GitHubAccess("http://127.0.0.1:9/api/v3", "http://127.0.0.1:9", token="t")
        with pytest.raises(
            CannotReachForge, match=r"^GitHub did not say who we are: the connection failed\."
        ):
            access.identity()


class TestSettings:
    def test_the_key_may_be_text_a_path_or_text_with_escaped_line_ends(
        self, scene: Scene, tmp_path: Path
    ) -> None:
        file = tmp_path / "key.pem"
        file.write_text(scene.key)
        for given in (scene.key, str(file), scene.key.replace("\n", "\\n"), f'"{scene.key.strip()}"'):
            assert scene.new_access(private_key=given).credentials(NAME)

    @pytest.mark.parametrize("given", ["no/such/file.pem", "-----BEGIN RSA PRIVATE KEY-----\nx\n", "\0"])
    def test_a_key_that_is_none_stops_the_start_and_is_not_repeated(self, given: str) -> None:
        with pytest.raises(BadSettings, match="GITHUB_APP_PRIVATE_KEY") as failed:
            GitHubAccess("https://api.github.com", "https://github.com", 1, given)
        assert given not in failed.value.reason

    def test_missing_credentials_stop_the_start(self) -> None:
        with pytest.raises(BadSettings, match="GITHUB_APP_ID and its key, or GITHUB_TOKEN"):
            GitHubAccess("https://api.github.com", "https://github.com")
        with pytest.raises(BadSettings, match="GITHUB_APP_ID is set without"):
            GitHubAccess("https://api.github.com", "https://github.com", app_id=7)

    def test_the_retry_never_repeats_a_post(self, scene: Scene) -> None:
        retry = scene.access.for_repository(NAME).requester.kwargs["retry"]
        assert isinstance(retry, GithubRetry)
        assert set(retry.allowed_methods) == {"GET", "HEAD", "PUT", "DELETE"}
        assert (retry.total, retry.backoff_factor, retry.max_rate_limit_wait) == (3, 0.2, 60)
        assert retry.retry_after_max == 60


class TestNothingLeaks:
    def test_neither_key_nor_tokens_reach_a_log_or_a_representation(
        self, scene: Scene, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        access = scene.new_access()
        GitHubPullRequests(access).about(NAME)
        _, token = access.credentials(NAME)
        with pytest.raises(CannotReachForge):
            access.credentials("other/repo")
        written = caplog.text + repr(access) + repr(vars(access))
        assert token not in written
        assert scene.key.splitlines()[3] not in written
        assert "eyJ" not in written


def test_addresses_in_answers_that_point_elsewhere_name_the_setting(scene: Scene) -> None:
    port = scene.github.api_url.split(":")[2].split("/")[0]
    access = GitHubAccess(f"http://localhost:{port}/api/v3", scene.github.url, scene.app.id, scene.key)
    scene.hands.say(NAME, 42, "<!-- m -->", "x")
    with pytest.raises(CannotReachForge, match=r"Set GITHUB_API_URL to the address"):
        GitHubPullRequests(access).say(NAME, 42, "<!-- m -->", "y")
