"""The pages a person opens: the repository's pull requests, and one pull request with its conversation."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import cmarkgfm
from cmarkgfm.cmark import Options
from flask import Flask, Response, abort, render_template_string
from markupsafe import Markup

from rehearsal.github_page_templates import FRONT_PAGE, PULL_PAGE
from rehearsal.github_sanitizer import sanitize
from rehearsal.github_state import PullRequest, Repository

if TYPE_CHECKING:
    from rehearsal.github import GitHub


_MENTION = re.compile(r"(?<![\w/&#])(?:#(?P<number>[1-9]\d{0,8})|(?P<sha>[0-9a-f]{40}))(?!\w)")


def render_markdown(text: str, repository_page: str = "") -> str:
    """GitHub-flavoured Markdown as GitHub would show it: a few HTML elements stay, anything active goes.

    With the address of a repository, pull request numbers and full commit ids become links, as on GitHub.
    """

    def link(running: str) -> str:
        def one(found: re.Match[str]) -> str:
            if found["number"]:
                return f'<a href="{repository_page}/pull/{found["number"]}">#{found["number"]}</a>'
            short = found["sha"][:7]
            return f'<a href="{repository_page}/commit/{found["sha"]}"><code>{short}</code></a>'

        return _MENTION.sub(one, running) if repository_page else running

    html = cmarkgfm.github_flavored_markdown_to_html(
        text, options=Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_HARDBREAKS
    )
    return sanitize(html, link)


def _moment(at_s: float) -> str:
    return time.strftime("%d %b %Y, %H:%M:%S UTC", time.gmtime(at_s))


def _repository(github: GitHub, owner: str, name: str) -> Repository:
    found = github.ledger.repository(owner, name)
    if found is None:
        abort(404)
    return found


def pages_application(github: GitHub) -> Any:
    """The WSGI application of the readable pages; read-only, no sign-in, loopback only."""
    app = Flask("rehearsal.pages", static_folder=None)

    @app.get("/")
    def front() -> str:
        repositories = list(github.ledger.repositories.values())
        return render_template_string(FRONT_PAGE, repositories=repositories, moment=_moment)

    @app.get("/<owner>/<name>")
    @app.get("/<owner>/<name>/pulls")
    def pulls(owner: str, name: str) -> str:
        repository = _repository(github, owner, name)
        return render_template_string(FRONT_PAGE, repositories=[repository], moment=_moment)

    @app.get("/<owner>/<name>/pull/<int:number>")
    def pull(owner: str, name: str, number: int) -> str:
        repository = _repository(github, owner, name)
        found = repository.pulls.get(number)
        if found is None:
            abort(404)
        return render_template_string(
            PULL_PAGE,
            repository=repository,
            pull=found,
            state=_state(found),
            commits=github.pulls.commits(repository, found),
            comments=repository.comments_on(number),
            html=lambda text: Markup(render_markdown(text or "", f"/{repository.full_name}")),
            moment=_moment,
        )

    @app.get("/<owner>/<name>/commit/<sha>")
    def commit(owner: str, name: str, sha: str) -> Response:
        repository = _repository(github, owner, name)
        if not re.fullmatch(r"[0-9a-f]{7,40}", sha) or github.git(repository).resolve(sha) is None:
            abort(404)
        text = github.git(repository).git("show", "--stat", "--patch", sha, "--")
        return Response(text, content_type="text/plain; charset=utf-8")

    return app


def _state(pull: PullRequest) -> str:
    if pull.merged:
        return "Merged"
    if pull.state == "closed":
        return "Closed"
    return "Draft" if pull.draft else "Open"
