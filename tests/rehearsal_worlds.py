"""Small stand-ins for the tests of the rehearsal: a GitHub with a repository, people and a checkout."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rehearsal.github import GitHub
from rehearsal.github_state import App, Repository

_WHO = {
    "GIT_AUTHOR_NAME": "Dana",
    "GIT_AUTHOR_EMAIL": "dana@example.com",
    "GIT_COMMITTER_NAME": "Dana",
    "GIT_COMMITTER_EMAIL": "dana@example.com",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


@dataclass
class Checkout:
    """A person's clone, driven by the real git with a token in a header as the bot does it."""

    path: Path
    github: GitHub
    full_name: str
    token: str | None = None

    def git(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        header = {}
        if self.token:
            import base64

            basic = base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
            header = {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{self.github.url}/.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
            }
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.path), **_WHO, **header}
        return subprocess.run(
            ["git", *arguments], cwd=self.path, env=environment, capture_output=True, text=True, check=check
        )

    @property
    def remote(self) -> str:
        return f"{self.github.url}/{self.full_name}.git"

    def commit(self, message: str, **files: str | bytes) -> str:
        """Write files (underscores in names mean dots) and commit them; the new sha."""
        for name, content in files.items():
            path = self.path / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD").stdout.strip()

    def push(self, refspec: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.git("push", "--porcelain", self.remote, refspec, check=check)


@dataclass
class Played:
    """A running GitHub with acme/stagelog: `develop` pushed, `feature/x` one commit ahead."""

    github: GitHub
    repository: Repository
    checkout: Checkout
    app: App
    private_key: str
    base: str
    feature: str


def play_github(folder: Path, *, private: bool = True) -> Played:
    """Start a GitHub in a folder; the caller stops it."""
    github = GitHub(folder / "github").start()
    repository = github.create_repository("acme", "stagelog", default_branch="develop", private=private)
    for login, role in (("dana", "write"), ("lee", "maintain"), ("sam", "triage"), ("max", "admin")):
        github.user(login)
        repository.roles[login] = role
    app, key = github.install_app("rollback-bot", "acme")
    work = folder / "work"
    work.mkdir()
    checkout = Checkout(work, github, repository.full_name, github.personal_token("dana"))
    checkout.git("init", "--quiet", "--initial-branch=develop")
    base = checkout.commit("Start", a_txt="one\ntwo\nthree\n")
    checkout.push("develop")
    checkout.git("checkout", "--quiet", "-b", "feature/x")
    feature = checkout.commit("Add b", b_txt="b\n")
    checkout.push("feature/x")
    checkout.git("checkout", "--quiet", "develop")
    return Played(github, repository, checkout, app, key.decode(), base, feature)
