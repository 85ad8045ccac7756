"""`rollback-bot revert`: the bot's own revert, made by a person in a checkout of theirs.

The revert itself happens in a scratch repository over the checkout's objects, so nothing of the checkout
runs. With `push` it is built on the remote's head and goes there first; then the local branch is brought
forward.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from bot.checkout_forward import InTheWay, bring_forward, plan, recover
from bot.checkout_journal import move_ref
from bot.failures import CannotRevert
from bot.git_door import NETWORK_S, Credential, GitDoor, GitFailed, Observer
from bot.git_names import BadName, branch_name, full_sha, git_sentence, shown
from bot.operator_checkout import Checkout, held, open_checkout
from bot.revert_checks import Prepared, RevertRequest
from bot.revert_history import Source
from bot.revert_push import PushEnd, push
from bot.revert_worktree import CommitIdentity, Scratch, scratch
from bot.reverting import prepare
from policies.facts import RevertOutcome
from policies.revert_message import RevertTrailers, rollback_deploy_of

log = structlog.get_logger(__name__)

_TRIES = 4
_FALLBACK = CommitIdentity("rollback-bot", "rollback-bot@users.noreply.github.com")
_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9._-]{1,64}@)?[A-Za-z0-9.-]{1,253}:(?!:)[^\x00-\x20]{1,1000}")
_KINDS = ("https", "http", "ssh", "file")
CredentialFor = Callable[[str], Credential | None]


class _Moved(Exception):
    """The remote branch moved while we were at it."""


@dataclass(frozen=True, slots=True)
class ByHand:
    """What a person asked for. `push`: also to the remote; `dry_run`: change nothing anywhere."""

    path: Path
    branch: str
    commits: tuple[str, ...]
    push: bool = False
    dry_run: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Remote:
    name: str
    url: str
    branch: str
    credential: Credential | None


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: the opened checkout with our lock on it, and what never changes during it."""

    asked: ByHand
    checkout: Checkout
    identity: CommitIdentity
    remote: _Remote | None
    door: GitDoor
    label: str


def revert_by_hand(
    asked: ByHand, credential_for: CredentialFor = lambda _: None, observe: Observer | None = None
) -> Prepared:
    """Do it. Raises BadName and NotACheckout for input that makes no sense, CannotRevert when something of
    ours (disk, network, git) failed; every other end is the value. May be repeated."""
    branch_name(asked.branch)
    asked = replace(asked, commits=tuple(full_sha(sha.lower()) for sha in asked.commits))
    with held(open_checkout(asked.path, observe)) as checkout:
        try:
            identity = _identity(checkout)
            notes = recover(checkout, identity)
            if checkout.ref(f"refs/heads/{asked.branch}") is None:
                raise BadName(
                    f"There is no branch {asked.branch} in this checkout. `git branch` lists those there are."
                )
            remote = _remote(checkout, asked.branch, credential_for) if asked.push else None
            door = GitDoor(_KINDS, observe)
            run = _Run(asked, checkout, identity, remote, door, f"rollback-bot: {_operation_id()}")
            done = _refusal(checkout, asked.branch) or _until_settled(run)
        except GitFailed as failure:
            raise CannotRevert(
                f"The revert could not be tried: {failure.reason}{_hint(checkout)}"
            ) from failure
    return replace(done, notes=(*notes, *done.notes))


def _refusal(checkout: Checkout, branch: str) -> Prepared | None:
    head = checkout.ref(f"refs/heads/{branch}") or ""
    shallow = checkout.common_dir / "shallow"
    if shallow.exists() and shallow.stat().st_size:
        return Prepared(
            RevertOutcome.REFUSED,
            "This checkout is shallow: a merge at its edge looks as if it had no parents, and reverting it "
            "would delete every file. Fetch the whole history first.",
            head,
            command="git fetch --unshallow",
        )
    if checkout.checked_out() == branch and (sentence := checkout.obstacle()):
        return Prepared(RevertOutcome.REFUSED, sentence, head, command="git status")
    return None


