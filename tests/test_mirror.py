"""Kept mirrors: fetched, shared between processes, mended by themselves, bounded, and their progress visible."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import structlog

from bot.failures import CannotReadRepository
from bot.file_lock import file_lock
from bot.git_door import GitDoor, Observer
from bot.mirror import Mirror, keep_within, tips_in_reflog
from bot.mirror_progress import CloneProgress, ProgressFile, clones_in_progress
from tests.git_histories import History, git
from tests.git_server import GitServer
from tests.killed_runs import killed_at
from tests.patience import PATIENCE_S


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path / "server")
    made.commit("Start", {f"file{n}.txt": f"{n}\n" * 200 for n in range(30)})
    made.push()
    return made


def mirror_of(history: History, root: Path, door: GitDoor | None = None) -> Mirror:
    return Mirror(
        root / "mirrors", f"file://{history.root}", history.name, door or GitDoor(("file",)), lambda _: None
    )


@pytest.fixture
def mirror(history: History, tmp_path: Path) -> Mirror:
    made = mirror_of(history, tmp_path)
    made.refresh("develop")
    return made


def is_whole(mirror: Mirror) -> bool:
    git(mirror.path, "fsck", "--full", "--strict")
    return not list(mirror.path.rglob("*.lock")) and not list(mirror.path.rglob("tmp_*"))


def test_a_first_refresh_clones_and_later_ones_fetch(history: History, mirror: Mirror):
    inode = mirror.path.stat().st_ino
    moved = history.commit("More", {"more.txt": "x\n"})
    history.push()
    assert mirror.refresh("develop") == moved
    assert mirror.path.stat().st_ino == inode
    assert mirror.tips_seen("develop")[0] == moved
    assert is_whole(mirror)


def test_a_forced_branch_is_followed(history: History, mirror: Mirror):
    git(history.work, "commit", "-q", "--amend", "-m", "Another root")
    forced = history.push(force=True)
    assert mirror.refresh("develop") == forced


def test_a_branch_that_is_gone_is_a_sentence(history: History, mirror: Mirror):
    with pytest.raises(CannotReadRepository, match="has no branch nope"):
        mirror.refresh("nope")
    assert is_whole(mirror)


def test_a_branch_where_a_folder_of_branches_was_is_fetched_all_the_same(history: History, mirror: Mirror):
    git(history.work, "push", "-q", "origin", "develop:refs/heads/release")
    mirror.refresh("release")
    git(history.work, "push", "-q", "origin", ":refs/heads/release", "develop:refs/heads/release/2.0")
    assert mirror.refresh("release/2.0") == history.head()


# --- mending --------------------------------------------------------------------------------------


def test_a_mirror_with_a_broken_pack_is_cloned_again_when_it_matters(history: History, mirror: Mirror):
    (pack,) = (mirror.path / "objects" / "pack").glob("*.pack")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])
    assert mirror.heal("develop", "a read failed")
    assert is_whole(mirror)
    assert not mirror.heal("develop", "nothing is wrong now")


def test_a_flipped_bit_in_a_file_is_found(history: History, mirror: Mirror):
    (pack,) = (mirror.path / "objects" / "pack").glob("*.pack")
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0xFF
    pack.write_bytes(bytes(data))
    assert mirror.heal("develop", "a read failed")
    assert is_whole(mirror)


def test_a_mirror_without_objects_heals_by_fetching(history: History, mirror: Mirror):
    for pack in (mirror.path / "objects" / "pack").iterdir():
        pack.unlink()
    history.commit("More", {"more.txt": "x\n"})
    moved = history.push()
    assert mirror.refresh("develop") == moved
    assert is_whole(mirror)


def test_leftovers_of_a_cut_off_fetch_are_swept_and_what_it_broke_is_cloned_again(
    history: History, mirror: Mirror
):
    (mirror.path / "rollback-bot-fetching").touch()
    (mirror.path / "packed-refs.lock").touch()
    (mirror.path / "refs" / "heads" / "develop.lock").touch()
    (mirror.path / "objects" / "pack" / "tmp_pack_abc").write_bytes(b"half")
    (pack,) = (mirror.path / "objects" / "pack").glob("*.pack")
    pack.unlink()
    assert mirror.refresh("develop") == history.head()
    assert is_whole(mirror)


def test_a_shallow_mirror_is_never_used(history: History, mirror: Mirror):
    (mirror.path / "shallow").write_text(history.head() + "\n")
    assert mirror.refresh("develop") == history.head()
    assert not (mirror.path / "shallow").exists()


@pytest.mark.parametrize("cloned", [False, True], ids=["first clone", "fetch"])
def test_killed_at_every_command_of_a_refresh_the_next_one_succeeds(
    history: History, tmp_path: Path, cloned: bool
):
    for at in range(1, 6):
        root = tmp_path / f"run{at}"
        if cloned:
            mirror_of(history, root).refresh("develop")
            history.commit("More", {"more.txt": f"{at}\n"})
            history.push()

        def refresh(seen: Observer, root: Path = root) -> None:
            mirror_of(history, root, GitDoor(("file",), seen)).refresh("develop")

        killed_at(at, "with git", refresh)
        mirror = mirror_of(history, root)
        assert mirror.refresh("develop") == history.head()
        assert is_whole(mirror)
        beside = {path.name for path in mirror.path.parent.iterdir()}
        assert beside == {"stagelog.git", "stagelog.lock"}


def test_an_unreachable_server_leaves_the_mirror_as_it_was(history: History, mirror: Mirror):
    history.bare.rename(history.bare.with_suffix(".away"))
    with pytest.raises(CannotReadRepository, match="may not be read"):
        mirror.refresh("develop")
    assert is_whole(mirror) and not (mirror.path / "rollback-bot-fetching").exists()
    history.bare.with_suffix(".away").rename(history.bare)
    assert mirror.refresh("develop") == history.head()


def test_a_server_that_breaks_off_is_asked_again(history: History, tmp_path: Path):
    from werkzeug.wrappers import Request, Response

    broken: list[str] = []

    def break_twice(request: Request) -> Response | None:
        if request.path.endswith("git-upload-pack") and len(broken) < 2:
            broken.append(request.path)
            return Response("try later", 502)
        return None

    with GitServer(history.root).running() as server:
        server.before = break_twice
        door = GitDoor(("http",))
        mirror = Mirror(tmp_path / "mirrors", server.url, history.name, door, lambda _: None)
        assert mirror.refresh("develop") == history.head()
        assert len(broken) == 2


# --- sharing --------------------------------------------------------------------------------------


def _refresh(root: Path, history_root: Path, name: str) -> None:
    Mirror(root / "mirrors", f"file://{history_root}", name, GitDoor(("file",)), lambda _: None).refresh(
        "develop"
    )


def test_many_processes_clone_once(history: History, tmp_path: Path):
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_refresh, args=(tmp_path, history.root, history.name)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    mirror = mirror_of(history, tmp_path)
    assert is_whole(mirror)
    # One clone made the ref and its record; the others found it and had nothing to fetch.
    assert len((mirror.path / "logs" / "refs" / "heads" / "develop").read_text().splitlines()) == 1


def test_a_lock_is_exclusive_shared_and_ends_with_its_process(tmp_path: Path):
    path = tmp_path / "x.lock"
    with (
        file_lock(path, shared=True),
        file_lock(path, shared=True),
        pytest.raises(BlockingIOError),
        file_lock(path, wait_s=0.05),
    ):
        pass
    pid = os.fork()
    if pid == 0:
        try:
            with file_lock(path, wait_s=PATIENCE_S):
                time.sleep(60)
        finally:
            os._exit(0)  # whatever happens, this copy of the test run ends here
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            with file_lock(path, wait_s=0):
                time.sleep(0.01)
        except BlockingIOError:
            break
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with file_lock(path, wait_s=PATIENCE_S):
        pass


def test_threads_do_not_share_a_lock_by_accident(tmp_path: Path):
    order: list[str] = []

    def work(name: str) -> None:
        with file_lock(tmp_path / "x.lock", wait_s=30):
            order.extend([name, name])

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(order[i] == order[i + 1] for i in range(0, 10, 2))


# --- bounds and progress --------------------------------------------------------------------------


def test_the_least_recently_used_mirrors_go_first(tmp_path: Path):
    root = tmp_path / "mirrors"
    for age, name in enumerate(("new", "middle", "old")):
        folder = root / "host" / "acme" / f"{name}.git"
        folder.mkdir(parents=True)
        (folder / "HEAD").write_bytes(b"x" * 100_000)
        folder.with_suffix(".lock").touch()
        os.utime(folder.with_suffix(".lock"), (1000 - age, 1000 - age))
    gone = keep_within(root, 150_000)
    assert [path.name for path in gone] == ["old.git", "middle.git"]
    assert (root / "host" / "acme" / "new.git").exists()


def test_a_mirror_in_use_is_never_thrown_out(tmp_path: Path):
    folder = tmp_path / "mirrors" / "host" / "acme" / "busy.git"
    folder.mkdir(parents=True)
    (folder / "HEAD").write_bytes(b"x" * 100_000)
    with file_lock(folder.with_suffix(".lock"), shared=True):
        assert keep_within(tmp_path / "mirrors", 0) == ()
    assert [path.name for path in keep_within(tmp_path / "mirrors", 0)] == ["busy.git"]


def test_the_progress_of_a_clone_is_written_logged_and_gone_afterwards(tmp_path: Path):
    path = tmp_path / "mirrors" / "host" / "acme" / "big.progress.json"
    path.parent.mkdir(parents=True)
    with structlog.testing.capture_logs() as logs, ProgressFile(path, "acme/big") as progress:
        assert [each.phase for each in clones_in_progress(tmp_path)] == ["Starting"]
        progress.take("Receiving objects:  42% (42/100), 1.0 MiB | 2 MiB/s")
        progress.take("Receiving objects: 100% (100/100), done.")
        progress.take("not a progress line")
        (found,) = clones_in_progress(tmp_path)
        assert (found.repository, found.phase, found.percent) == ("acme/big", "Receiving objects", 100)
    assert logs[0]["event"] == "clone_started" and clones_in_progress(tmp_path) == ()
    dead = {"repository": "acme/dead", "phase": "x", "percent": 1, "started_at_s": 0, "updated_at_s": 0}
    path.write_text(json.dumps({**dead, "pid": 2**22 - 1}))
    assert clones_in_progress(tmp_path) == ()
    path.write_text("{half")
    assert clones_in_progress(tmp_path) == ()


def test_a_real_clone_reports_its_progress(history: History, tmp_path: Path):
    seen: list[tuple[CloneProgress, ...]] = []

    def look(moment: str, args: tuple[str, ...]) -> None:
        if args[0] == "fetch":
            seen.append(clones_in_progress(tmp_path))

    mirror_of(history, tmp_path, GitDoor(("file",), look)).refresh("develop")
    assert any(each and each[0].repository == history.name for each in seen)


def test_many_small_packs_are_gathered(history: History, mirror: Mirror):
    for number in range(45):
        history.commit("More", {"more.txt": f"{number}\n"})
        history.push()
        mirror.refresh("develop")
    packs = mirror.path / "objects" / "pack"
    before = len(list(packs.glob("*.pack")))
    mirror.tidy()
    assert before >= 40 and len(list(packs.glob("*.pack"))) < before / 4
    assert is_whole(mirror)


def test_tips_are_read_from_a_reflog(tmp_path: Path):
    a, b, c = "a" * 40, "b" * 40, "c" * 40
    (tmp_path / "log").write_text(
        f"{'0' * 40} {a} x <x> 1 +0000\tm\n{a} {b} x <x> 2 +0000\tm\nnonsense\n{b} {c} x <x> 3\n"
    )
    assert tips_in_reflog(tmp_path / "log") == (c, b, a)
    assert tips_in_reflog(tmp_path / "none") == ()


def test_mirrors_of_two_servers_never_meet(tmp_path: Path):
    paths = {
        Mirror(tmp_path, url, "acme/app", GitDoor(), lambda _: None).path
        for url in (
            "https://github.com",
            "https://ghe.example.com",
            "https://ghe.example.com:8443",
            "http://127.0.0.1:1/x",
        )
    }
    assert len(paths) == 4
