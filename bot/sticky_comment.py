"""Keeps one comment of ours per marker on a pull request: found again, edited, never doubled."""

from __future__ import annotations

from github import GithubException
from github.Issue import Issue
from github.IssueComment import IssueComment

from bot.github_access import Identity
from bot.github_failures import once_only

MOST_BYTES = 60_000
"""GitHub refuses bodies of more than 65,536 characters."""
_CUT = "\n\n_(cut here: the rest is too long for a comment)_\n"


def write_sticky(issue: Issue, marker: str, text: str, me: Identity, fresh: bool = False) -> str:
    """Make `text` (from `sendable`) the text of our one comment that begins with `marker`; the comment's URL.

    `fresh`: where the text is another one, post it anew and remove the old comment, because GitHub tells people
    of new comments and not of edits. May be repeated, also by several workers at once: nothing is written when
    it stands there already, and of several comments (two workers posted in the same moment) one stays. Raises
    what PyGithub raises.
    """
    outdated: set[int] = set()

    def settle() -> str | None:
        found = _ours(issue, marker, me)
        if fresh and found and not _same(found[-1].body, text):
            outdated.update(comment.id for comment in found)
            return None
        return _keep(found, found[-1 if fresh else 0], text) if found else None

    def post() -> str:
        posted = issue.create_comment(text)
        found = _ours(issue, marker, me)
        new = [comment for comment in found if comment.id not in outdated]
        url = _keep(found, new[0], text) if new else posted.html_url
        if not url:
            raise LookupError("GitHub answered as if it had taken the comment, but there is none")
        return url

    return once_only(settle, post)


def _keep(found: list[IssueComment], kept: IssueComment, text: str) -> str:
    """One comment with that text, and none of the others."""
    if not _same(kept.body, text):
        kept.edit(text)
    for comment in found:
        if comment.id != kept.id:
            _delete(comment)
    return kept.html_url


def _ours(issue: Issue, marker: str, me: Identity) -> list[IssueComment]:
    """Oldest first. Only a comment that begins with the marker counts: a log can quote any marker."""
    found = [
        comment
        for comment in issue.get_comments()
        if (comment.body or "").lstrip().startswith(marker) and _is_by(comment, me)
    ]
    return sorted(found, key=lambda comment: comment.id)


def _is_by(comment: IssueComment, me: Identity) -> bool:
    """By our account; where that is gone (an App renamed), by our App's id on a bot's comment."""
    author = comment.user
    if author is not None and (author.login.lower() == me.login.lower() or author.id == me.user_id):
        return True
    if me.app_id is None or author is None or author.type != "Bot":
        return False
    app = comment.performed_via_github_app
    return app is not None and app.id == me.app_id


def _same(there: str | None, text: str) -> bool:
    """GitHub may hand line ends and the end of a text back differently; that is no difference."""
    return (there or "").replace("\r\n", "\n").strip() == text.strip()


def _delete(comment: IssueComment) -> None:
    try:
        comment.delete()
    except GithubException as error:
        if error.status != 404:
            raise


def sendable(marker: str, body: str) -> str:
    """With the marker in front, valid UTF-8, at most 60,000 bytes."""
    if not (marker.startswith("<!--") and marker.endswith("-->")):
        raise ValueError(f"{marker!r} would be seen by people; a marker is an HTML comment")
    text = body if body.lstrip().startswith(marker) else f"{marker}\n{body}"
    raw = text.encode("utf-8", "replace")
    if len(raw) > MOST_BYTES:
        raw = raw[: MOST_BYTES - len(_CUT.encode())]
        return raw.decode("utf-8", "ignore") + _CUT
    return raw.decode()