def _until_settled(run: _Run) -> Prepared:
    attempts = Retrying(
        retry=retry_if_exception_type(_Moved), stop=stop_after_attempt(_TRIES), wait=wait_random(0, 0.2)
    )
    try:
        return attempts(_attempt, run)
    except RetryError:
        return Prepared(
            RevertOutcome.REFUSED,
            f"{run.asked.branch} moved {_TRIES} times while the revert was being pushed. Nothing was pushed; "
            "try again.",
            "",
        )


def _attempt(run: _Run) -> Prepared:
    checkout, branch = run.checkout, run.asked.branch
    local = checkout.ref(f"refs/heads/{branch}")
    if local is None:
        raise CannotRevert(f"{branch} went away meanwhile.")
    with scratch(checkout.own_folder, checkout.objects, run.door, checkout.keep_open) as place:
        base = _fetch(run, place, local) if run.remote else local
        if isinstance(base, Prepared):
            return base
        request = RevertRequest(
            branch,
            run.asked.commits,
            RevertTrailers(
                run.label.partition(": ")[2], run.label.partition(": ")[2], _who(), run.asked.reason
            ),
            run.identity,
            known_tips=_known_tips(checkout, branch),
            has_upstream=checkout.value(f"branch.{branch}.merge") is not None,
        )
        source = place.source(checkout.tips_seen(branch), _repository_name(run))
        prepared = prepare(place, source, base, request)
        if run.asked.dry_run:
            return _dry(prepared)
        if prepared.outcome is RevertOutcome.REVERTED:
            return _deliver(run, place, prepared, local)
        if prepared.outcome is RevertOutcome.ALREADY_REVERTED and run.remote:
            return _only_forward(run, place, prepared, local, base)
        return prepared


def _deliver(run: _Run, place: Scratch, prepared: Prepared, local: str) -> Prepared:
    """Push if asked to, adopt the new objects, bring the local branch forward."""
    new, later = prepared.commits[-1], ""
    try:
        move = plan(run.checkout, run.asked.branch, local, new, place.git_dir / "objects")
    except InTheWay as obstacle:
        if run.remote is None:
            return Prepared(RevertOutcome.REFUSED, obstacle.sentence, prepared.head, command="git status")
        move, later = None, obstacle.sentence
    if run.remote:
        refused = _push(run, run.remote, place, prepared)
        if refused:
            return refused
    _adopt(run, place, new, local)
    if run.remote:
        move_ref(run.checkout, f"refs/remotes/{run.remote.name}/{run.remote.branch}", new)
    if move is None:
        return _left_behind(run, prepared, later)
    try:
        notes = bring_forward(run.checkout, move, run.label, run.identity)
    except CannotRevert as failure:
        if run.remote:
            return _left_behind(run, prepared, failure.reason)
        return Prepared(RevertOutcome.REFUSED, failure.reason, prepared.head)
    return replace(prepared, notes=(*prepared.notes, *notes))


def _left_behind(run: _Run, prepared: Prepared, sentence: str) -> Prepared:
    branch = run.asked.branch
    remote = run.remote.name if run.remote else "origin"
    return replace(
        prepared,
        notes=(*prepared.notes, f"The revert is pushed, but {branch} here was left where it was: {sentence}"),
        command=f"git pull --ff-only {shlex.quote(remote)} {shlex.quote(branch)}",
    )


def _only_forward(run: _Run, place: Scratch, prepared: Prepared, local: str, base: str) -> Prepared:
    """The remote has the revert already: let the local branch follow, if nothing is in the way."""
    if base == local:
        return prepared
    _adopt(run, place, base, local)
    try:
        move = plan(run.checkout, run.asked.branch, local, base, place.git_dir / "objects")
        notes = bring_forward(run.checkout, move, run.label, run.identity)
    except (InTheWay, CannotRevert) as obstacle:
        notes = (f"{run.asked.branch} here was left where it was: {obstacle.args[0]}",)
    return replace(prepared, notes=(*prepared.notes, *notes))


