"""Pushing over real HTTP: races, rejections of every kind, broken connections, and a token that never shows."""

from __future__ import annotations

import base64
import contextlib
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import structlog
from werkzeug.wrappers import Request, Response

from bot.checkout_revert import ByHand, revert_by_hand
from bot.failures import CannotReachForge, CannotRevert
from bot.git_door import Answer, Credential
from bot.repository import GitRepositories
from bot.revert_push import PushEnd, read_push
from policies.facts import Reverted, RevertOutcome
from tests.git_histories import History, git
from tests.git_server import GitServer
from tests.operator_checkouts import TEN
from tests.patience import PATIENCE_S
from tests.test_reverting import BOT, order, repositories_on

TOKEN = "ghs_" + "Zx9" * 12
ENCODED = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path / "server")
    made.commit("Start", {"app.py": TEN})
    made.push()
    return made


@pytest.fixture
def server(history: History) -> Iterator[GitServer]:
    with GitServer(history.root, TOKEN).running() as running:
        yield running


def over_http(data: Path, server: GitServer, token: str = TOKEN) -> GitRepositories:
    return GitRepositories(data, server.url, lambda _: ("x-access-token", token), BOT, allow_http=True)


def bad_merge(history: History) -> str:
    merge = history.merged({"app.py": TEN.replace("line 2", "BROKEN")})
    history.push()
    return merge


# --- two at the same moment -----------------------------------------------------------------------


def _race(start: Connection, end: Connection, data: Path, history: History, merge: str, deploy: str) -> None:
    repositories = repositories_on(data, history)
    repositories.refresh(history.name, "develop")
    wanted = order(history, merge, head=merge, deploy_id=deploy, incident_id=deploy)
    end.send("ready")
    start.recv()
    end.send(repositories.revert(wanted))


@pytest.mark.parametrize("shared", [True, False], ids=["one data directory", "two machines"])
@pytest.mark.parametrize(
    "deploys", [("deploy-1", "deploy-2"), ("deploy-1", "deploy-1")], ids=["two orders", "one order"]
)
def test_two_bots_at_the_same_moment_make_one_commit(
    history: History, tmp_path: Path, shared: bool, deploys: tuple[str, str]
):
    merge = bad_merge(history)
    context = multiprocessing.get_context("fork")
    ends = []
    for number, deploy in enumerate(deploys):
        data = tmp_path / ("data" if shared else f"data{number}")
        start_here, start_there = context.Pipe()
        end_here, end_there = context.Pipe()
        bot = context.Process(target=_race, args=(start_there, end_there, data, history, merge, deploy))
        bot.start()
        ends.append((bot, start_here, end_here))
    for _, _, end in ends:
        assert end.poll(PATIENCE_S) and end.recv() == "ready"
    for _, start, _ in ends:
        start.send("go")
    done: list[Reverted] = []
    for bot, _, end in ends:
        assert end.poll(PATIENCE_S)
        done.append(end.recv())
        bot.join(30)
    assert history.count(merge) == 1
    if deploys[0] == deploys[1]:
        assert {each.outcome for each in done} == {RevertOutcome.REVERTED}
        assert {each.revert_sha for each in done} == {history.remote_head()}
    else:
        assert sorted(each.outcome for each in done) == ["already_reverted", "reverted"]
        assert {each.commits[-1] for each in done} == {history.remote_head()}


def test_a_person_who_was_faster_leaves_nothing_to_do(history: History, tmp_path: Path):
    merge = bad_merge(history)

    def person(moment: str, args: tuple[str, ...]) -> None:
        if moment == "before" and args[0] == "push" and history.remote_head() == merge:
            git(history.work, "revert", "-m", "1", "--no-edit", merge)
            history.push()

    done = repositories_on(tmp_path / "data", history, observe=person).revert(order(history, merge))
    assert (done.outcome, done.commits) == (RevertOutcome.ALREADY_REVERTED, (history.remote_head(),))
    assert history.count(merge) == 1


# --- rejections and broken connections ------------------------------------------------------------


def test_over_http_the_whole_way(history: History, server: GitServer, tmp_path: Path):
    merge = bad_merge(history)
    done = over_http(tmp_path / "data", server).revert(order(history, merge))
    assert (done.outcome, done.revert_sha) == (RevertOutcome.REVERTED, history.remote_head())


