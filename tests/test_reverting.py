"""The reverter on real repositories: what is done, already done, in conflict, refused, or proposed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from bot.failures import CannotReadRepository, CannotRevert
from bot.git_names import BadName
from bot.repository import CommitIdentity, GitRepositories
from policies.facts import CommitShape, RevertOutcome, RollbackOrder
from tests.git_histories import PROTECTED, History, git

BOT = CommitIdentity("rollback-bot[bot]", "1+rollback-bot[bot]@users.noreply.github.com")
FILES = {"app.py": "one\ntwo\nthree\n", "config/settings.py": "STATIC_ROOT = 1\n", "README.md": "hello\n"}


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path / "server")
    made.commit("Start", FILES)
    made.commit("Second", {"README.md": "hello again\n"})
    made.push()
    return made


@pytest.fixture
def repositories(tmp_path: Path, history: History) -> GitRepositories:
    return repositories_on(tmp_path / "data", history)


def repositories_on(data_dir: Path, history: History, **options: object) -> GitRepositories:
    return GitRepositories(
        data_dir,
        f"file://{history.root}",
        lambda _: None,
        BOT,
        allow_file=True,
        **options,  # type: ignore[arg-type]
    )


def order(history: History, *commits: str, head: str | None = None, **more: object) -> RollbackOrder:
    facts: dict[str, object] = {
        "incident_id": "inc-1",
        "deploy_id": "deploy-1",
        "repository": history.name,
        "environment": "develop",
        "branch": history.branch,
        "commits": commits,
        "expected_head": head or history.remote_head() or "",
        "ordered_by": "rollback-bot",
        "reason": "failed (3) > limit (2)",
    }
    return RollbackOrder(**{**facts, **more})  # type: ignore[arg-type]


def leftovers(data_dir: Path) -> list[Path]:
    return list((data_dir / "worktrees").glob("*"))


def test_a_true_merge_is_taken_back_with_our_trailers(
    history: History, repositories: GitRepositories, tmp_path: Path
):
    good = history.head()
    merge = history.merged({"config/settings.py": "nothing\n", "new/file.py": "x\n"})
    history.push()
    repositories.refresh(history.name, "develop")

    done = repositories.revert(order(history, merge, good_tree_of=good))

    assert done.outcome is RevertOutcome.REVERTED
    assert history.remote_head() == done.revert_sha == done.commits[-1]
    assert history.remote_tree() == history.tree(good) == done.tree
    assert history.count(merge) == 1
    message = history.message(done.revert_sha)
    assert message.startswith('Revert "Merge pull request #42 from acme/feature"\n\n')
    assert f"This reverts commit {merge}." in message
    assert message.rstrip().endswith(
        "Rollback-Deploy: deploy-1\nRollback-Incident: inc-1\nRollback-Ordered-By: rollback-bot"
    )
    author = git(history.bare, "log", "-1", "--format=%an <%ae> %cn", "develop").decode().strip()
    assert author == f"{BOT.name} <{BOT.email}> {BOT.name}"
    assert leftovers(tmp_path / "data") == []


def test_a_squash_commit_is_taken_back(history: History, repositories: GitRepositories):
    good = history.head()
    squash = history.commit("Uploads (#42)", {"app.py": "one\n2\nthree\n"})
    history.push()
    done = repositories.revert(order(history, squash, good_tree_of=good))
    assert done.outcome is RevertOutcome.REVERTED
    assert history.remote_tree() == history.tree(good)
    assert "It was a merge" not in history.message("develop")


def test_the_second_run_of_the_same_rollback_finds_its_trace(history: History, repositories: GitRepositories):
    merge = history.merged({"app.py": "broken\n"})
    history.push()
    first = repositories.revert(order(history, merge, head=merge))
    again = repositories.revert(order(history, merge, head=merge))
    assert again.outcome is RevertOutcome.REVERTED
    assert again.revert_sha == first.revert_sha == history.remote_head()
    assert history.count(merge) == 1


def test_a_restarted_bot_finds_its_trace_too(history: History, repositories: GitRepositories, tmp_path: Path):
    merge = history.merged({"app.py": "broken\n"})
    history.push()
    first = repositories.revert(order(history, merge, head=merge))
    elsewhere = repositories_on(tmp_path / "another-machine", history)
    assert elsewhere.revert(order(history, merge, head=merge)).revert_sha == first.revert_sha
    assert history.count(merge) == 1


def test_another_rollback_of_the_same_merge_says_already_reverted(
    history: History, repositories: GitRepositories
):
    merge = history.merged({"app.py": "broken\n"})
    history.push()
    first = repositories.revert(order(history, merge, head=merge))
    other = repositories.revert(order(history, merge, head=merge, deploy_id="deploy-2"))
    assert other.outcome is RevertOutcome.ALREADY_REVERTED
    assert other.commits == first.commits
    assert history.count(merge) == 1


def test_a_conflict_names_the_paths_and_pushes_nothing(history: History, repositories: GitRepositories):
    merge = history.merged({"app.py": "one\nTWO\nthree\n"})
    tip = history.commit("On top", {"app.py": "one\nTWO and more\nthree\n"})
    history.push()
    done = repositories.revert(order(history, merge))
    assert done.outcome is RevertOutcome.CONFLICT
    assert done.conflicts == ("app.py",)
    assert "app.py" in done.reason and merge[:12] in done.reason
    assert done.command and f"git revert -m 1 {merge}" in done.command
    assert history.remote_head() == tip


def test_later_merges_on_top_stay(history: History, repositories: GitRepositories):
    merge = history.merged({"app.py": "one\nTWO\nthree\n"})
    later = history.merged({"other.py": "fine\n"}, feature="later")
    history.push()
    done = repositories.revert(order(history, merge))
    assert done.outcome is RevertOutcome.REVERTED
    assert history.count(later) == 1
    assert git(history.bare, "show", "develop:other.py") == b"fine\n"
    assert git(history.bare, "show", "develop:app.py") == b"one\ntwo\nthree\n"


def test_a_head_that_moved_is_named_and_everything_checked_again(
    history: History, repositories: GitRepositories
):
    merge = history.merged({"app.py": "one\nTWO\nthree\n"})
    history.push()
    repositories.refresh(history.name, "develop")
    decided_on = history.head()
    moved = history.commit("Somebody was faster", {"README.md": "x\n"})
    history.push()
    done = repositories.revert(order(history, merge, head=decided_on))
    assert done.outcome is RevertOutcome.REVERTED
    assert any(decided_on[:12] in note and moved[:12] in note for note in done.notes)
    assert history.count(moved) == 1


def test_a_protected_branch_gets_the_commit_on_a_branch_of_ours(
    history: History, repositories: GitRepositories
):
    good = history.head()
    merge = history.merged({"app.py": "broken\n"})
    history.push()
    history.hook("pre-receive", PROTECTED)
    first = repositories.revert(order(history, merge))
    assert first.outcome is RevertOutcome.PUSH_REJECTED
    assert first.proposed_branch == "rollback-bot/inc-1"
    assert "GH006: Protected branch update failed" in first.reason
    assert history.remote_head() == merge
    assert history.remote_head("rollback-bot/inc-1") == first.revert_sha
    assert history.remote_tree("rollback-bot/inc-1") == history.tree(good)
    again = repositories.revert(order(history, merge))
    assert (again.outcome, again.proposed_branch) == (first.outcome, first.proposed_branch)
    assert again.revert_sha == first.revert_sha == history.remote_head("rollback-bot/inc-1")


def test_pull_request_as_the_method_never_touches_the_branch(history: History, repositories: GitRepositories):
    merge = history.merged({"app.py": "broken\n"})
    history.push()
    done = repositories.revert(order(history, merge, method="pull_request"))
    assert done.outcome is RevertOutcome.PUSH_REJECTED
    assert history.remote_head() == merge
    assert history.remote_head("rollback-bot/inc-1") == done.revert_sha


def test_a_foreign_branch_in_our_place_is_left_alone(history: History, repositories: GitRepositories):
    merge = history.merged({"app.py": "broken\n"})
    history.push()
    git(history.work, "push", "-q", "origin", "develop~1:refs/heads/rollback-bot/inc-1")
    theirs = history.remote_head("rollback-bot/inc-1")
    history.hook("pre-receive", PROTECTED)
    done = repositories.revert(order(history, merge))
    assert done.outcome is RevertOutcome.PUSH_REJECTED
    assert done.proposed_branch == f"rollback-bot/inc-1-{merge[:7]}"
    assert history.remote_head("rollback-bot/inc-1") == theirs


def test_a_lost_race_is_fetched_checked_and_reverted_again(history: History, tmp_path: Path):
    merge = history.merged({"app.py": "broken\n"})
    history.push()
    raced: list[str] = []

    def race(moment: str, args: tuple[str, ...]) -> None:
        if moment == "before" and args[0] == "push" and len(raced) < 2:
            raced.append(history.commit(f"Race {len(raced)}", {f"race{len(raced)}.txt": "x\n"}))
            history.push()

    repositories = repositories_on(tmp_path / "data", history, observe=race)
    repositories.refresh(history.name, "develop")
    done = repositories.revert(order(history, merge, head=merge))
    assert done.outcome is RevertOutcome.REVERTED
    assert len(raced) == 2 and history.count(raced[-1]) == 1
    assert git(history.bare, "show", "develop:race1.txt") == b"x\n"


def test_a_branch_that_never_stands_still_is_given_up(history: History, tmp_path: Path):
    merge = history.merged({"app.py": "broken\n"})
    history.push()

    def race(moment: str, args: tuple[str, ...]) -> None:
        if moment == "before" and args[0] == "push":
            history.commit("Race", {"race.txt": str(time.time_ns())})
            history.push()

    done = repositories_on(tmp_path / "data", history, observe=race).revert(order(history, merge))
    assert done.outcome is RevertOutcome.REFUSED
    assert "moved 4 times" in done.reason


def test_a_branch_reset_during_the_push_is_not_brought_back(history: History, tmp_path: Path):
    good = history.head()
    merge = history.merged({"app.py": "broken\n"})
    history.push()

    def reset(moment: str, args: tuple[str, ...]) -> None:
        if moment == "before" and args[0] == "push":
            git(history.bare, "update-ref", "refs/heads/develop", good)

    done = repositories_on(tmp_path / "data", history, observe=reset).revert(order(history, merge))
    assert done.outcome is RevertOutcome.REFUSED
    assert "is not on develop" in done.reason
    assert history.remote_head() == good


def test_several_merges_go_newest_first_in_one_push(history: History, repositories: GitRepositories):
    good = history.head()
    first = history.merged({"app.py": "1\n"}, feature="one")
    second = history.merged({"app.py": "2\n"}, feature="two")
    squash = history.commit("Third (#3)", {"app.py": "3\n"})
    history.push()
    done = repositories.revert(order(history, first, squash, second, good_tree_of=good))
    assert done.outcome is RevertOutcome.REVERTED
    assert len(done.commits) == 3 and history.count(squash) == 3
    assert history.remote_tree() == history.tree(good)
    named = [f"This reverts commit {sha}." in history.message(at) for sha, at in
             zip((squash, second, first), done.commits, strict=True)]  # fmt: skip
    assert all(named)


def test_the_tree_must_come_out_as_the_last_good_one(history: History, repositories: GitRepositories):
    good = history.head()
    history.commit("A quiet commit between", {"README.md": "changed\n"})
    merge = history.merged({"app.py": "broken\n"})
    history.push()
    done = repositories.revert(order(history, merge, good_tree_of=good))
    assert done.outcome is RevertOutcome.REFUSED
    assert "not those of the last good deploy" in done.reason
    assert history.remote_head() == merge


@pytest.mark.parametrize(
    ("sha", "said"),
    [
        ("deadbeef", "not a full commit hash"),
        ("--upload-pack=touch /tmp/x", "not a full commit hash"),
        ("a" * 40, "is not known here"),
        ("HEAD", "not a full commit hash"),
    ],
)
def test_a_hostile_or_unknown_sha_is_refused_in_a_sentence(
    history: History, repositories: GitRepositories, sha: str, said: str
):
    done = repositories.revert(order(history, sha))
    assert done.outcome is RevertOutcome.REFUSED
    assert said in done.reason


@pytest.mark.parametrize(
    "branch", ["-delete", "+develop", "refs/heads/develop", "a..b", "@{-1}", "x y", "", "a.lock"]
)
def test_a_hostile_branch_is_refused_in_a_sentence(
    history: History, repositories: GitRepositories, branch: str
):
    done = repositories.revert(order(history, "a" * 40, branch=branch))
    assert done.outcome is RevertOutcome.REFUSED
    assert "is not a branch name" in done.reason


def test_a_server_that_is_gone_is_a_failure_with_a_reason(history: History, repositories: GitRepositories):
    merge = history.merged({"app.py": "broken\n"})
    history.bare.rename(history.bare.with_suffix(".gone"))
    with pytest.raises(CannotRevert, match="may not be read"):
        repositories.revert(order(history, merge, head=merge))
    with pytest.raises(CannotReadRepository):
        repositories.refresh(history.name, "develop")


def test_facts_of_commits(history: History, repositories: GitRepositories):
    good = history.head()
    merge = history.merged({"app.py": "broken\n", "docs/é.md": "x\n"})
    squash = history.commit("Squashed (#43)", {"b.py": "b\n"})
    history.push()
    head = repositories.refresh(history.name, "develop")
    assert head == squash
    facts = repositories.commit(history.name, "develop", merge)
    assert facts.shape is CommitShape.MERGE and facts.on_branch
    assert facts.paths == ("app.py", "docs/é.md")
    assert facts.subject == "Merge pull request #42 from acme/feature"
    walk = repositories.between(history.name, "develop", good, squash, at_most=5)
    assert [each.sha for each in walk] == [squash, merge]
    assert len(repositories.between(history.name, "develop", good, squash, at_most=0)) == 1
    assert repositories.read_file(history.name, merge, "app.py") == b"broken\n"
    assert repositories.read_file(history.name, merge, "no/such") is None
    assert repositories.read_file(history.name, merge, "docs") is None
    with pytest.raises(CannotReadRepository, match="first-parent line"):
        side = git(history.work, "rev-parse", f"{merge}^2").decode().strip()
        repositories.between(history.name, "develop", side, squash, at_most=5)


def test_facts_tell_what_was_reverted_and_relanded(history: History, repositories: GitRepositories):
    merge = history.merged({"app.py": "broken\n"})
    history.push()
    done = repositories.revert(order(history, merge))
    assert done.revert_sha
    assert repositories.commit(history.name, "develop", merge).already_reverted_by == done.revert_sha
    assert repositories.commit(history.name, "develop", done.revert_sha).rollback_deploy == "deploy-1"
    git(history.work, "pull", "-q", "--ff-only", "origin", "develop")
    git(history.work, "revert", "--no-edit", done.revert_sha)
    reland = history.push()
    repositories.refresh(history.name, "develop")
    assert repositories.commit(history.name, "develop", merge).already_reverted_by is None
    assert repositories.commit(history.name, "develop", reland).relands == merge


def test_commits_can_be_signed_with_an_ssh_key_and_signed_off(history: History, tmp_path: Path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    identity = CommitIdentity(BOT.name, BOT.email, signing_key=str(key), sign_format="ssh", sign_off=True)
    repositories = GitRepositories(
        tmp_path / "data", f"file://{history.root}", lambda _: None, identity, allow_file=True
    )
    merge = history.merged({"app.py": "broken\n"})
    history.push()
    done = repositories.revert(order(history, merge))
    assert done.outcome is RevertOutcome.REVERTED
    signers = tmp_path / "signers"
    signers.write_text(f"{BOT.email} {key.with_suffix('.pub').read_text()}")
    git(history.bare, "-c", f"gpg.ssh.allowedSignersFile={signers}", "verify-commit", "develop")
    assert history.message("develop").rstrip().endswith(f"Signed-off-by: {BOT.name} <{BOT.email}>")


def test_a_key_that_cannot_sign_is_told_and_pushes_nothing(history: History, tmp_path: Path):
    identity = CommitIdentity(BOT.name, BOT.email, signing_key=str(tmp_path / "none"), sign_format="ssh")
    repositories = GitRepositories(
        tmp_path / "data", f"file://{history.root}", lambda _: None, identity, allow_file=True
    )
    merge = history.merged({"app.py": "broken\n"})
    history.push()
    done = repositories.revert(order(history, merge))
    assert done.outcome is RevertOutcome.REFUSED and "git commit-tree failed" in done.reason
    assert history.remote_head() == merge


def test_a_server_that_is_not_https_must_be_allowed(tmp_path: Path):
    for url in ("http://git.example.com", "file:///srv", "ext::sh", "/srv/git", "ssh://git@example.com"):
        with pytest.raises(BadName, match="cannot be cloned over"):
            GitRepositories(tmp_path, url, lambda _: None, BOT)
    GitRepositories(tmp_path, "http://git.example.com", lambda _: None, BOT, allow_http=True)


@pytest.mark.parametrize("repository", ["../etc", "acme/../x", "acme", "acme/x y", "-a/b"])
def test_a_hostile_repository_name_is_refused_in_a_sentence(
    repositories: GitRepositories, history: History, repository: str
):
    done = repositories.revert(order(history, "a" * 40, head="b" * 40, repository=repository))
    assert done.outcome is RevertOutcome.REFUSED and "is not a repository" in done.reason
    with pytest.raises(CannotReadRepository, match="is not a repository"):
        repositories.refresh(repository, "develop")
