"""Turns what docker on a host reported into a look: is the host all right, did the container die, how."""

from __future__ import annotations

from typing import Final

from bot.container_logs import ContainerReport, read_container
from bot.evidence_look import Look, blind
from bot.failures import CannotCapture
from bot.host_shell import HostShell
from policies.facts import LayerStatus

SIGNALS: Final = {137: "killed (SIGKILL)", 139: "a memory fault (SIGSEGV)", 143: "asked to stop (SIGTERM)"}
SHELL_CODES: Final = {126: "its start script may not be executed", 127: "its start command was not found"}


def look_at_host(shell: HostShell, instance: str, container: str, lines: int, until_s: float) -> Look:
    """Look at `container` on `instance`; blocks until `until_s` (monotonic). Never raises CannotCapture."""
    try:
        report = read_container(shell, instance, container, lines, until_s=until_s)
    except CannotCapture as failure:
        return blind(instance, failure.reason)
    return look(instance, container, report)


def look(instance: str, container: str, report: ContainerReport) -> Look:
    """The look in a report."""
    table = tuple(line.rstrip() for line in report.table.split("\n") if line.strip())
    if report.problem:
        failing = bool(report.table) or "docker" in report.problem
        status = LayerStatus.FAILING if failing else LayerStatus.UNKNOWN
        return Look(
            instance,
            status,
            report.problem,
            LayerStatus.UNKNOWN,
            "Without docker it cannot be looked at.",
            table,
        )
    host = f"SSM answers; docker knows {_count(len(report.rows))}."
    if report.missing:
        others = ", ".join(row.name for row in report.rows[:5])
        gone = f"There is no container {container}" + (
            f"; there is {others}." if others else " nor any other."
        )
        return Look(instance, LayerStatus.OK, host, LayerStatus.FAILING, gone, (*table, *report.notes))
    state, sentence = _state(report)
    return Look(
        where=instance,
        host=LayerStatus.OK,
        host_says=host,
        container=state,
        container_says=sentence,
        details=(*table, *report.notes),
        name=report.name,
        status=report.status,
        exit_code=report.exit_code,
        restarts=report.restarts,
        image=_image(report),
        log=report.log,
        says=_says(report),
    )


def _count(containers: int) -> str:
    return "1 container" if containers == 1 else f"{containers} containers"


def _image(report: ContainerReport) -> str | None:
    if report.image and report.digest and report.digest not in report.image:
        return f"{report.image} ({report.digest[:19]})"
    return report.image or report.digest


def _state(report: ContainerReport) -> tuple[LayerStatus, str]:
    status = report.status
    low = status.lower()
    restarts = f" after {report.restarts} restarts" if report.restarts else ""
    if low.startswith(("exited", "dead", "restarting", "created", "removal")):
        code = report.exit_code
        meaning = "it was killed for want of memory" if report.oom_killed else ""
        meaning = meaning or SIGNALS.get(code or 0) or SHELL_CODES.get(code or 0) or ""
        if low.startswith("created"):
            meaning = meaning or "it was never started"
        elif code == 0:
            meaning = meaning or "it ended by itself"
        said = f"{report.name}: {status}{restarts}" + (f"; {meaning}" if meaning else "")
        return LayerStatus.FAILING, f"{said}."
    if "(unhealthy)" in low:
        return LayerStatus.FAILING, f"{report.name}: {status}{restarts}; docker's own health check fails."
    if low.startswith(("up", "running")):
        return (
            LayerStatus.OK,
            f"{report.name}: {status}{restarts}; look at its port and the health check's path.",
        )
    return LayerStatus.UNKNOWN, f"{report.name}: {status or 'its state is not known'}{restarts}."


def _says(report: ContainerReport) -> tuple[str, ...]:
    lines = [report.error] if report.error else []
    if report.oom_killed:
        lines.append("OOMKilled: the container was killed for want of memory")
    return tuple(lines)
