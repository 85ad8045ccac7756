"""REST answers about a repository's code: branches, commits, files, comparisons, people's roles, labels."""

from __future__ import annotations

from flask import request

from rehearsal.github_git import FULL_SHA
from rehearsal.github_rest import Api, ApiError, Call
from rehearsal.github_shapes import Json
from rehearsal.github_state import Label

FILES_SHOWN = 300


def register(api: Api) -> None:
    _repository(api)
    _commits(api)
    _files(api)


def _commit_shape(call: Call, sha: str) -> Json:
    return call.github.shapes.commit(call.repository, call.git.commit(sha), call.github.people())


def _repository(api: Api) -> None:
    @api.route("GET", "/repos/<owner>/<repo>", "metadata:read")
    def repository(call: Call) -> Json:
        role = call.github.token_role(call.token, call.repository) if call.token else "read"
        return call.github.shapes.full_repository(call.repository, role)

    @api.route("GET", "/repos/<owner>/<repo>/branches", "contents:read")
    def branches(call: Call) -> list[Json]:
        def shape(name: str) -> Json:
            sha = heads[name]
            url = f"{call.github.shapes.repo_url(call.repository)}/commits/{sha}"
            return {
                "name": name,
                "commit": {"sha": sha, "url": url},
                "protected": name in call.repository.protected,
            }

        heads = {ref.removeprefix("refs/heads/"): sha for ref, sha in call.git.refs().items()}
        return call.page(sorted(heads), shape)

    @api.route("GET", "/repos/<owner>/<repo>/branches/<path:branch>", "contents:read")
    def branch(call: Call, branch: str) -> Json:
        sha = call.git.head(branch)
        if sha is None:
            raise ApiError(404, "Branch not found")
        return call.github.shapes.branch(call.repository, branch, _commit_shape(call, sha))

    @api.route("GET", "/repos/<owner>/<repo>/git/ref/<path:ref>", "contents:read")
    def reference(call: Call, ref: str) -> Json:
        sha = call.git.resolve(f"refs/{ref}")
        if sha is None:
            raise ApiError(404, "Not Found")
        url = call.github.shapes.repo_url(call.repository)
        return {
            "ref": f"refs/{ref}",
            "node_id": call.github.shapes.user(call.repository.owner)["node_id"],
            "url": f"{url}/git/refs/{ref}",
            "object": {"type": "commit", "sha": sha, "url": f"{url}/git/commits/{sha}"},
        }

    @api.route("GET", "/repos/<owner>/<repo>/collaborators/<username>/permission", "metadata:read")
    def permission(call: Call, username: str) -> Json:
        if call.token is None:
            raise ApiError(401, "Requires authentication")
        known = call.github.ledger.users.get(username.lower())
        if known is None:
            raise ApiError(404, f"{username} is not a user")
        role, name = call.repository.role_of(known.login), call.repository.role_name_of(known.login)
        legacy = {"triage": "read", "maintain": "write"}.get(role, role)
        shapes = call.github.shapes
        person = {**shapes.user(known), "permissions": shapes.permissions(role), "role_name": name}
        return {"permission": legacy, "role_name": name, "user": person}

    @api.route("GET", "/repos/<owner>/<repo>/labels", "issues|pull_requests:read")
    def labels(call: Call) -> list[Json]:
        return call.page(
            sorted(call.repository.labels.values(), key=lambda label: label.name),
            lambda label: call.github.shapes.label(call.repository, label),
        )

    @api.route("POST", "/repos/<owner>/<repo>/labels", "issues|pull_requests:write")
    def create_label(call: Call) -> tuple[Json, int]:
        given = call.body(name=str)
        if given["name"] in call.repository.labels:
            problem = {"resource": "Label", "code": "already_exists", "field": "name"}
            raise ApiError(422, "Validation Failed", [problem])
        label = Label(
            call.github.ledger.next_id(),
            given["name"],
            given.get("color") or "ededed",
            given.get("description"),
        )
        call.repository.labels[label.name] = label
        return call.github.shapes.label(call.repository, label), 201


