"""`rollback-bot revert` in a person's checkout: what it refuses, touching nothing, and what never runs there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bot.checkout_revert import ByHand, remote_url, revert_by_hand
from bot.git_names import BadName
from bot.operator_checkout import NotACheckout
from tests.git_histories import PROTECTED, git, run_git
from tests.operator_checkouts import ALREADY, CONFLICT, REFUSED, REVERTED, TEN, Person, head


def refused(person: Person, **options: bool) -> str:
    before, at = person.state(), head(person)
    done = person.revert(**options)
    assert done.outcome is REFUSED, done
    assert (person.state(), head(person)) == (before, at)
    assert person.history.remote_head() == person.merge
    return done.reason


def test_an_untracked_file_in_the_way_is_refused(person: Person):
    person.write("old.txt", "my own, never committed\n")
    assert refused(person).startswith("old.txt is not tracked here")


def test_an_ignored_file_in_the_way_is_refused_though_git_would_overwrite_it(person: Person):
    person.write(".git/info/exclude", "old.txt\n")
    person.write("old.txt", "secret settings\n")
    assert "is not tracked here" in refused(person)


def test_a_folder_in_the_way_of_a_file_is_refused(person: Person):
    person.write("old.txt/inside", "mine\n")
    assert "old.txt/inside" in refused(person)


def test_push_still_saves_production_when_only_this_checkout_is_in_the_way(person: Person):
    person.write("old.txt", "my own\n")
    before, at = person.state(), head(person)
    done = person.revert(push=True)
    assert done.outcome is REVERTED and person.history.remote_head() == done.commits[-1]
    assert (person.state(), head(person)) == (before, at)
    assert any("left where it was" in note for note in done.notes) and done.command


@pytest.mark.parametrize("name", ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG"])
def test_an_operation_under_way_is_refused(person: Person, name: str):
    (person.path / ".git" / name).write_text(person.good + "\n")
    assert "is under way" in refused(person)


def test_a_rebase_under_way_is_refused(person: Person):
    (person.path / ".git" / "rebase-merge").mkdir()
    assert "A rebase is under way" in refused(person)


def test_unmerged_entries_are_refused(person: Person):
    blob = git(person.path, "rev-parse", "HEAD:README.md").decode().strip()
    entries = "".join(f"100644 {blob} {stage}\tREADME.md\n" for stage in (1, 2, 3))
    git(person.path, "update-index", "--force-remove", "README.md")
    git(person.path, "update-index", "--index-info", stdin=entries.encode())
    assert "unmerged" in refused(person)


def test_intent_to_add_is_refused(person: Person):
    person.write("planned.py", "x\n")
    git(person.path, "add", "-N", "planned.py")
    assert "--intent-to-add" in refused(person)


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_edits_that_git_was_told_not_to_see_are_refused(person: Person, flag: str):
    git(person.path, "update-index", flag, "app.py")
    person.write("app.py", "hidden edit\n")
    assert refused(person).startswith("app.py is edited but marked")


def test_a_running_git_is_waited_for_by_the_person(person: Person):
    (person.path / ".git" / "index.lock").touch()
    assert "index.lock" in refused(person)


def test_a_shallow_checkout_is_refused(person: Person, tmp_path: Path):
    subprocess.run(
        ["git", "clone", "-q", "--depth=1", f"file://{person.history.bare}", str(tmp_path / "s")], check=True
    )
    done = revert_by_hand(ByHand(tmp_path / "s", "develop", (person.merge,)))
    assert done.outcome is REFUSED and "shallow" in done.reason
    assert done.command == "git fetch --unshallow"


def test_unpushed_commits_are_never_published(person: Person):
    person.history.commit("Private work", {"private.txt": "x\n"})
    before = head(person)
    done = person.revert(push=True)
    assert done.outcome is REFUSED and "commits that origin does not have" in done.reason
    assert (head(person), person.history.remote_head()) == (before, person.merge)


def test_reverts_of_an_earlier_run_are_pushed_by_the_command_that_is_printed(person: Person):
    assert person.revert().outcome is REVERTED
    done = person.revert(push=True)
    assert done.outcome is REFUSED and "only reverts that origin does not have" in done.reason
    assert done.command == "git push origin develop:develop"
    git(person.path, *done.command.split()[1:])
    assert (person.history.remote_head(), person.revert(push=True).outcome) == (head(person), ALREADY)


def test_an_alias_of_the_checkout_is_not_used_and_that_is_said(person: Person):
    from bot.failures import CannotRevert

    real = git(person.path, "config", "remote.origin.url").decode().strip()
    git(person.path, "config", f"url.{real}.insteadOf", "https://no-such-name.invalid/alias")
    git(person.path, "config", "remote.origin.url", "https://no-such-name.invalid/alias")
    git(person.path, "fetch", "-q")
    with pytest.raises(CannotRevert, match=r"rewrites addresses .* put the whole address into the remote"):
        person.revert(push=True)


def test_a_protected_branch_says_so_and_changes_nothing(person: Person):
    person.history.hook("pre-receive", PROTECTED)
    assert "GH006" in refused(person, push=True)


def test_a_conflict_names_the_paths(person: Person):
    person.history.commit("On top", {"app.py": TEN.replace("line 2", "OTHER")})
    person.history.push()
    before = person.state()
    done = person.revert()
    assert (done.outcome, done.conflicts) == (CONFLICT, (b"app.py",))
    assert person.state() == before


def test_after_a_refused_push_of_several_the_printed_command_reverts_them(person: Person):
    good = person.history.tree(person.good)
    newer = person.history.merged({"app.py": TEN.replace("line 2", "BROKEN AGAIN")}, feature="newer")
    person.history.push()
    person.history.hook("pre-receive", PROTECTED)
    done = person.revert(person.merge, newer, push=True)
    assert done.outcome is REFUSED and done.command is not None
    subprocess.run(
        ["bash", "-c", f"GIT_EDITOR=true; export GIT_EDITOR; {done.command}"], cwd=person.path, check=True
    )
    assert git(person.path, "rev-parse", "HEAD^{tree}").decode().strip() == good


def test_nobody_without_an_upstream_is_told_to_pull(person: Person):
    person.history.commit("On top", {"app.py": TEN.replace("line 2", "OTHER")})
    told = person.revert().command
    assert told == f"git switch develop && git revert -m 1 {person.merge}"
    person.history.push()
    git(person.path, "branch", "-q", "--set-upstream-to", "origin/develop", "develop")
    assert (
        person.revert().command
        == f"git switch develop && git pull --ff-only && git revert -m 1 {person.merge}"
    )


def test_two_runs_at_once_do_not_meet(person: Person):
    from bot.failures import CannotRevert
    from bot.operator_checkout import held, open_checkout

    opened = open_checkout(person.path)
    with (
        held(opened),
        pytest.raises(CannotRevert, match="Another `rollback-bot revert`"),
        held(opened, wait_s=0),
    ):
        pass


def test_a_foxtrot_is_told_by_where_the_remote_stands(person: Person):
    git(person.path, "checkout", "-q", "-b", "mine", person.good)
    person.history.commit("Mine", {"mine.txt": "x\n"})
    git(person.path, "merge", "-q", "--no-edit", "-m", "Catch up", "develop")
    git(person.path, "branch", "-q", "-f", "develop", "HEAD")
    foxtrot = git(person.path, "rev-parse", "HEAD").decode().strip()
    done = person.revert(foxtrot)
    assert done.outcome is REFUSED and done.command == f"git revert -m 2 {foxtrot}"


HOSTILE = [
    "core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "core.gitProxy",
    "core.alternateRefsCommand", "sequence.editor", "diff.external", "diff.evil.command", "diff.evil.textconv",
    "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "merge.evil.driver", "gpg.program",
    "gpg.ssh.program", "credential.helper", "remote.origin.uploadpack", "remote.origin.receivepack",
    "uploadpack.packObjectsHook", "interactive.diffFilter", "alias.stash", "alias.read-tree", "status.submoduleSummary",
]  # fmt: skip


@pytest.mark.parametrize("push", [False, True])
def test_nothing_of_a_hostile_checkout_runs(person: Person, tmp_path: Path, push: bool):
    proof = tmp_path / "ran"
    person.history.commit(
        "Attributes", {".gitattributes": "*.py filter=evil merge=evil diff=evil\n* diff=evil\n"}
    )
    person.history.push()
    script = f"touch {proof}; cat"
    for key in HOSTILE:
        git(person.path, "config", key, script)
    for name in ("post-checkout", "post-merge", "pre-push", "reference-transaction", "post-index-change", "pre-commit",
                 "post-commit", "prepare-commit-msg", "post-rewrite", "fsmonitor-watchman"):  # fmt: skip
        hook = person.path / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\n{script}\n")
        hook.chmod(0o755)
    mine = TEN.replace("line 2", "BROKEN").replace("line 8", "MINE")
    (person.path / "app.py").write_text(mine)
    done = person.revert(push=push)
    assert done.outcome is REVERTED, done
    assert not proof.exists()
    here = (person.path / "app.py").read_text()
    stash = run_git(person.path, "show", "stash@{0}:app.py").stdout.decode()
    assert here == TEN.replace("line 8", "MINE") or stash == mine


def test_a_work_tree_somewhere_else_is_refused(person: Person, tmp_path: Path):
    (tmp_path / "home").mkdir()
    git(person.path, "config", "core.worktree", str(tmp_path / "home"))
    with pytest.raises(NotACheckout, match=r"core\.worktree"):
        person.revert()


@pytest.mark.parametrize(
    "url", ["ext::sh -c 'touch /tmp/never'", "fd::17", "-oProxyCommand=x", "evil://x/y", "a\nb"]
)
def test_a_hostile_remote_is_refused_in_a_sentence(person: Person, url: str):
    git(person.path, "config", "remote.origin.url", url)
    with pytest.raises(BadName, match="is not an address to push to"):
        person.revert(push=True)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("https://github.com/a/b.git", "https://github.com/a/b.git"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("ssh://git@host:22/a", "ssh://git@host:22/a"),
        ("../b.git", "/srv/b.git"),
        ("/srv/x.git", "/srv/x.git"),
    ],
)
def test_addresses_that_are_spoken_to(url: str, meant: str):
    assert remote_url(url, Path("/srv/work")) == meant


def test_no_folder_no_checkout_no_branch(person: Person, tmp_path: Path):
    with pytest.raises(NotACheckout, match="is not a folder"):
        revert_by_hand(ByHand(tmp_path / "nowhere", "develop", (person.merge,)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotACheckout, match="is not a git checkout"):
        revert_by_hand(ByHand(tmp_path / "empty", "develop", (person.merge,)))
    with pytest.raises(BadName, match="There is no branch nope"):
        revert_by_hand(ByHand(person.path, "nope", (person.merge,)))
