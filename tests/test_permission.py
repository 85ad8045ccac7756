"""Who may: every role against every verb, and what is refused when nothing is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.chatops import VERBS
from policies.limits import Mode, Plan
from policies.permission import ROLES, Permission, may, needed

DEFAULT = Plan(mode=Mode.AUTO, branch="develop").permissions


@pytest.mark.parametrize(
    ("verb", "least"),
    [
        ("rollback", "write"),
        ("approve", "write"),
        ("cancel", "write"),
        ("hold", "write"),
        ("resume", "write"),
        ("freeze", "maintain"),
        ("unfreeze", "maintain"),
        ("reland", "write"),
        ("logs", "write"),
        ("status", "read"),
        ("why", "read"),
        ("help", "read"),
    ],
)
def test_each_verb_needs_its_role_and_no_less(verb: str, least: str) -> None:
    assert needed(verb, DEFAULT) == least
    for role in ROLES:
        allowed = may(verb, role, least).status == Permission.ALLOWED
        assert allowed is (ROLES.index(role) >= ROLES.index(least))


def test_every_verb_of_the_grammar_has_a_role() -> None:
    assert all(needed(verb, DEFAULT) != "admin" for verb in VERBS)
    assert needed("delete-everything", DEFAULT) == "admin"


def test_a_repository_may_ask_for_more_or_less() -> None:
    stricter = (("rollback", "maintain"), ("approve", "triage"))
    assert needed("rollback", stricter) == "maintain"
    assert needed("reland", stricter) == "maintain"
    assert needed("cancel", stricter) == "triage"
    assert needed("freeze", stricter) == "maintain"


@pytest.mark.parametrize(
    ("configured", "needs"),
    [("write", "maintain"), ("read", "maintain"), ("admin", "admin"), ("owner", "owner")],
)
def test_the_kill_switch_needs_maintain_at_least(configured: str, needs: str) -> None:
    assert needed("hold", (("hold", configured),), whole_repository=True) == needs
    assert needed("resume", (("hold", configured),), whole_repository=True) == needs


class TestSentences:
    def test_the_result_the_reason_and_the_next_step(self) -> None:
        assert may("rollback", "triage", "write", "dana").reason == (
            "**Not rolled back.** @dana has `triage`; this needs `write`. "
            "Ask a maintainer, or read the evidence with `/rollback why`."
        )
        assert may("freeze", "none", "maintain", "dana").reason == (
            "**Not frozen.** @dana has no role here; this needs `maintain`. Ask a maintainer."
        )
        assert (
            may("approve", "maintain", "write", "dana").reason == "@dana has `maintain`; this needs `write`."
        )

    def test_a_role_that_could_not_be_read_is_refused(self) -> None:
        for role in (None, "", "owner", "WRITE", "write ", "release-captain"):
            verdict = may("rollback", role, "read", "dana")
            assert verdict.status == Permission.REFUSED
            assert verdict.reason == (
                "**Not rolled back.** I could not read @dana's role, and without it I refuse. "
                "Try again, or ask a maintainer."
            )

    def test_a_configured_role_that_is_none_is_refused_to_everybody(self) -> None:
        for role in (*ROLES, None):
            verdict = may("rollback", role, "owner")
            assert verdict.status == Permission.REFUSED
            assert "correct `permissions`" in verdict.reason

    @pytest.mark.parametrize("login", ["x` @all", "a b", "", None, "-dana", "dana\n", "@dana", "d" * 60])
    def test_what_is_no_login_is_not_written(self, login: str | None) -> None:
        assert may("hold", "read", "write", login).reason.startswith("**Not held.** You have `read`; ")
        assert "read your role" in may("hold", None, "write", login).reason

    def test_ranks_are_told_as_number_and_limit(self) -> None:
        verdict = may("rollback", "triage", "write")
        assert (verdict.rule, verdict.number, verdict.limit) == ("permission", 2.0, 3.0)


@given(verb=st.text(), role=st.none() | st.text(), required=st.text(), login=st.none() | st.text())
def test_whatever_is_asked_is_answered_and_nothing_unknown_allowed(
    verb: str, role: str | None, required: str, login: str | None
) -> None:
    verdict = may(verb, role, required, login)
    if role not in ROLES or required not in ROLES:
        assert verdict.status == Permission.REFUSED
