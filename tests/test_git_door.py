"""The git door: what git may see, for how long it may run, and what of its words leaves it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.git_door import Credential, GitDoor, GitFailed, GitTimedOut
from bot.git_names import BadName, branch_name, full_sha, git_sentence, repository_name, shown
from tests.git_histories import git
from tests.patience import PATIENCE_S, until

TOKEN = "ghs_" + "S3cretT0ken" * 3


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "-b", "develop", str(tmp_path / "repo")], check=True)
    (tmp_path / "repo" / "a.txt").write_text("a\n")
    git(tmp_path / "repo", "add", "-A")
    git(tmp_path / "repo", "commit", "-qm", "One")
    return tmp_path / "repo"


def test_an_answer_has_code_output_and_cleaned_words(repo: Path):
    door = GitDoor()
    assert len(door.run("rev-parse", "HEAD", git_dir=repo / ".git").text) == 40
    answer = door.run("rev-parse", "--verify", "nothing", git_dir=repo / ".git", ok=())
    assert answer.code == 128 and "Needed a single revision" in answer.err
    with pytest.raises(GitFailed, match="git rev-parse failed: Needed a single revision"):
        door.run("rev-parse", "--verify", "nothing", git_dir=repo / ".git")


def test_stray_git_variables_and_the_users_settings_do_not_reach_git(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = Somebody\n[alias]\n\thi = !touch /tmp/never\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", "/somewhere/else")
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Mallory")
    monkeypatch.setenv("GIT_INDEX_FILE", "/somewhere/index")
    answer = GitDoor().run("config", "--get", "user.name", git_dir=repo / ".git", ok=())
    assert answer.code == 1 and answer.out == b""
    assert not (tmp_path / "trace").exists()


def test_the_person_at_the_terminal_keeps_their_own_settings(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "gitconfig").write_text("[user]\n\tname = Somebody\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    answer = GitDoor().run("config", "--get", "user.name", git_dir=repo / ".git", as_person=True)
    assert answer.text == "Somebody"


def test_hooks_of_a_repository_do_not_run(repo: Path, tmp_path: Path):
    hook = repo / ".git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    hook.chmod(0o755)
    git(repo, "update-ref", "refs/heads/proof", "HEAD")
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    GitDoor().run("update-ref", "refs/heads/other", "HEAD", git_dir=repo / ".git")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "url",
    ["ext::sh -c 'touch /tmp/x'", "fd::17", "file:///tmp/x", "http://127.0.0.1:9/x", "git://127.0.0.1/x"],
)
def test_only_configured_transports_are_spoken(repo: Path, url: str):
    with pytest.raises(GitFailed, match=r"transport '\w+' not allowed"):
        GitDoor(("https",)).run("fetch", "--end-of-options", url, git_dir=repo / ".git")


def test_a_command_that_takes_too_long_is_asked_to_stop_and_leaves_no_lock(repo: Path):
    with pytest.raises(GitTimedOut, match=r"took longer than 0\.5 s and was stopped"):
        # `hash-object --stdin-paths` waits for input for as long as its pipe is open.
        GitDoor().run(
            "-c", "alias.wait=!sleep 60", "wait", git_dir=repo / ".git", timeout_s=0.5,
        )  # fmt: skip
    assert not list((repo / ".git").glob("*.lock"))


def test_a_command_that_does_not_listen_is_killed(repo: Path):
    alias = "alias.deaf=!trap '' TERM; while :; do sleep 1; done"
    with pytest.raises(GitTimedOut):
        GitDoor().run("-c", alias, "deaf", git_dir=repo / ".git", timeout_s=0.2)


def test_a_token_in_an_argument_stops_everything(repo: Path):
    credential = Credential("https://github.com", "x-access-token", TOKEN)
    with pytest.raises(GitFailed, match="nothing was run"):
        GitDoor().run(
            "fetch", f"https://x:{TOKEN}@github.com/a/b", git_dir=repo / ".git", credential=credential
        )


def test_credentials_are_bound_to_their_server_and_hidden_in_words(repo: Path):
    credential = Credential("https://github.com", "x-access-token", TOKEN)
    assert TOKEN not in repr(credential)
    ((key, value),) = credential.config()
    assert key == "http.https://github.com/.extraHeader"
    assert value.startswith("Authorization: Basic ") and TOKEN not in value
    said = shown(f"fatal: {TOKEN} and {value}", credential.secrets())
    assert TOKEN not in said and value.split()[-1] not in said


def test_observers_hear_of_every_command(repo: Path):
    heard: list[tuple[str, str]] = []
    GitDoor(observe=lambda moment, args: heard.append((moment, args[0]))).run(
        "rev-parse", "HEAD", git_dir=repo / ".git"
    )
    assert heard == [("before", "rev-parse"), ("started", "rev-parse"), ("after", "rev-parse")]


def test_an_inherited_lock_outlives_its_process_until_git_ends(repo: Path, tmp_path: Path):
    """The bot is killed while its git still runs: nobody else gets the lock before that git is done."""
    from bot.file_lock import file_lock

    lock, may_end = tmp_path / "lock", tmp_path / "may-end"
    alias = f"alias.w=!while [ ! -e {may_end} ]; do sleep 0.05; done"
    code = (
        "from pathlib import Path; from bot.git_door import GitDoor; from bot.file_lock import file_lock\n"
        f"with file_lock(Path({str(lock)!r})) as held:\n"
        f"    GitDoor().run('-c', {alias!r}, 'w', keep_open=(held,), git_dir=Path({str(repo / '.git')!r}))\n"
    )
    bot = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    until(lambda: _has_git_child(bot.pid), "its git runs")
    os.kill(bot.pid, signal.SIGKILL)
    bot.wait()
    with pytest.raises(BlockingIOError), file_lock(lock, wait_s=0.3):
        pass
    may_end.touch()
    with file_lock(lock, wait_s=PATIENCE_S):
        pass


def _has_git_child(pid: int) -> bool:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return children.exists() and bool(children.read_text().strip())


@pytest.mark.parametrize("good", ["a" * 40, "0123456789" * 4])
def test_full_hashes_pass(good: str):
    assert full_sha(good) == good


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "a" * 39,
        "A" * 40,
        "g" * 40,
        "HEAD",
        "-" + "a" * 39,
        "a" * 40 + "\n",
        "a" * 40 + "^",
        "a" * 41,
        "a" * 64,
    ],
)
def test_everything_else_is_no_hash(bad: str):
    with pytest.raises(BadName, match="not a full commit hash"):
        full_sha(bad)


@pytest.mark.parametrize(
    "good", ["develop", "release/2.4", "feature/é", "a-b_c.d", "dependabot/npm/@types/x"]
)
def test_branch_names_pass(good: str):
    assert branch_name(good) == good


@given(st.text(max_size=30))
def test_what_passes_as_a_branch_git_accepts_too(name: str):
    try:
        branch_name(name)
    except BadName:
        return
    done = subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True)
    assert done.returncode == 0 and done.stdout.decode().rstrip("\n") == name


@pytest.mark.parametrize(
    "bad", ["a", "a/b/c", "../b", "a/..", "a/.", "a/b.git", "-a/b", "a/b c", "a/b\n", "", "a/b;c"]
)
def test_hostile_repositories_are_refused(bad: str):
    with pytest.raises(BadName):
        repository_name(bad)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("fatal: https://user:pass@host/x: denied", "fatal: https://***@host/x: denied"),
        ("see https://host/x?access_token=abc&y=1", "see https://host/x?access_token=***&y=1"),
        ("\x1b[31mred\x1b[0m\x00\x07 bell", "red bell"),
        ("a\rb", "a\nb"),
    ],
)
def test_words_are_cleaned(raw: str, clean: str):
    assert shown(raw) == clean


def test_the_telling_lines_are_chosen():
    err = "Cloning...\nwarning: x\nfatal: unable to access 'https://h/': Could not resolve host: h\n"
    assert git_sentence(err) == "unable to access 'https://h/': Could not resolve host: h"
    assert git_sentence("") == "git said nothing"


def test_a_git_that_is_too_old_or_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    GitDoor().require_git()
    old = tmp_path / "git"
    old.write_text("#!/bin/sh\necho git version 2.30.2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(GitFailed, match=r"git version 2\.30\.2; git 2\.38 or later is needed"):
        GitDoor().require_git()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(GitFailed, match="git was not found on this machine"):
        GitDoor().require_git()