def _push(run: _Run, remote: _Remote, place: Scratch, prepared: Prepared) -> Prepared | None:
    """None when accepted; the answer when not. Raises _Moved when it is worth another try."""
    pushed = push(
        run.door, place.git_dir, remote.url, prepared.commits[-1], remote.branch, prepared.head,
        remote.credential, run.checkout.keep_open, as_person=remote.credential is None,
    )  # fmt: skip
    log.info("revert_pushed", branch=remote.branch, sha=prepared.commits[-1], end=pushed.end)
    if pushed.end is PushEnd.ACCEPTED:
        return None
    if pushed.end is PushEnd.RACED:
        raise _Moved
    if pushed.end is PushEnd.BROKEN:
        raise CannotRevert(
            f"The push to {remote.name} broke off, so it is not known whether it arrived: {pushed.sentence}. "
            "Run the same command again: it looks for its own commit first."
        )
    return Prepared(
        RevertOutcome.REFUSED,
        f"{remote.name} did not accept the revert on {remote.branch}: {pushed.sentence}. "
        "Nothing was changed. Make it on a branch of its own and open a pull request.",
        prepared.head,
        command=f"git switch -c rollback/{prepared.commits[-1][:12]} {shlex.quote(remote.branch)} && "
        f"git revert -m 1 {' '.join(prepared.taken_back)}",
    )


def _fetch(run: _Run, place: Scratch, local: str) -> str | Prepared:
    """The remote's head of the branch, its objects fetched into the scratch repository; or why we stop."""
    remote = run.remote
    if remote is None:
        return local
    ref = "refs/heads/remote"
    answer = run.door.run(
        "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
        "--no-recurse-submodules", "--end-of-options", remote.url, f"+refs/heads/{remote.branch}:{ref}",
        git_dir=place.git_dir, ok=(), timeout_s=NETWORK_S, credential=remote.credential,
        keep_open=run.checkout.keep_open, as_person=remote.credential is None,
    )  # fmt: skip
    if answer.code != 0:
        raise CannotRevert(
            f"{remote.name} could not be fetched: {git_sentence(answer.err)}{_aliases(run.checkout)}"
        )
    source = place.source()
    head = source.objects([ref])[ref]
    if head is None:
        raise CannotRevert(f"{remote.name} gave no head for {remote.branch}.")
    if head.sha != local and not source.is_ancestor(local, head.sha):
        return _unpushed(run, remote, source, head.sha, local)
    return head.sha


def _unpushed(run: _Run, remote: _Remote, source: Source, head: str, local: str) -> Prepared:
    """Why nothing is pushed from a branch that has commits of its own, and what to do with them."""
    branch = run.asked.branch
    if all(rollback_deploy_of(record.message) for record in source.log(local, f"^{head}")):
        return Prepared(
            RevertOutcome.REFUSED,
            f"{branch} here has only reverts that {remote.name} does not have, from a run without --push. "
            "Push these, after a look at them.",
            head,
            command=f"git push {shlex.quote(remote.name)} {shlex.quote(f'{branch}:{remote.branch}')}",
        )
    return Prepared(
        RevertOutcome.REFUSED,
        f"{branch} here has commits that {remote.name} does not have; pushing would publish them too. "
        "Push or drop them first, or work in a fresh checkout.",
        head,
        command=f"git log --oneline {shlex.quote(f'{remote.name}/{remote.branch}..{branch}')}",
    )


def _aliases(checkout: Checkout) -> str:
    """A checkout's own aliases for addresses are settings of the repository, and none of these is used."""
    if not any(key.startswith("url.") and key.endswith("insteadof") for key, _ in checkout.config):
        return ""
    return (
        ". This checkout rewrites addresses (url.….insteadOf), which is not done here: put the whole address into "
        "the remote, or the alias into your own ~/.gitconfig"
    )


