"""The rehearsal's `docker` behaves as docker does: real processes, their logs, their ends, what it prints."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.docker_formats import age, render
from rehearsal.docker_store import DockerError
from rehearsal.machine import Machine
from rehearsal.serving import wait_until
from tests.patience import PATIENCE_S

DOCKERFILE = """
FROM python:3.11-slim
WORKDIR /app
ENV GREETING=hello
EXPOSE 8000
CMD ["sh", "start.sh"]
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path / "machine") as one:
        yield one


def build(machine: Machine, script: str, tag: str = "app:1") -> None:
    """An image whose container runs this shell script."""
    folder = machine.folder / f"context-{tag.replace(':', '-').replace('/', '-')}"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "start.sh").write_text(textwrap.dedent(script))
    (folder / "settings.py").write_text("STATIC_ROOT = 'x'\n")
    machine.docker("build", "-t", tag, str(folder))


def run(machine: Machine, *options: str, name: str = "web", tag: str = "app:1") -> str:
    return machine.docker("run", "-d", "--name", name, *options, tag).stdout.strip()


def ended(machine: Machine, name: str = "web") -> bool:
    return wait_until(lambda: bool(state(machine, name)["Status"] == "exited"), PATIENCE_S)


def state(machine: Machine, name: str = "web") -> dict[str, object]:
    found = machine.container(name)
    assert found is not None
    return dict(found["State"])


def test_a_container_that_dies_at_boot_shows_how(machine: Machine) -> None:
    build(machine, "echo starting; echo 'Traceback: boom' >&2; exit 3")
    identity = run(machine)
    assert re.fullmatch(r"[0-9a-f]{64}", identity)
    assert ended(machine)
    table = machine.docker("ps", "-a").stdout.splitlines()
    assert table[0].split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert re.search(r"Exited \(3\) (Less than a second|1 second|\d+ seconds) ago", table[1])
    assert machine.docker("ps").stdout.count("\n") == 1, "without -a only what runs is listed"
    logs = machine.docker("logs", "--tail", "200", "web")
    assert (logs.stdout, logs.stderr) == ("starting\n", "Traceback: boom\n"), "each stream stays its own"
    facts = json.loads(machine.docker("inspect", "web").stdout)[0]
    assert facts["State"]["ExitCode"] == 3 and facts["State"]["FinishedAt"] > facts["State"]["StartedAt"]
    assert facts["RestartCount"] == 0 and facts["Image"].startswith("sha256:")


