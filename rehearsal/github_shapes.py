"""GitHub's JSON for people, repositories, commits and files, with every link on the stand-in's own host."""

from __future__ import annotations

import base64
from typing import Any

from rehearsal.github_git import BareRepository, ChangedFile, GitCommit, Signature
from rehearsal.github_state import App, Protection, Repository, User, at_least, iso, node_id

Json = dict[str, Any]

_USER_LINKS = {
    "events_url": "/events{/privacy}",
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "organizations_url": "/orgs",
    "received_events_url": "/received_events",
    "repos_url": "/repos",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
}
_REPOSITORY_LINKS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}


class Shapes:
    """Turns records into GitHub's JSON; `api` and `web` are the two addresses everything links to."""

    def __init__(self, web: str, api: str) -> None:
        self.web, self.api = web, api

    def repo_url(self, repository: Repository) -> str:
        return f"{self.api}/repos/{repository.full_name}"

    def repo_page(self, repository: Repository) -> str:
        return f"{self.web}/{repository.full_name}"

    def user(self, user: User) -> Json:
        quoted = user.login.replace("[", "%5B").replace("]", "%5D")
        url = f"{self.api}/users/{quoted}"
        page = f"{self.web}/apps/{user.login.removesuffix('[bot]')}" if user.type == "Bot" else None
        return {
            "login": user.login,
            "id": user.id,
            "node_id": node_id(user.type, user.id),
            "avatar_url": f"{self.web}/avatars/u/{user.id}",
            "gravatar_id": "",
            "url": url,
            "html_url": page or f"{self.web}/{user.login}",
            **{key: url + rest for key, rest in _USER_LINKS.items()},
            "type": user.type,
            "user_view_type": "public",
            "site_admin": False,
        }

    def public_user(self, user: User) -> Json:
        about = dict.fromkeys(("blog", "company", "email", "hireable", "location", "bio"))
        return {
            **self.user(user),
            **about,
            "name": user.name,
            "twitter_username": None,
            "public_repos": 0,
            "public_gists": 0,
            "followers": 0,
            "following": 0,
            "created_at": iso(user.created_s),
            "updated_at": iso(user.created_s),
        }

    def organization(self, owner: User) -> Json:
        url = f"{self.api}/orgs/{owner.login}"
        return {
            "login": owner.login,
            "id": owner.id,
            "node_id": node_id("Organization", owner.id),
            "url": url,
            "repos_url": f"{url}/repos",
            "events_url": f"{url}/events",
            "hooks_url": f"{url}/hooks",
            "issues_url": f"{url}/issues",
            "members_url": f"{url}/members{{/member}}",
            "public_members_url": f"{url}/public_members{{/member}}",
            "avatar_url": f"{self.web}/avatars/u/{owner.id}",
            "description": "",
        }

    def app(self, app: App) -> Json:
        return {
            "id": app.id,
            "client_id": app.client_id,
            "slug": app.slug,
            "node_id": node_id("App", app.id),
            "owner": self.user(app.owner),
            "name": app.name,
            "description": "",
            "external_url": f"{self.web}/apps/{app.slug}",
            "html_url": f"{self.web}/apps/{app.slug}",
            "created_at": iso(app.created_s),
            "updated_at": iso(app.created_s),
            "permissions": app.permissions,
            "events": app.events,
        }

    def installation(self, app: App) -> Json:
        return {
            "id": app.installation_id,
            "account": self.user(app.owner),
            "repository_selection": "all",
            "access_tokens_url": f"{self.api}/app/installations/{app.installation_id}/access_tokens",
            "repositories_url": f"{self.api}/installation/repositories",
            "html_url": f"{self.web}/organizations/{app.owner.login}/settings/installations/"
            f"{app.installation_id}",
            "app_id": app.id,
            "client_id": app.client_id,
            "app_slug": app.slug,
            "target_id": app.owner.id,
            "target_type": app.owner.type,
            "permissions": app.permissions,
            "events": app.events,
            "created_at": iso(app.created_s),
            "updated_at": iso(app.created_s),
            "single_file_name": None,
            "has_multiple_single_files": False,
            "single_file_paths": [],
            "suspended_by": None,
            "suspended_at": None,
        }

    def minimal_repository(self, repository: Repository) -> Json:
        url = self.repo_url(repository)
        return {
            "id": repository.id,
            "node_id": node_id("Repository", repository.id),
            "name": repository.name,
            "full_name": repository.full_name,
            "private": repository.private,
            "owner": self.user(repository.owner),
            "html_url": self.repo_page(repository),
            "description": repository.description,
            "fork": False,
            "url": url,
            **{key: url + rest for key, rest in _REPOSITORY_LINKS.items()},
        }

    def repository(self, repository: Repository) -> Json:
        """The repository as `pull_request.base.repo` and most webhooks carry it."""
        page = self.repo_page(repository)
        host = self.web.partition("//")[2].partition(":")[0]
        open_pulls = sum(1 for pull in repository.pulls.values() if pull.state == "open")
        return {
            **self.minimal_repository(repository),
            "created_at": iso(repository.created_s),
            "updated_at": iso(repository.pushed_s),
            "pushed_at": iso(repository.pushed_s),
            "git_url": f"git://{host}/{repository.full_name}.git",
            "ssh_url": f"git@{host}:{repository.full_name}.git",
            "clone_url": f"{page}.git",
            "svn_url": page,
            "homepage": None,
            "size": 1,
            "stargazers_count": 0,
            "watchers_count": 0,
            "language": "Python",
            "has_issues": True,
            "has_projects": False,
            "has_downloads": True,
            "has_wiki": False,
            "has_pages": False,
            "has_discussions": False,
            "forks_count": 0,
            "mirror_url": None,
            "archived": False,
            "disabled": False,
            "open_issues_count": open_pulls,
            "license": None,
            "allow_forking": True,
            "is_template": False,
            "web_commit_signoff_required": False,
            "topics": [],
            "visibility": "private" if repository.private else "public",
            "forks": 0,
            "open_issues": open_pulls,
            "watchers": 0,
            "default_branch": repository.default_branch,
        }

    def full_repository(self, repository: Repository, role: str) -> Json:
        return {
            **self.repository(repository),
            "permissions": self.permissions(role),
            "allow_squash_merge": True,
            "allow_merge_commit": True,
            "allow_rebase_merge": True,
            "allow_auto_merge": repository.allow_auto_merge,
            "delete_branch_on_merge": False,
            "organization": self.user(repository.owner),
            "network_count": 0,
            "subscribers_count": 0,
        }

    @staticmethod
    def permissions(role: str) -> dict[str, bool]:
        names = {
            "pull": "read",
            "triage": "triage",
            "push": "write",
            "maintain": "maintain",
            "admin": "admin",
        }
        return {name: at_least(role, wanted) for name, wanted in names.items()}

    @staticmethod
    def signature(who: Signature) -> Json:
        return {"name": who.name, "email": who.email, "date": who.at}

    @staticmethod
    def verification() -> Json:
        return {
            "verified": False,
            "reason": "unsigned",
            "signature": None,
            "payload": None,
            "verified_at": None,
        }

    def commit(self, repository: Repository, commit: GitCommit, people: dict[str, User]) -> Json:
        url = f"{self.repo_url(repository)}/commits/{commit.sha}"
        author, committer = people.get(commit.author.email), people.get(commit.committer.email)
        return {
            "sha": commit.sha,
            "node_id": node_id("Commit", repository.id) + commit.sha[:12],
            "commit": {
                "author": self.signature(commit.author),
                "committer": self.signature(commit.committer),
                "message": commit.message,
                "tree": {
                    "sha": commit.tree,
                    "url": f"{self.repo_url(repository)}/git/trees/{commit.tree}",
                },
                "url": f"{self.repo_url(repository)}/git/commits/{commit.sha}",
                "comment_count": 0,
                "verification": self.verification(),
            },
            "url": url,
            "html_url": f"{self.repo_page(repository)}/commit/{commit.sha}",
            "comments_url": f"{url}/comments",
            "author": self.user(author) if author else None,
            "committer": self.user(committer) if committer else None,
            "parents": [
                {
                    "sha": parent,
                    "url": f"{self.repo_url(repository)}/commits/{parent}",
                    "html_url": f"{self.repo_page(repository)}/commit/{parent}",
                }
                for parent in commit.parents
            ],
        }

    def git_commit(self, repository: Repository, commit: GitCommit) -> Json:
        url = f"{self.repo_url(repository)}/git"
        return {
            "sha": commit.sha,
            "node_id": node_id("Commit", repository.id) + commit.sha[:12],
            "url": f"{url}/commits/{commit.sha}",
            "html_url": f"{self.repo_page(repository)}/commit/{commit.sha}",
            "author": self.signature(commit.author),
            "committer": self.signature(commit.committer),
            "tree": {"url": f"{url}/trees/{commit.tree}", "sha": commit.tree},
            "message": commit.message,
            "parents": [
                {
                    "url": f"{url}/commits/{parent}",
                    "sha": parent,
                    "html_url": f"{self.repo_page(repository)}/commit/{parent}",
                }
                for parent in commit.parents
            ],
            "verification": self.verification(),
        }

    def file(self, repository: Repository, file: ChangedFile, at: str) -> Json:
        page = self.repo_page(repository)
        shape = {
            "sha": file.blob,
            "filename": file.path,
            "status": file.status,
            "additions": file.additions,
            "deletions": file.deletions,
            "changes": file.additions + file.deletions,
            "blob_url": f"{page}/blob/{at}/{file.path}",
            "raw_url": f"{page}/raw/{at}/{file.path}",
            "contents_url": f"{self.repo_url(repository)}/contents/{file.path}?ref={at}",
        }
        if file.patch is not None:
            shape["patch"] = file.patch
        if file.previous is not None:
            shape["previous_filename"] = file.previous
        return shape

    def branch(self, repository: Repository, name: str, commit: Json) -> Json:
        url = f"{self.repo_url(repository)}/branches/{name}"
        rule = repository.protected.get(name)
        return {
            "name": name,
            "commit": commit,
            "_links": {"self": url, "html": f"{self.repo_page(repository)}/tree/{name}"},
            "protected": rule is not None,
            "protection": self._protection(rule),
            "protection_url": f"{url}/protection",
        }

    @staticmethod
    def _protection(rule: Protection | None) -> Json:
        contexts = list(rule.required_checks) if rule else []
        level = "everyone" if contexts else "off"
        return {
            "enabled": rule is not None,
            "required_status_checks": {"enforcement_level": level, "contexts": contexts, "checks": []},
        }

    def content(
        self, repository: Repository, git: BareRepository, at: str, path: str, ref: str
    ) -> Json | list[Json] | None:
        """A file with its base64 text, or the list of a folder; None where there is nothing."""
        entry = git.entry(at, path)
        if entry is None:
            return None
        mode, kind, sha = entry
        if kind == "tree":
            return [
                self._entry(repository, f"{path}/{name}".lstrip("/"), name, mode, kind, sha, size, ref)
                for mode, kind, sha, size, name in git.listing(sha)
            ]
        data = git.blob(sha) if kind == "blob" else b""
        shape = self._entry(repository, path, path.rpartition("/")[2], mode, kind, sha, len(data), ref)
        return {**shape, "content": base64.encodebytes(data).decode(), "encoding": "base64"}

    def _entry(
        self,
        repository: Repository,
        path: str,
        name: str,
        mode: str,
        kind: str,
        sha: str,
        size: int,
        ref: str,
    ) -> Json:
        url, page = self.repo_url(repository), self.repo_page(repository)
        word = {"tree": "dir", "commit": "submodule"}.get(kind, "symlink" if mode == "120000" else "file")
        of = "trees" if kind == "tree" else "blobs"
        shown = "tree" if kind == "tree" else "blob"
        links = {
            "self": f"{url}/contents/{path}?ref={ref}",
            "git": f"{url}/git/{of}/{sha}",
            "html": f"{page}/{shown}/{ref}/{path}",
        }
        return {
            "name": name,
            "path": path,
            "sha": sha,
            "size": size,
            "url": links["self"],
            "html_url": links["html"],
            "git_url": links["git"],
            "download_url": f"{page}/raw/{ref}/{path}" if word == "file" else None,
            "type": word,
            "_links": links,
        }
