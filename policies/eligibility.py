"""May we revert? Every gate and rail at once, and the only place that makes a `RollbackOrder`.

Gates of three kinds: hard ones stop everybody; the others stop the bot, and a person may go on over them.
"""

from __future__ import annotations

from dataclasses import replace

from policies.attribution import Gate, attribution
from policies.badness import badness_before
from policies.causes import UNKNOWN, in_words
from policies.culprits import Choice, choose, good_tree_of, listed, short
from policies.facts import (
    Action,
    Baseline,
    Change,
    Decision,
    Deploy,
    Evidence,
    Health,
    PersonOrder,
    Rails,
    RevertHelps,
    RollbackOrder,
    Switch,
    Verdict,
    Watched,
)
from policies.limits import HealthLimits, Mode, Plan
from policies.path_patterns import first_match

ORDERS = frozenset({"rollback", "approve"})
"""What a person may order here; anything else they say leaves the branch as it is."""
BOT = "the failure budget"
_DEFAULTS = HealthLimits()
SKIPPED_BY_A_PERSON = frozenset(
    {
        "freeze",
        "overlapping_deploys",
        "last_rollback",
        "reland",
        "max_per_hour",
        "max_per_day",
        "health",
        "missing_data",
        "probe_against_balancer",
        "baseline",
        "siblings",
        "unsafe_paths",
        "diagnosis",
        "mode",
    }
)
_SWITCHES = {
    "kill": "the kill switch is on",
    "hold": "this service is on hold",
    "freeze": "the branch is frozen",
}


def may_roll_back(
    *,
    incident_id: str,
    deploy: Deploy,
    plan: Plan,
    baseline: Baseline,
    watched: Watched | None,
    change: Change,
    evidence: Evidence | None,
    rails: Rails,
    person: PersonOrder | None,
    now_s: float,
) -> Decision:
    """Decide from facts alone; the same facts always give the same decision.

    `person` skips the gates of `SKIPPED_BY_A_PERSON` and no others. `watched` is None when a person ordered
    before anything was seen. `now_s` (epoch) ends switches, and after `decide_within_s` of a live outage it
    turns a hold that a person could lift into a question."""
    choice = choose(change, plan.rollback)
    gates = (
        *_switches(rails.switches, now_s),
        *_guarded(plan, person, watched),
        _moved_on(deploy, rails),
        _own_rollback(deploy, change),
        choice.verdict,
        _overlapping(rails),
        _last_rollback(rails),
        _cap("max_per_hour", rails.rollbacks_last_hour, plan.rollback.max_per_hour, "hour", deploy),
        _cap("max_per_day", rails.rollbacks_last_day, plan.rollback.max_per_day, "day", deploy),
        _health(watched, plan),
        *_attribution(deploy, baseline, watched, plan),
        _unsafe_paths(choice, plan),
        _diagnosis(evidence),
        _mode(plan),
    )
    if person is not None:
        gates = tuple(_skipped(gate) for gate in gates)
    stops = [gate for gate in gates if gate.status in (Gate.HOLD, Gate.ASK)]
    holds = [gate for gate in stops if gate.status == Gate.HOLD]
    target = listed(choice.culprits) if choice.culprits else short(deploy.sha)

    if plan.mode is Mode.OBSERVE and person is None:
        blocking = [gate for gate in stops if gate.rule != "mode"]
        return Decision(Action.OBSERVE, _observed(watched, gates, blocking, target, plan), gates)
    if holds and not _is_time_to_ask(holds, watched, plan, now_s):
        return Decision(Action.HOLD, _held(watched, person, holds[0]), gates)
    if stops:
        return Decision(Action.ASK, _asked(watched, stops[0], target), gates)
    order = RollbackOrder(
        incident_id=incident_id,
        deploy_id=deploy.id,
        repository=deploy.repository,
        environment=deploy.environment,
        branch=change.branch,
        commits=choice.commits,
        expected_head=change.head,
        ordered_by=person.actor if person else BOT,
        reason=_ordered(watched, person, gates, target),
        good_tree_of=good_tree_of(change, choice, deploy.sha),
    )
    return Decision(Action.ROLL_BACK, order.reason, gates, order)


def why_not_push(order: RollbackOrder, switches: tuple[Switch, ...], now_s: float) -> str | None:
    """The last look, right before the push: why `order` may not be carried out any more, None if it may.

    A switch that was set after the decision stops it as it would have stopped the decision; a freeze stops the
    bot and no person."""
    stops = [
        gate
        for gate in _switches(switches, now_s)
        if gate.status == Gate.HOLD and (order.ordered_by == BOT or gate.rule not in SKIPPED_BY_A_PERSON)
    ]
    return stops[0].reason if stops else None


# --- gates and rails, in the order in which they speak ----------------------------------------------


