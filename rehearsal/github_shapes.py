"""GitHub's JSON for people, Apps and repositories, with every link on the stand-in's own host."""

from __future__ import annotations

from typing import Any

from rehearsal.github_state import App, Repository, User, at_least, iso, node_id

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
