"""The stand-in GitHub as git and PyGithub meet it: sign-in, protection, merges, tokens that expire."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
import requests
from github import Auth, Github, GithubException, GithubIntegration

from rehearsal.github_pages import render_markdown
from rehearsal.github_pulls import CannotMerge
from tests.patience import PATIENCE_S
from tests.rehearsal_worlds import Played, play_github


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    one = play_github(tmp_path)
    yield one
    one.github.stop()


def client(played: Played, login: str) -> Github:
    return Github(base_url=played.github.api_url, auth=Auth.Token(played.github.personal_token(login)))


def app_client(played: Played) -> Github:
    app = GithubIntegration(
        auth=Auth.AppAuth(played.app.id, played.private_key), base_url=played.github.api_url
    )
    return app.get_repo_installation("acme", "stagelog").get_github_for_installation()


# Git over HTTP


def test_a_private_repository_is_not_there_for_strangers(played: Played) -> None:
    played.checkout.token = None
    refused = played.checkout.git("ls-remote", played.checkout.remote, check=False)
    assert refused.returncode != 0 and "could not read Username" in refused.stderr
    played.checkout.token = "ghp_" + "0" * 36
    assert played.checkout.git("ls-remote", played.checkout.remote, check=False).returncode == 128


def test_a_reader_may_fetch_but_not_push(played: Played) -> None:
    played.checkout.token = played.github.personal_token("sam")
    assert "refs/heads/develop" in played.checkout.git("ls-remote", played.checkout.remote).stdout
    played.checkout.commit("Sneak in", a_txt="changed\n")
    refused = played.checkout.push("develop", check=False)
    assert refused.returncode != 0 and "403" in refused.stderr
    assert played.github.git(played.repository).head("develop") == played.base


def test_a_push_larger_than_a_megabyte_arrives_whole(played: Played) -> None:
    content = os.urandom(6 * 1024 * 1024)
    sha = played.checkout.commit("Large", large_bin=content)
    played.checkout.git("-c", "http.postBuffer=65536", "push", played.checkout.remote, "develop")
    git = played.github.git(played.repository)
    entry = git.entry(sha, "large.bin")
    assert entry is not None and git.blob(entry[2]) == content


def test_blobless_clone_and_fetch_of_a_bare_sha_work(played: Played, tmp_path: Path) -> None:
    target = tmp_path / "clone"
    played.checkout.git(
        "clone", "--quiet", "--filter=blob:none", "--bare", played.checkout.remote, str(target)
    )
    assert (target / "config").read_text().count("blob:none") == 1
    played.checkout.git("fetch", "--quiet", "--depth=1", played.checkout.remote, played.feature)


def test_a_protected_branch_refuses_in_github_s_words(played: Played) -> None:
    played.github.protect(played.repository, "develop", required_checks=("ci",))
    played.checkout.commit("Straight to develop", a_txt="changed\n")
    refused = played.checkout.git(
        "push", "--porcelain", played.checkout.remote, "develop", "develop:refs/heads/elsewhere", check=False
    )
    assert refused.returncode == 1
    assert "remote: error: GH006: Protected branch update failed for refs/heads/develop." in refused.stderr
    assert 'remote: error: Required status check "ci" is expected.' in refused.stderr
    assert "[remote rejected] (protected branch hook declined)" in refused.stdout
    git = played.github.git(played.repository)
    assert git.head("develop") == played.base
    assert git.head("elsewhere") is not None, "a refused ref does not take the others with it"


def test_who_may_bypass_the_protection_pushes(played: Played) -> None:
    played.github.protect(played.repository, "develop", bypass=frozenset({"max"}))
    played.checkout.token = played.github.personal_token("max")
    sha = played.checkout.commit("As an admin", a_txt="changed\n")
    played.checkout.push("develop")
    assert played.github.git(played.repository).head("develop") == sha


def test_a_push_that_is_not_a_fast_forward_is_rejected_by_git_itself(played: Played) -> None:
    played.github.pulls.open(
        played.repository, played.github.user("dana"), head="feature/x", base="develop", title="X"
    )
    played.github.pulls.merge(played.repository, 1, played.github.user("dana"))
    played.checkout.commit("Behind", a_txt="changed\n")
    refused = played.checkout.push("develop", check=False)
    assert "[rejected] (fetch first)" in refused.stdout


def test_pushes_are_recorded_with_who_and_when(played: Played) -> None:
    before = time.time()
    sha = played.checkout.commit("Next", a_txt="changed\n")
    played.checkout.push("develop")
    push = played.github.pushes[-1]
    assert (push.ref, push.before, push.after, push.by) == ("refs/heads/develop", played.base, sha, "dana")
    assert before <= push.at_s <= time.time()


# Merging


@pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
def test_the_three_ways_to_merge_are_real_git(played: Played, method: str) -> None:
    played.checkout.commit("Meanwhile on develop", c_txt="c\n")
    played.checkout.push("develop")
    pull = played.github.pulls.open(
        played.repository,
        played.github.user("dana"),
        head="feature/x",
        base="develop",
        title="Add b",
        body="Why",
    )
    merged = played.github.pulls.merge(
        played.repository, pull.number, played.github.user("lee"), method=method
    )
    git = played.github.git(played.repository)
    commit = git.commit(merged.sha)
    assert sorted(name for *_, name in git.listing(commit.tree)) == ["a.txt", "b.txt", "c.txt"]
    expected = {
        "merge": ("Merge pull request #1 from acme/feature/x\n\nAdd b", (merged.before, played.feature)),
        "squash": ("Add b (#1)", (merged.before,)),
        "rebase": ("Add b", (merged.before,)),
    }
    assert (commit.message, commit.parents) == expected[method]
    assert git.head("develop") == merged.sha and pull.merged and pull.merge_commit_sha == merged.sha
    found = client(played, "dana").get_repo("acme/stagelog").get_commit(merged.sha).get_pulls()
    assert [one.number for one in found] == [1]


def test_a_conflict_cannot_be_merged_and_leaves_nothing(played: Played) -> None:
    played.checkout.git("checkout", "--quiet", "feature/x")
    played.checkout.commit("One way", a_txt="one way\n")
    played.checkout.push("feature/x")
    played.checkout.git("checkout", "--quiet", "develop")
    sha = played.checkout.commit("Another way", a_txt="another way\n")
    played.checkout.push("develop")
    pull = played.github.pulls.open(
        played.repository, played.github.user("dana"), head="feature/x", base="develop", title="X"
    )
    assert client(played, "dana").get_repo("acme/stagelog").get_pull(pull.number).mergeable is False
    for method in ("merge", "squash", "rebase"):
        with pytest.raises(CannotMerge, match="not mergeable"):
            played.github.pulls.merge(played.repository, 1, played.github.user("dana"), method=method)
    git = played.github.git(played.repository)
    assert git.head("develop") == sha
    assert "feature" not in git.text("worktree", "list")


def test_a_pull_request_whose_commits_are_pushed_counts_as_merged(played: Played) -> None:
    pull = played.github.pulls.open(
        played.repository, played.github.user("dana"), head="feature/x", base="develop", title="X"
    )
    played.checkout.push("feature/x:develop")
    assert pull.merged and pull.state == "closed"


def test_protection_asks_for_review_before_merging(played: Played) -> None:
    played.github.protect(played.repository, "develop")
    pull = (
        client(played, "dana")
        .get_repo("acme/stagelog")
        .create_pull(title="X", head="feature/x", base="develop")
    )
    assert pull.mergeable_state == "blocked"
    with pytest.raises(GithubException) as refused:
        pull.merge()
    assert refused.value.status == 405
    played.github.pulls.merge(played.repository, pull.number, played.github.user("lee"), admin=True)


# PyGithub


def test_an_app_signs_in_and_its_comments_know_their_author(played: Played) -> None:
    played.github.pulls.open(
        played.repository, played.github.user("dana"), head="feature/x", base="develop", title="X"
    )
    issue = app_client(played).get_repo("acme/stagelog").get_issue(1)
    comment = issue.create_comment("Rolled back.")
    comment.edit("Recovered.")
    assert (comment.user.login, comment.user.type) == ("rollback-bot[bot]", "Bot")
    assert [one.body for one in issue.get_comments()] == ["Recovered."]
    stranger = client(played, "sam").get_repo("acme/stagelog").get_issue(1).get_comment(comment.id)
    with pytest.raises(GithubException) as refused:
        stranger.edit("Mine now")
    assert refused.value.status == 403


def test_lists_longer_than_a_page_are_walked_by_links(played: Played) -> None:
    pull = played.github.pulls.open(
        played.repository, played.github.user("dana"), head="feature/x", base="develop", title="X"
    )
    for number in range(65):
        played.github.activity.comment(
            played.repository, pull, played.github.user("dana"), f"comment {number}"
        )
    comments = list(app_client(played).get_repo("acme/stagelog").get_issue(1).get_comments())
    assert [one.body for one in comments] == [f"comment {number}" for number in range(65)]


def test_a_comment_too_long_for_github_is_refused(played: Played) -> None:
    played.github.pulls.open(
        played.repository, played.github.user("dana"), head="feature/x", base="develop", title="X"
    )
    issue = app_client(played).get_repo("acme/stagelog").get_issue(1)
    issue.create_comment("x" * 65_536)
    with pytest.raises(GithubException) as refused:
        issue.create_comment("x" * 65_537)
    assert refused.value.status == 422 and "too long" in str(refused.value.data)


def test_roles_are_told_in_both_vocabularies(played: Played) -> None:
    token = played.github.personal_token("max")
    for login, legacy, role in (
        ("lee", "write", "maintain"),
        ("sam", "read", "triage"),
        ("dana", "write", "write"),
    ):
        told = requests.get(
            f"{played.github.api_url}/repos/acme/stagelog/collaborators/{login}/permission",
            headers={"Authorization": f"Bearer {token}"},
            timeout=PATIENCE_S,
        ).json()
        assert (told["permission"], told["role_name"]) == (legacy, role)


def test_auto_merge_is_switched_on_over_graphql(played: Played) -> None:
    played.github.protect(played.repository, "develop")
    played.github.pulls.open(
        played.repository, played.github.user("dana"), head="feature/x", base="develop", title="X"
    )
    app_client(played).get_repo("acme/stagelog").get_pull(1).enable_automerge()
    assert played.repository.pulls[1].auto_merge_method == "merge"
    del played.repository.protected["develop"]
    with pytest.raises(GithubException, match="clean status"):
        app_client(played).get_repo("acme/stagelog").get_pull(1).enable_automerge()


# Tokens


def test_an_installation_token_ends_with_its_hour(played: Played) -> None:
    token = played.github.installation_token(played.app, {"metadata": "read"}, None).secret
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{played.github.api_url}/repos/acme/stagelog"
    assert requests.get(url, headers=headers, timeout=PATIENCE_S).status_code == 200
    played.github.ledger.tokens[token].expires_s = time.time() - 1
    answer = requests.get(url, headers=headers, timeout=PATIENCE_S)
    assert (answer.status_code, answer.json()["message"]) == (401, "Bad credentials")


def test_an_installation_token_can_do_what_it_was_given(played: Played) -> None:
    token = played.github.installation_token(
        played.app, {"contents": "read", "metadata": "read"}, None
    ).secret
    reader = Github(base_url=played.github.api_url, auth=Auth.Token(token))
    repository = reader.get_repo("acme/stagelog")
    with pytest.raises(GithubException) as refused:
        repository.create_pull(title="X", head="feature/x", base="develop")
    assert refused.value.status == 403
    assert refused.value.data["message"] == "Resource not accessible by integration"
    played.checkout.token = token
    played.checkout.commit("Next", a_txt="changed\n")
    assert "403" in played.checkout.push("develop", check=False).stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"exp": 30 * 60}, "too far in the future"),
        ({"exp": -60}, "exp"),
        ({"iss": "999999"}, "iss"),
        ({"key": "another"}, "could not be decoded"),
    ],
)
def test_a_wrong_jwt_is_refused(played: Played, change: dict[str, object], said: str) -> None:
    now = int(time.time())
    claims = {
        "iat": now - 60,
        "exp": now + int(str(change.get("exp", 300))),
        "iss": change.get("iss", str(played.app.id)),
    }
    key = played.private_key
    if "key" in change:
        key = played.github.install_app("other", "acme")[1].decode()
        played.github.ledger.app = played.app
    answer = requests.get(
        f"{played.github.api_url}/app",
        headers={"Authorization": f"Bearer {jwt.encode(claims, key, algorithm='RS256')}"},
        timeout=PATIENCE_S,
    )
    assert answer.status_code == 401 and said in answer.json()["message"]


# Pages


def test_the_page_of_a_pull_request_reads_like_one(played: Played) -> None:
    pull = played.github.pulls.open(
        played.repository, played.github.user("dana"), head="feature/x", base="develop", title="Add <b>"
    )
    text = (
        "## Rolled back\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
        "<details><summary>Log</summary>\n\n```\nboom\n```\n</details>"
    )
    played.github.activity.comment(played.repository, pull, played.app.bot, text, played.app)
    page = requests.get(f"{played.github.url}/acme/stagelog/pull/1", timeout=PATIENCE_S).text
    assert "Add &lt;b&gt;" in page and "<details><summary>Log</summary>" in page and "<table>" in page
    assert "Add &lt;b&gt;" in requests.get(played.github.url, timeout=PATIENCE_S).text
    assert requests.get(f"{played.github.url}/acme/stagelog/pull/9", timeout=PATIENCE_S).status_code == 404


def test_commits_and_pull_requests_become_links_in_running_text_only() -> None:
    sha = "0123456789abcdef0123456789abcdef01234567"
    shown = render_markdown(f"#42 → {sha}, `#42`, `{sha}`, a#1 &#35;x", "/acme/stagelog")
    assert '<a href="/acme/stagelog/pull/42">#42</a>' in shown
    assert f'<a href="/acme/stagelog/commit/{sha}"><code>0123456</code></a>' in shown
    assert shown.count("<a ") == 2


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        '<img src="x" onerror="alert(1)">',
        '<a href="javascript:alert(1)">x</a>',
        '<iframe src="https://example.com"></iframe>',
        "<details><div onclick=alert(1)>",
        '<a href=" JaVaScRiPt:alert(1)">x</a>',
        "<style>body{display:none}</style>",
        '<form action="/"><button>go</button></form>',
    ],
)
def test_nothing_active_survives_in_a_comment(hostile: str) -> None:
    shown = render_markdown(f"before\n\n{hostile}\n\nafter")
    for word in ("<script", "onerror", "onclick", "javascript:", "<iframe", "<style", "<form", "<button"):
        assert word not in shown.lower()
    assert "before" in shown and "after" in shown