def _switches(switches: tuple[Switch, ...], now_s: float) -> tuple[Verdict, ...]:
    on = [s for s in switches if s.on and (s.until_s is None or s.until_s > now_s)]
    if not on:
        return (Verdict(Gate.PASS, "no switch is on", "switches"),)
    # The kill switch speaks first, because nobody can go on over it.
    ranks = {name: rank for rank, name in enumerate(_SWITCHES)}
    on.sort(key=lambda switch: (ranks.get(switch.name, -1), switch.name, switch.reason))
    return tuple(
        Verdict(
            Gate.HOLD,
            _SWITCHES.get(s.name, f"the switch {s.name} is on")
            + (f" ({_bare(s.reason)})" if s.reason else ""),
            s.name,
        )
        for s in on
    )


def _guarded(plan: Plan, person: PersonOrder | None, watched: Watched | None) -> tuple[Verdict, ...]:
    found: list[Verdict] = []
    if plan.ignored:
        found.append(Verdict(Gate.HOLD, f"this deploy is not guarded: {_bare(plan.ignored)}", "ignored"))
    if person is None:
        return tuple(found)
    if person.verb not in ORDERS:
        found.append(Verdict(Gate.HOLD, f"{person.actor} said {person.verb}", "person"))
    elif person.verb == "rollback" and not person.reason.strip() and _looks_healthy(watched):
        why = 'the service looks healthy, so a reason is needed: `/rollback --reason "…"`'
        found.append(Verdict(Gate.HOLD, why, "reason"))
    return tuple(found)


def _moved_on(deploy: Deploy, rails: Rails) -> Verdict:
    now = rails.deployed_sha_now
    if now is None:
        return Verdict(Gate.PASS, "nothing says that the environment has moved on", "moved_on")
    if now != deploy.sha:
        reason = f"{deploy.environment} has moved on from {short(deploy.sha)} to {short(now)}"
        return Verdict(Gate.HOLD, reason, "moved_on")
    return Verdict(Gate.PASS, f"{deploy.environment} still runs {short(now)}", "moved_on")


def _own_rollback(deploy: Deploy, change: Change) -> Verdict:
    own = next((c.commit for c in change.culprits if c.commit.sha == deploy.sha), None)
    if own is not None and own.rollback_deploy is not None:
        reason = f"{short(own.sha)} is itself a rollback, which is never rolled back (use `/rollback reland`)"
        return Verdict(Gate.HOLD, reason, "own_rollback")
    reland = next((c.commit for c in change.culprits if c.commit.relands is not None), None)
    if reland is not None:
        reason = (
            f"{short(reland.sha)} is a reland of {short(reland.relands or '')}, which was rolled back before"
        )
        return Verdict(Gate.HOLD, reason, "reland")
    return Verdict(Gate.PASS, "the deploy is no rollback or reland of ours", "own_rollback")


def _overlapping(rails: Rails) -> Verdict:
    number = float(len(rails.overlapping_deploys))
    if rails.overlapping_deploys:
        others = ", ".join(rails.overlapping_deploys[:3])
        reason = f"another deploy overlaps with this one ({others}), and I cannot tell which of them it was"
        return Verdict(Gate.HOLD, reason, "overlapping_deploys", number, 0.0)
    return Verdict(Gate.PASS, "no other deploy overlaps", "overlapping_deploys", number, 0.0)


def _last_rollback(rails: Rails) -> Verdict:
    if rails.last_rollback_failed:
        reason = f"the last rollback of this service did not help ({_bare(rails.last_rollback_failed)})"
        return Verdict(Gate.HOLD, reason, "last_rollback")
    return Verdict(Gate.PASS, "no rollback of this service failed lately", "last_rollback")


def _cap(rule: str, number: int, limit: int, period: str, deploy: Deploy) -> Verdict:
    said = f"{deploy.environment} had {number} rollback{'' if number == 1 else 's'} in the last {period}"
    if number >= limit:
        return Verdict(Gate.HOLD, f"{said} ({rule} {limit})", rule, number, limit)
    return Verdict(Gate.PASS, said, rule, number, limit)


def _health(watched: Watched | None, plan: Plan) -> Verdict:
    if watched is None:
        return Verdict(Gate.HOLD, "nothing was seen of the service", "health")
    said = watched.verdict
    reason = _lower(_bare(said.reason))
    if watched.health is Health.UNHEALTHY:
        return Verdict(Gate.PASS, reason, "health", said.number, said.limit)
    if watched.health is Health.UNKNOWN:
        gate = Gate.ASK if plan.health.on_unknown == "ask" else Gate.HOLD
        return Verdict(gate, f"its health is unknown: {reason}", "health", said.number, said.limit)
    return Verdict(Gate.HOLD, f"the service is not unhealthy: {reason}", "health", said.number, said.limit)


