"""GitHub's JSON for commits, files, branches and contents."""

from __future__ import annotations

import base64

from rehearsal.github_git import BareRepository, ChangedFile, GitCommit, Signature
from rehearsal.github_shapes import Json, Shapes
from rehearsal.github_state import Protection, Repository, User, node_id


class CodeShapes(Shapes):
    """The shapes of what git holds."""

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
