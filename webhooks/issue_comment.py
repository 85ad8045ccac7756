"""Event `issue_comment`: a person speaks to the bot on a pull request."""

from __future__ import annotations

from policies.asked import GITHUB, Asked
from policies.chatops import Misunderstood, parse_comment
from webhooks.events import CommentHeard, Fields, Heard, Ignored, Lacking


def hear(payload: Fields, now_s: float) -> Heard | Ignored:
    """The request in a new comment; of what was typed nothing else is kept. Raises Lacking.

    Cheap for the many comments that are none of ours: only a text that begins with the command is read."""
    action = payload.text("action")
    if action != "created":
        return Ignored(f"issue_comment {action or 'without an action'}: only new comments are read")
    said = parse_comment(payload.raw("comment.body"))
    if said is None:
        return Ignored("issue_comment that does not begin with /rollback")
    if not payload.has("issue.pull_request"):
        return Ignored("issue_comment on an issue: commands are given on pull requests")
    login = payload.text("comment.user.login")
    if login is None:
        raise Lacking("no usable comment.user.login")
    if payload.text("comment.user.type") not in (None, "User") or login.endswith("[bot]"):
        return Ignored("issue_comment of a bot: commands are given by people")
    comment, number = payload.whole("comment.id"), payload.whole("issue.number")
    if comment is None or number is None:
        raise Lacking("no usable comment.id or issue.number")
    why = said.why if isinstance(said, Misunderstood) else ""
    return CommentHeard(
        Asked(
            id=f"comment-{comment}",
            place=GITHUB,
            who=login,
            repository=payload.repository(),
            number=number,
            at_s=min(payload.instant("comment.created_at") or now_s, now_s),
            command=None if isinstance(said, Misunderstood) else said,
            misunderstood=why,
            answer_to=str(comment),
        )
    )