def _attribution(
    deploy: Deploy, baseline: Baseline, watched: Watched | None, plan: Plan
) -> tuple[Verdict, ...]:
    if watched is None:
        return ()
    started = deploy.started_at_s
    return attribution(
        baseline,
        watched.samples,
        plan.health,
        started_t_s=None if started is None else min(0.0, started - deploy.completed_at_s),
        verdict=watched.verdict,
    )


def _unsafe_paths(choice: Choice, plan: Plan) -> Verdict:
    paths = [path for culprit in choice.culprits for path in culprit.commit.paths]
    found = first_match(paths, plan.rollback.unsafe_paths)
    if found is not None:
        reason = f"the change touches {found[0]} (unsafe_paths {found[1]}), which a revert may not undo"
        return Verdict(Gate.HOLD, reason, "unsafe_paths")
    return Verdict(Gate.PASS, "the change touches no unsafe path", "unsafe_paths")


def _diagnosis(evidence: Evidence | None) -> Verdict:
    diagnosis = evidence.diagnosis if evidence else None
    if diagnosis is not None and diagnosis.revert_helps is RevertHelps.NO:
        reason = f"the log says that {in_words(diagnosis.kind)}, which a revert does not mend"
        return Verdict(Gate.HOLD, reason, "diagnosis")
    known = diagnosis is not None and diagnosis.kind != UNKNOWN
    said = (
        f"the log says that {in_words(diagnosis.kind)}" if diagnosis and known else "the log names no cause"
    )
    return Verdict(Gate.PASS, said, "diagnosis")


def _mode(plan: Plan) -> Verdict:
    said = f"mode is {plan.mode.value}"
    return Verdict(Gate.PASS if plan.mode is Mode.AUTO else Gate.ASK, said, "mode")


def _skipped(gate: Verdict) -> Verdict:
    stops = gate.status in (Gate.HOLD, Gate.ASK)
    person_may = gate.rule in SKIPPED_BY_A_PERSON or gate.status == Gate.ASK
    return replace(gate, status=Gate.SKIPPED) if stops and person_may else gate


def _looks_healthy(watched: Watched | None) -> bool:
    """Whether there is no sign of trouble: neither the verdict nor the latest poll that could look."""
    if watched is None:
        return True
    if watched.health in (Health.UNHEALTHY, Health.UNKNOWN):
        return False
    seen = [bad for s in watched.samples if (bad := badness_before(s, _DEFAULTS)) is not None]
    return not seen or seen[-1] <= _DEFAULTS.allowed_badness


def _is_time_to_ask(holds: list[Verdict], watched: Watched | None, plan: Plan, now_s: float) -> bool:
    return (
        watched is not None
        and watched.health is Health.UNHEALTHY
        and now_s - watched.ended_at_s >= plan.rollback.decide_within_s
        and all(gate.rule in SKIPPED_BY_A_PERSON for gate in holds)
    )


# --- sentences ---------------------------------------------------------------------------------------


def _ordered(
    watched: Watched | None, person: PersonOrder | None, gates: tuple[Verdict, ...], target: str
) -> str:
    if person is not None:
        why = f" ({_bare(person.reason)})" if person.reason.strip() else ""
        said = "approved it" if person.verb == "approve" else "ordered it"
        return f"{person.actor} {said}{why}: roll back {target}."
    return f"{_seen(watched)}; {_attributed(gates)}: roll back {target}."


def _held(watched: Watched | None, person: PersonOrder | None, gate: Verdict) -> str:
    if person is not None and gate.rule == "person":
        return f"{gate.reason}: nothing was done."
    if person is not None:
        return f"{person.actor} asked for {person.verb}, but {gate.reason}: nothing was done."
    if gate.rule == "health":
        return f"I did not act: {gate.reason}."
    return f"{_seen(watched)}, but {gate.reason}: I did not act."


def _asked(watched: Watched | None, gate: Verdict, target: str) -> str:
    if gate.rule == "health":
        return f"{_seen(watched)}: shall I roll back {target}?"
    return f"{_seen(watched)}, but {gate.reason}: shall I roll back {target}?"


def _observed(
    watched: Watched | None, gates: tuple[Verdict, ...], blocking: list[Verdict], target: str, plan: Plan
) -> str:
    if blocking:
        return f"{_seen(watched)}. Mode is observe, and I would not have acted: {blocking[0].reason}."
    return (
        f"{_seen(watched)}; {_attributed(gates)}: I would have rolled back {target}, but mode is observe "
        f"({plan.config_from}). Set `mode: auto` to let me."
    )


def _attributed(gates: tuple[Verdict, ...]) -> str:
    said = {gate.rule: gate.reason for gate in gates}
    return f"{said.get('baseline', 'nothing is known of its health before')}, and {said.get('siblings', '')}"


def _seen(watched: Watched | None) -> str:
    return _bare(watched.verdict.reason) if watched else "Nothing was seen of the service"


def _bare(sentence: str) -> str:
    return " ".join(sentence.split()).rstrip(".")


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
