"""Puts what was seen into the runbook's layers: load balancer, host, container, each with one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bot.evidence_look import Look
from policies.cleaning import clean
from policies.facts import HealthSample, Layer, LayerStatus, ProbeSample, TargetSample

LOAD_BALANCER: Final = "load balancer"
HOST: Final = "host"
CONTAINER: Final = "container"
MAX_DETAILS: Final = 40
MAX_DETAIL_CHARS: Final = 400
BAD_STATES: Final = ("unhealthy", "unavailable")


def tidy(text: str, extra: tuple[str, ...] = ()) -> str:
    """One line of foreign text for a layer: cleaned and redacted, at most 400 characters."""
    flat = " ".join(clean(text, extra).text.split())
    return flat if len(flat) <= MAX_DETAIL_CHARS else flat[: MAX_DETAIL_CHARS - 1] + "…"


def load_balancer(sample: HealthSample, notes: Sequence[str], extra: tuple[str, ...]) -> Layer:
    """The first layer: the status line of the public URL, then the target health of each group."""
    said: list[str] = []
    site = _site(sample.probe)
    if site:
        said.append(site)
    if sample.targets is not None:
        said.append(_targets(sample.targets, sample.probe))
    if sample.traffic is not None and sample.traffic.rate_5xx > 0:
        traffic = sample.traffic
        said.append(
            f"{traffic.rate_5xx:.0%} of {traffic.requests_per_min:.0f} requests a minute are answered 5xx."
        )
    said += [note for note in (*notes, sample.error) if note]
    details = tuple(_target(target) for target in sample.targets or ())
    return Layer(
        LOAD_BALANCER,
        _load_balancer_status(sample),
        tidy(" ".join(said) or "Nothing is known of it: no URL and no target group is configured.", extra),
        tuple(tidy(line, extra) for line in details[:MAX_DETAILS]),
    )


def is_bad(target: TargetSample) -> bool:
    """Whether the load balancer says that this target does not answer as it should."""
    return target.state.startswith(BAD_STATES)


def _site(probe: ProbeSample | None) -> str:
    if probe is None:
        return ""
    tried = probe.ok + probe.failed
    answer = f"answers {probe.status}" if probe.status is not None else "does not answer"
    why = f" ({probe.detail})" if probe.detail else ""
    if probe.failed and probe.ok:
        return f"The site {answer}{why}; {probe.failed} of {tried} probes failed."
    return f"The site {answer}{why}."


def _targets(targets: tuple[TargetSample, ...], probe: ProbeSample | None) -> str:
    if not targets:
        return "No target is registered."
    bad = [target for target in targets if is_bad(target)]
    if bad:
        reasons = sorted({target.reason for target in bad if target.reason})
        why = f" ({', '.join(reasons)})" if reasons else ""
        if len(targets) == 1:
            return f"Its target is unhealthy{why}."
        return f"{len(bad)} of {len(targets)} targets {'is' if len(bad) == 1 else 'are'} unhealthy{why}."
    states = sorted({target.state for target in targets})
    if states == ["healthy"]:
        if probe is not None and probe.failed:
            return "Every target is healthy, so the fault is in the application's own logic."
        return "Every target is healthy." if len(targets) > 1 else "Its target is healthy."
    return f"Target states: {', '.join(states)}."


def _target(target: TargetSample) -> str:
    why = ": ".join(part for part in (target.reason, target.description) if part)
    return f"{target.group} {target.target}: {target.state}" + (f" ({why})" if why else "")


def _load_balancer_status(sample: HealthSample) -> LayerStatus:
    probe, targets = sample.probe, sample.targets
    if probe is None and targets is None:
        return LayerStatus.UNKNOWN
    if targets is not None and (not targets or any(is_bad(target) for target in targets)):
        return LayerStatus.FAILING
    return LayerStatus.FAILING if probe is not None and probe.failed > probe.ok else LayerStatus.OK


def host(looks: Sequence[Look], notes: Sequence[str], extra: tuple[str, ...]) -> Layer:
    """The second layer, of every place that was looked at; one failing place makes it failing."""
    return _merged(HOST, [(look.where, look.host, look.host_says, ()) for look in looks], notes, extra)


def container(looks: Sequence[Look], notes: Sequence[str], extra: tuple[str, ...]) -> Layer:
    """The third layer, of every place that was looked at."""
    seen = [(look.where, look.container, look.container_says, look.details) for look in looks]
    return _merged(CONTAINER, seen, notes, extra)


def _of(where: str, says: str) -> str:
    """The sentence with the place it is about, unless it names it itself."""
    return says if where in says else f"{where}: {says}"


def _merged(
    name: str,
    seen: Sequence[tuple[str, LayerStatus, str, tuple[str, ...]]],
    notes: Sequence[str],
    extra: tuple[str, ...],
) -> Layer:
    statuses = [status for _, status, _, _ in seen]
    worst = next(
        (one for one in (LayerStatus.FAILING, LayerStatus.UNKNOWN, LayerStatus.OK) if one in statuses),
        LayerStatus.UNKNOWN,
    )
    telling = next(((where, says) for where, status, says, _ in seen if status is worst), None)
    summary = " ".join([*([_of(*telling)] if telling else []), *notes])
    details: list[str] = []
    for where, _, says, lines in seen:
        if len(seen) > 1:
            details.append(_of(where, says))
        details += lines
    return Layer(
        name,
        worst,
        tidy(summary, extra),
        tuple(line for line in (tidy(one, extra) for one in details[:MAX_DETAILS]) if line),
    )