def test_a_token_that_may_read_but_not_write_is_refused_in_a_sentence(
    history: History, server: GitServer, tmp_path: Path
):
    merge = bad_merge(history)
    server.before = lambda request: Response("no", 403) if "receive-pack" in request.full_path else None
    done = over_http(tmp_path / "data", server).revert(order(history, merge))
    assert done.outcome is RevertOutcome.REFUSED
    assert "does not accept our pushes" in done.reason and "write access" in done.reason
    assert TOKEN not in repr(done)


def test_a_wrong_token_is_a_failure_in_a_sentence(history: History, server: GitServer, tmp_path: Path):
    merge = bad_merge(history)
    with pytest.raises(CannotRevert, match="may not be read") as failed:
        over_http(tmp_path / "data", server, "wrong-" + TOKEN).revert(order(history, merge))
    assert TOKEN not in str(failed.value)


def test_no_credentials_to_be_had_is_a_failure_in_a_sentence(
    history: History, server: GitServer, tmp_path: Path
):
    def none(_: str) -> tuple[str, str]:
        raise CannotReachForge("GitHub did not answer.")

    repositories = GitRepositories(tmp_path / "data", server.url, none, BOT, allow_http=True)
    with pytest.raises(CannotRevert, match="No credentials for acme/stagelog: GitHub did not answer"):
        repositories.revert(order(history, bad_merge(history)))


def test_a_push_whose_answer_was_lost_is_looked_for_and_not_repeated(
    history: History, server: GitServer, tmp_path: Path
):
    merge = bad_merge(history)
    lost: list[str] = []

    def lose(request: Request) -> Response | None:
        if request.method == "POST" and request.path.endswith("git-receive-pack") and not lost:
            lost.append(request.path)
            server.serve(request)  # it arrives, but nobody hears of it
            return Response("gateway", 502)
        return None

    server.before = lose
    done = over_http(tmp_path / "data", server).revert(order(history, merge))
    assert lost and done.outcome is RevertOutcome.REVERTED
    assert history.remote_head() == done.revert_sha and history.count(merge) == 1


def test_a_server_that_refuses_every_branch_is_told_as_it_is(
    history: History, server: GitServer, tmp_path: Path
):
    merge = bad_merge(history)
    history.hook("pre-receive", "echo 'Repository is \033[31marchived\033[0m' >&2; exit 1")
    done = over_http(tmp_path / "data", server).revert(order(history, merge))
    assert (done.outcome, done.proposed_branch) == (RevertOutcome.PUSH_REJECTED, None)
    assert "Repository is archived" in done.reason and "\033" not in done.reason
    assert list(history.remote_refs()) == ["refs/heads/develop"]


def test_a_redirect_is_not_followed_with_the_token(history: History, server: GitServer, tmp_path: Path):
    merge = bad_merge(history)
    with GitServer(history.root, None).running() as elsewhere:
        server.before = lambda request: Response("", 302, {"Location": elsewhere.url + request.full_path})
        with pytest.raises(CannotRevert):
            over_http(tmp_path / "data", server).revert(order(history, merge))
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("out", "err", "end", "said"),
    [
        (" \ta:refs/heads/develop\t1..2\n", "", PushEnd.ACCEPTED, ""),
        ("=\ta:refs/heads/develop\t[up to date]\n", "", PushEnd.ACCEPTED, ""),
        ("!\ta:refs/heads/develop\t[rejected] (fetch first)\n", "", PushEnd.RACED, "fetch first"),
        ("!\ta:refs/heads/develop\t[rejected] (non-fast-forward)\n", "", PushEnd.RACED, "non-fast"),
        ("!\ta:refs/heads/develop\t[rejected] (stale info)\n", "", PushEnd.RACED, "stale info"),
        ("!\ta:refs/heads/develop\t[remote rejected] (cannot lock ref 'x': is at 1 but expected 2)\n", "",
         PushEnd.RACED, "cannot lock"),
        ("!\ta:refs/heads/develop\t[remote rejected] (protected branch hook declined)\n",
         "remote: error: GH006: Protected branch update failed for refs/heads/develop.\n",
         PushEnd.REJECTED, "GH006: Protected branch update failed for refs/heads/develop."),
        ("!\ta:refs/heads/develop\t[remote rejected] (push declined due to repository rule violations)\n",
         "remote: error: GH013: Repository rule violations found for refs/heads/develop.\n"
         "remote: - Changes must be made through a pull request.\n", PushEnd.REJECTED, "GH013"),
        ("!\ta:refs/heads/develop\t[remote rejected] (pre-receive hook declined)\n", "", PushEnd.REJECTED, "hook"),
        ("!\ta:refs/heads/develop\t[remote failure] (remote failed to report status)\n", "", PushEnd.BROKEN, "failed"),
        ("", "fatal: unable to access 'http://h/': The requested URL returned error: 403\n", PushEnd.DENIED, "403"),
        ("", "remote: Write access to repository not granted.\nfatal: unable to access 'h': The requested URL "
         "returned error: 403\n", PushEnd.DENIED, "not granted"),
        ("", "fatal: the remote end hung up unexpectedly\n", PushEnd.BROKEN, "hung up"),
        ("", "", PushEnd.BROKEN, "git said nothing"),
        (" \ta:refs/heads/other\t1..2\n", "", PushEnd.BROKEN, ""),
    ],
)  # fmt: skip
def test_every_end_of_a_push_is_told_apart(out: str, err: str, end: PushEnd, said: str):
    pushed = read_push(Answer(1, f"To x\n{out}Done\n".encode(), err), "refs/heads/develop")
    assert pushed.end is end and said in pushed.sentence


