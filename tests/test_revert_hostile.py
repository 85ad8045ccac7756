"""Messages and repositories that mean harm: what is reverted is the same, and nothing of theirs runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bot.git_door import GitDoor
from bot.revert_checks import RevertRequest
from bot.revert_history import Source
from bot.revert_worktree import scratch
from bot.reverting import prepare
from tests.git_histories import History, git
from tests.random_histories import Case
from tests.revert_comparison import BOT, TRAILERS, our_revert
from tests.revert_on_history import REFUSED, REVERTED, TEN, revert

# --- messages and hostile repositories ------------------------------------------------------------


def test_a_latin_1_message_is_read_and_written_as_utf_8(history: History):
    git(history.work, "config", "i18n.commitEncoding", "latin-1")
    merge = history.merged({"a": "x\n"}, "Größe geändert".encode("latin-1"))
    done = revert(history, merge)
    assert done.outcome is REVERTED and "Größe geändert" in done.reason


def test_a_message_that_is_no_utf_8_and_claims_nothing_is_read_all_the_same(history: History):
    merge = history.merged({"a": "x\n"}, "Größe".encode("latin-1"))
    assert "Größe" in revert(history, merge).reason


def message_of(history: History, merge: str, root: Path) -> str:
    head = history.push(force=True)
    door = GitDoor()
    with scratch(root, history.bare / "objects", door) as place:
        done = prepare(
            place, Source(door, history.bare), head, RevertRequest("develop", (merge,), TRAILERS, BOT)
        )
        return place.source().log(done.commits[-1], at_most=1)[0].message


@pytest.mark.parametrize(
    "subject",
    [
        "# a heading, not a comment",
        "[skip ci] quick fix",
        "Fix @dana's bug, closes #1",
        "x\u202egnp.exe",
        "-m 2",
        "$(touch /tmp/x) `id` ; rm -rf /",
        "---",
        "Rollback-Deploy: other",
    ],
)
def test_hostile_subjects_do_no_harm(history: History, tmp_path: Path, subject: str):
    merge = history.merged({"a": "x\n"}, f"{subject}\n\nskip-checks: true\n")
    message = message_of(history, merge, tmp_path / "ours")
    first = message.splitlines()[0]
    assert first.startswith('Revert "') and f"This reverts commit {merge}." in message
    assert message.count("Rollback-Deploy: deploy-1") == 1 and message.rstrip().endswith("Ordered-By: bot")
    for bad in ("[skip ci]", "@dana", "#1", "skip-checks", "\u202e"):
        assert bad not in message


def test_replace_refs_and_grafts_do_not_change_what_is_reverted(history: History):
    good = history.head()
    merge = history.merged({"app.py": "broken\n"})
    head = history.push()
    git(history.bare, "replace", "--graft", merge, good)
    git(history.bare, "replace", good, git(history.work, "rev-parse", "feature").decode().strip())
    (history.bare / "info").mkdir(exist_ok=True)
    (history.bare / "info" / "grafts").write_text(f"{merge}\n")
    done = our_revert(Case(history.bare, head, (merge,)), history.root)
    # info/grafts of a mirror would be ours; that of somebody's repository is never read, through alternates.
    assert done.outcome in (REVERTED, REFUSED)
    (history.bare / "info" / "grafts").unlink()
    done = our_revert(Case(history.bare, head, (merge,)), history.root)
    assert (done.outcome, done.tree) == (REVERTED, history.tree(good))


def test_nothing_of_a_hostile_repository_runs_or_writes_outside(history: History, tmp_path: Path):
    proof = tmp_path / "ran"
    evil = f"touch {proof}; cat"
    history.commit(
        "Before",
        {
            "x.txt": TEN,
            ".gitattributes": "*.txt filter=evil merge=evil diff=evil\n",
            ".gitmodules": f'[submodule "m"]\n\tpath = m\n\turl = ext::sh -c "touch {proof}"\n',
            ".gitconfig": f"[core]\n\tfsmonitor = touch {proof}\n",
        },
    )
    merge = history.merged({"x.txt": TEN.replace("line 3", "three")})
    history.commit("After", {"x.txt": TEN.replace("line 3", "three").replace("line 7", "seven")})
    head = history.push()
    for key in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "filter.evil.smudge",
        "filter.evil.clean",
        "filter.evil.process",
        "merge.evil.driver",
        "diff.evil.command",
        "diff.evil.textconv",
        "diff.external",
        "core.editor",
        "sequence.editor",
        "gpg.program",
        "credential.helper",
    ):
        git(history.bare, "config", key, evil)
    for name in (
        "post-checkout",
        "post-commit",
        "prepare-commit-msg",
        "reference-transaction",
        "post-index-change",
        "pre-commit",
        "commit-msg",
    ):
        history.hook(name, evil)
    before = sorted(path for path in tmp_path.rglob("*") if "ours" not in path.parts)
    done = our_revert(Case(history.bare, head, (merge,)), history.root)
    assert done.outcome is REVERTED
    assert not proof.exists()
    after = sorted(path for path in tmp_path.rglob("*") if "ours" not in path.parts)
    assert after == before


def test_the_scratch_worktree_leaves_nothing_behind(history: History, tmp_path: Path):
    merge = history.merged({"app.py": "broken\n"})
    head = history.push()
    before = subprocess.run(["find", str(history.bare)], capture_output=True).stdout
    our_revert(Case(history.bare, head, (merge,)), tmp_path)
    assert list((tmp_path / "ours").iterdir()) == []
    assert subprocess.run(["find", str(history.bare)], capture_output=True).stdout == before