def test_stop_asks_first_and_the_logs_go_with_the_container(machine: Machine) -> None:
    build(machine, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    run(machine)
    assert wait_until(lambda: "up" in machine.docker("logs", "web").stdout, PATIENCE_S)
    assert machine.docker("ps", "--format", "{{.Names}}\\t{{.Status}}").stdout.startswith("web\tUp ")
    machine.docker("stop", "web")
    assert state(machine)["ExitCode"] == 0 and "bye" in machine.docker("logs", "web").stdout
    machine.docker("rm", "web")
    gone = machine.docker("logs", "web", check=False)
    assert (gone.returncode, gone.stderr) == (1, "Error response from daemon: No such container: web\n")


def test_who_does_not_listen_to_stop_is_killed(machine: Machine) -> None:
    build(machine, "trap '' TERM; echo deaf; while :; do sleep 0.05; done")
    run(machine)
    assert wait_until(lambda: "deaf" in machine.docker("logs", "web").stdout, PATIENCE_S)
    machine.docker("stop", "-t", "0.3", "web")
    assert state(machine)["ExitCode"] == 137


def test_the_process_sees_its_own_environment_and_nothing_of_the_machine(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_TERMINAL", "leaked")
    build(machine, "env")
    (tmp_path / "env").write_text("# a comment\nA=1\nB=x=y z\n\n")
    run(machine, "--env-file", str(tmp_path / "env"), "-e", "C=3", "-p", "127.0.0.1:18000:8000")
    assert ended(machine)
    seen = machine.docker("logs", "web").stdout
    for line in ("GREETING=hello", "A=1", "B=x=y z", "C=3", "PORT=18000", "HOST=127.0.0.1"):
        assert line in seen.splitlines()
    assert "leaked" not in seen


def test_paths_below_the_working_folder_are_the_container_s(machine: Machine) -> None:
    build(machine, "echo grew > grown.txt; cat /app/settings.py >&2; sleep 30")
    run(machine)
    assert wait_until(
        lambda: machine.docker("exec", "web", "cat", "/app/grown.txt", check=False).stdout != "", PATIENCE_S
    )
    assert machine.docker("exec", "web", "sh", "-c", "cat /app/settings.py").stdout == "STATIC_ROOT = 'x'\n"
    assert machine.docker("exec", "web", "sh", "-c", "exit 4", check=False).returncode == 4
    missing = machine.docker("exec", "web", "no-such-command", check=False)
    assert missing.returncode == 127 and "executable file not found in $PATH" in missing.stderr
    machine.docker("kill", "web")
    stopped = machine.docker("exec", "web", "true", check=False)
    assert stopped.returncode == 1 and "is not running" in stopped.stderr


def test_an_image_does_not_change_when_a_container_writes(machine: Machine) -> None:
    build(machine, "cat mark 2>/dev/null; echo again > mark")
    for name in ("one", "two"):
        run(machine, name=name)
        assert ended(machine, name)
    assert machine.docker("logs", "two").stdout == ""


def test_logs_can_be_cut_and_stamped(machine: Machine) -> None:
    build(machine, "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line $i; done")
    run(machine)
    assert ended(machine)
    assert machine.docker("logs", "--tail", "2", "web").stdout == "line 29\nline 30\n"
    assert machine.docker("logs", "--tail", "0", "web").stdout == ""
    assert machine.docker("logs", "-n", "all", "web").stdout.count("\n") == 30
    stamped = machine.docker("logs", "-t", "--tail", "1", "web").stdout
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line 30\n", stamped)
    assert machine.docker("logs", "--since", "1h", "web").stdout.count("\n") == 30
    assert machine.docker("logs", "--until", "1h", "web").stdout == ""


def test_start_runs_a_stopped_container_again(machine: Machine) -> None:
    build(machine, "echo once more")
    run(machine)
    assert ended(machine)
    machine.docker("start", "web")
    assert wait_until(lambda: machine.docker("logs", "web").stdout == "once more\n" * 2, PATIENCE_S)


def test_a_restart_policy_counts(machine: Machine) -> None:
    build(machine, "exit 1")
    run(machine, "--restart", "on-failure:2")
    assert wait_until(
        lambda: (machine.container("web") or {}).get("RestartCount") == 2, PATIENCE_S
    ) and ended(machine)


def test_names_are_taken_once_and_unknown_images_are_refused(machine: Machine) -> None:
    build(machine, "sleep 30")
    run(machine)
    taken = machine.docker("run", "-d", "--name", "web", "app:1", check=False)
    assert taken.returncode == 125 and 'The container name "/web" is already in use' in taken.stderr
    unknown = machine.docker("run", "-d", "--name", "other", "nobody/nothing:9", check=False)
    assert unknown.returncode == 125 and "Unable to find image 'nobody/nothing:9' locally" in unknown.stderr
    running = machine.docker("rm", "web", check=False)
    assert running.returncode == 1 and "container is running" in running.stderr
    assert machine.docker("inspect", "nobody", check=False).stdout.strip() == "[]"


def test_filters_and_quiet_lists(machine: Machine) -> None:
    build(machine, "sleep 30")
    build(machine, "exit 0", tag="short:1")
    first = run(machine, "--label", "team=stage")
    run(machine, name="job", tag="short:1")
    assert ended(machine, "job")
    assert machine.docker("ps", "-q").stdout.split() == [first[:12]]
    assert machine.docker("ps", "-aq", "--no-trunc", "--filter", "label=team=stage").stdout.split() == [first]
    names = ["ps", "-a", "--format", "{{.Names}}"]
    assert machine.docker(*names, "--filter", "name=jo").stdout.split() == ["job"]
    assert machine.docker(*names, "--filter", "status=exited").stdout.split() == ["job"]
    assert machine.docker(*names, "--filter", "exited=1").stdout.split() == []
    assert machine.docker(*names).stdout.split() == ["job", "web"], "newest first"
    rows = [
        json.loads(line) for line in machine.docker("ps", "-a", "--format", "{{json .}}").stdout.splitlines()
    ]
    assert [row["State"] for row in rows] == ["exited", "running"]


def test_containers_end_with_the_machine(tmp_path: Path) -> None:
    with Machine(tmp_path / "machine") as machine:
        build(machine, "sleep 300 & sleep 300")
        pids = []
        for name in ("replaced", "web"):
            run(machine, name=name)
            pids += [int(str(state(machine, name)[key])) for key in ("Pid", "SupervisorPid")]
        machine.docker("rm", "-f", "replaced")
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == [], "not even as defunct processes"


def test_containers_end_even_when_the_world_is_killed(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from rehearsal.machine import Machine
from tests.patience import PATIENCE_S
from tests.test_rehearsal_docker import build, run
machine = Machine(Path({str(tmp_path / "machine")!r}))
build(machine, "sleep 300 & sleep 300")
run(machine)
print(machine.container("web")["State"]["Pid"], flush=True)
time.sleep(300)
"""
    root = Path(__file__).resolve().parent.parent
    world = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root)
    assert world.stdout is not None
    group = int(world.stdout.readline())
    os.killpg(group, 0)
    world.kill()
    world.wait()

    def gone() -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, 0)
            return False
        return True

    assert wait_until(gone, PATIENCE_S)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "Less than a second"),
        (1, "1 second"),
        (12.9, "12 seconds"),
        (75, "About a minute"),
        (180, "3 minutes"),
        (4000, "About an hour"),
        (9000, "2 hours"),
        (400_000, "4 days"),
    ],
)
def test_ages_are_docker_s(seconds: float, words: str) -> None:
    assert age(seconds) == words


SUBJECT = {
    "State": {"Status": "exited", "ExitCode": 1, "OOMKilled": False},
    "Config": {"Env": ["A=1", "B=2"], "Labels": {"team.name": "stage"}},
    "Name": "/web",
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.State.Status}} {{.State.ExitCode}}", "exited 1"),
        ("{{json .State}}", '{"Status":"exited","ExitCode":1,"OOMKilled":false}'),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ('{{index .Config.Labels "team.name"}}', "stage"),
        ("{{if .State.OOMKilled}}killed{{else}}not killed{{end}}", "not killed"),
        ("{{len .Config.Env}}", "2"),
        ("{{.State.OOMKilled}}", "false"),
        ("{{range .Config.Env}}{{$.Name}}:{{.}} {{end}}", "/web:A=1 /web:B=2 "),
    ],
)
def test_go_templates(template: str, text: str) -> None:
    assert render(template, SUBJECT) == text


@pytest.mark.parametrize(
    "template", ["{{.Nothing}}", "{{nope .}}", "{{range .Config.Env}}", "{{end}}", "{{}}"]
)
def test_a_wrong_template_is_an_error(template: str) -> None:
    with pytest.raises(DockerError):
        render(template, SUBJECT)