# --- the token ------------------------------------------------------------------------------------


class Watch:
    """Reads every process's arguments, over and over, for as long as it is open."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)

    def _look(self) -> None:
        while not self._over.is_set():
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    with contextlib.suppress(OSError):
                        self.seen.add((process / "cmdline").read_bytes())


def test_the_token_is_in_no_argument_file_log_or_error(
    history: History,
    server: GitServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.DEBUG)
    merge = bad_merge(history)

    def slowly(request: Request) -> None:
        time.sleep(0.15)

    server.before = slowly
    data = tmp_path / "data"
    with structlog.testing.capture_logs() as logs, Watch() as watch:
        repositories = over_http(data, server)
        repositories.refresh(history.name, "develop")
        done = repositories.revert(order(history, merge))
    assert done.outcome is RevertOutcome.REVERTED
    assert any(b"push" in line and b"--porcelain" in line for line in watch.seen), "the push was not watched"
    secrets = (TOKEN, ENCODED)
    for line in watch.seen:
        assert not any(secret.encode() in line for secret in secrets), line
    for path in data.rglob("*"):
        if path.is_file():
            assert not any(secret.encode() in path.read_bytes() for secret in secrets), path
    captured = capfd.readouterr()
    everything = f"{captured.out}{captured.err}{caplog.text}{logs}{done}"
    assert not any(secret in everything for secret in secrets)


def test_the_operators_token_stays_out_of_their_checkout(history: History, server: GitServer, tmp_path: Path):
    merge = bad_merge(history)
    git(history.work, "remote", "set-url", "origin", f"{server.url}/{history.name}.git")
    asked = ByHand(history.work, "develop", (merge,), push=True)
    with Watch() as watch:
        done = revert_by_hand(asked, lambda url: Credential(server.url, "x-access-token", TOKEN))
    assert done.outcome is RevertOutcome.REVERTED and history.remote_head() == done.commits[-1]
    assert not any(TOKEN.encode() in line or ENCODED.encode() in line for line in watch.seen)
    for path in (history.work / ".git").rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes() and ENCODED.encode() not in path.read_bytes()


def test_a_broken_mirror_is_mended_in_the_middle_of_a_rollback(history: History, tmp_path: Path):
    merge = bad_merge(history)
    repositories = repositories_on(tmp_path / "data", history)
    repositories.refresh(history.name, "develop")
    for pack in (tmp_path / "data" / "mirrors").rglob("*.pack"):
        pack.chmod(0o644)
        pack.write_bytes(pack.read_bytes()[:-40] + b"\0" * 40)
    for pack in (tmp_path / "data" / "mirrors").rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 3 :] = os.urandom(len(data) - len(data) // 3)
        pack.write_bytes(bytes(data))
    done = repositories.revert(order(history, merge))
    assert (done.outcome, done.revert_sha) == (RevertOutcome.REVERTED, history.remote_head())