def _adopt(run: _Run, place: Scratch, new: str, local: str) -> None:
    """Give the checkout the objects between `local` and `new`; written by git, into its object store only."""
    packed = run.door.run(
        "pack-objects", "--revs", "--stdout", "-q", git_dir=place.git_dir, stdin=f"{new}\n^{local}\n".encode()
    )
    run.door.run(
        "unpack-objects", "-q", git_dir=place.git_dir, stdin=packed.out,
        env={"GIT_OBJECT_DIRECTORY": str(run.checkout.objects)}, keep_open=run.checkout.keep_open,
    )  # fmt: skip


def _dry(prepared: Prepared) -> Prepared:
    if prepared.outcome is not RevertOutcome.REVERTED:
        return prepared
    would = prepared.reason.replace("Reverted ", "It would revert ", 1)
    return replace(prepared, reason=f"Dry run, nothing was changed. {would}", commits=())


# --- who, where -----------------------------------------------------------------------------------


def _remote(checkout: Checkout, branch: str, credential_for: CredentialFor) -> _Remote:
    name = checkout.remote_of(branch)
    url = checkout.value(f"remote.{name}.pushurl") or checkout.value(f"remote.{name}.url")
    if url is None:
        raise BadName(f"This checkout has no remote {name} to push to. Leave --push away, or add it.")
    merged = (checkout.value(f"branch.{branch}.merge") or f"refs/heads/{branch}").removeprefix("refs/heads/")
    url = remote_url(url, checkout.work_tree or checkout.git_dir)
    return _Remote(name, url, branch_name(merged), credential_for(url))


def remote_url(url: str, relative_to: Path) -> str:
    """`url` if it is an address we speak to (https, http, ssh, a local path), made absolute; else BadName."""
    scheme = urlsplit(url).scheme.lower() if "://" in url else ""
    if (
        "::" not in url.partition("/")[0]
        and not url.startswith("-")
        and not re.search(r"[\x00-\x1f\x7f]", url)
    ):
        if scheme in _KINDS:
            return url
        if not scheme and (url.startswith(("/", ".", "~")) or ":" not in url.partition("/")[0]):
            return str((relative_to / Path(url).expanduser()).resolve())
        if not scheme and _SCP_LIKE.fullmatch(url):
            return url
    raise BadName(f"{shown(url, limit=200)!r} is not an address to push to. Use https, ssh or a path.")


def _repository_name(run: _Run) -> str | None:
    url = run.checkout.value(f"remote.{run.checkout.remote_of(run.asked.branch)}.url")
    if not url:
        return None
    parts = [part for part in re.split(r"[/:]", url.rstrip("/").removesuffix(".git")) if part]
    is_hosted = ("://" in url and not url.startswith("file:")) or _SCP_LIKE.fullmatch(url)
    return "/".join(parts[-2:]) if is_hosted else (parts[-1] if parts else None)


def _known_tips(checkout: Checkout, branch: str) -> tuple[tuple[str, str], ...]:
    name = f"refs/remotes/{checkout.remote_of(branch)}/{branch}"
    tip = checkout.ref(name)
    return ((tip, f"{name.removeprefix('refs/remotes/')} stands there"),) if tip else ()


def _identity(checkout: Checkout) -> CommitIdentity:
    """The person's own name and address, as git would use them here."""
    found = []
    for key, variable in (("user.name", "NAME"), ("user.email", "EMAIL")):
        given = os.environ.get(f"GIT_COMMITTER_{variable}") or os.environ.get(f"GIT_AUTHOR_{variable}")
        if not given:
            answer = checkout.door.run(
                "config", "--get", key, git_dir=checkout.git_dir, ok=(), as_person=True
            )
            given = answer.text if answer.code == 0 else ""
        found.append(given.strip())
    return CommitIdentity(found[0] or _FALLBACK.name, found[1] or _FALLBACK.email)


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"


def _operation_id() -> str:
    """Unique to this run: were it the same the next time, a second revert after a reland would do nothing."""
    return f"by-hand-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.urandom(4).hex()}"


def _hint(checkout: Checkout) -> str:
    partial = any(key.endswith((".promisor", ".partialclonefilter")) for key, _ in checkout.config)
    return (
        " (this is a partial clone: objects the revert needs may not be here; use a full clone)"
        if partial
        else ""
    )