def _commits(api: Api) -> None:
    @api.route("GET", "/repos/<owner>/<repo>/commits", "contents:read")
    def commits(call: Call) -> list[Json]:
        start = request.args.get("sha") or call.repository.default_branch
        sha = call.git.resolve(start)
        if sha is None:
            raise ApiError(404, "Not Found")
        people = call.github.people()
        selection = [sha]
        if since := request.args.get("since"):
            selection.insert(0, f"--since={since}")
        found = call.git.commits(*selection, limit=1000)
        return call.page(found, lambda one: call.github.shapes.commit(call.repository, one, people))

    @api.route("GET", "/repos/<owner>/<repo>/commits/<path:ref>", "contents:read")
    def commit(call: Call, ref: str) -> Json:
        sha = call.git.resolve(ref)
        if sha is None:
            raise ApiError(422, f"No commit found for SHA: {ref}")
        one = call.git.commit(sha)
        files = call.git.changed_files(one.parents[0] if one.parents else None, sha)
        added, removed = sum(f.additions for f in files), sum(f.deletions for f in files)
        return {
            **_commit_shape(call, sha),
            "stats": {"total": added + removed, "additions": added, "deletions": removed},
            "files": [call.github.shapes.file(call.repository, file, sha) for file in files[:FILES_SHOWN]],
        }

    @api.route("GET", "/repos/<owner>/<repo>/git/commits/<sha>", "contents:read")
    def git_commit(call: Call, sha: str) -> Json:
        if not FULL_SHA.fullmatch(sha) or call.git.resolve(sha) is None:
            raise ApiError(404, "Not Found")
        return call.github.shapes.git_commit(call.repository, call.git.commit(sha))

    @api.route("GET", "/repos/<owner>/<repo>/commits/<sha>/pulls", "pull_requests|contents:read")
    def pulls_of_commit(call: Call, sha: str) -> list[Json]:
        found = call.git.resolve(sha)
        if found is None:
            raise ApiError(422, f"No commit found for SHA: {sha}")
        pulls = call.github.pulls.containing(call.repository, found)
        return call.page(pulls, lambda pull: call.github.shapes.pull_simple(call.repository, pull))

    @api.route("GET", "/repos/<owner>/<repo>/compare/<path:basehead>", "contents:read")
    def compare(call: Call, basehead: str) -> Json:
        base_name, dots, head_name = basehead.partition("...")
        base, head = call.git.resolve(base_name), call.git.resolve(head_name)
        common = call.git.merge_base(base, head) if base and head else None
        if not dots or base is None or head is None or common is None:
            raise ApiError(404, "Not Found")
        return _comparison(call, basehead, base, head, common)


def _comparison(call: Call, basehead: str, base: str, head: str, common: str) -> Json:
    shapes, people = call.github.shapes, call.github.people()
    ahead, behind = call.git.count(f"{base}..{head}"), call.git.count(f"{head}..{base}")
    status = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind"}.get(
        (ahead > 0, behind > 0), "identical"
    )
    page = f"{shapes.repo_page(call.repository)}/compare/{basehead}"
    return {
        "url": f"{shapes.repo_url(call.repository)}/compare/{basehead}",
        "html_url": page,
        "permalink_url": f"{shapes.repo_page(call.repository)}/compare/{base[:12]}...{head[:12]}",
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "base_commit": _commit_shape(call, base),
        "merge_base_commit": _commit_shape(call, common),
        "status": status,
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "commits": call.page(
            call.git.between(base, head), lambda one: shapes.commit(call.repository, one, people)
        ),
        "files": [
            shapes.file(call.repository, file, head)
            for file in call.git.changed_files(common, head)[:FILES_SHOWN]
        ],
    }


def _files(api: Api) -> None:
    def contents(call: Call, path: str = "") -> Json | list[Json]:
        ref = request.args.get("ref") or call.repository.default_branch
        sha = call.git.resolve(ref)
        if sha is None:
            raise ApiError(404, f"No commit found for the ref {ref}")
        found = call.github.shapes.content(call.repository, call.git, sha, path.strip("/"), ref)
        if found is None:
            raise ApiError(404, "Not Found")
        return found

    api.route("GET", "/repos/<owner>/<repo>/contents/<path:path>", "contents:read")(contents)
    api.route("GET", "/repos/<owner>/<repo>/contents/", "contents:read")(contents)
