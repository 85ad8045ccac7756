"""Who may: every role against every verb, and what is refused when nothing is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.chatops import VERBS
from policies.limits import Mode, Plan
from policies.permission import READING, ROLES, Permission, may, needed, teams_in

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
    assert needed(verb, DEFAULT) == (least,)
    for role in ROLES:
        allowed = may(verb, role, (least,)).status == Permission.ALLOWED
        assert allowed is (ROLES.index(role) >= ROLES.index(least))


def test_every_verb_of_the_grammar_has_a_role() -> None:
    assert all(needed(verb, DEFAULT) != ("admin",) for verb in VERBS)
    assert needed("delete-everything", DEFAULT) == ("admin",)


def test_a_repository_may_ask_for_more_or_less() -> None:
    stricter = (("rollback", "maintain"), ("approve", "triage"))
    assert needed("rollback", stricter) == ("maintain",)
    assert needed("reland", stricter) == ("maintain",)
    assert needed("cancel", stricter) == ("triage",)
    assert needed("freeze", stricter) == ("maintain",)


def test_every_verb_may_have_a_key_of_its_own_and_several_allowances() -> None:
    said = (
        ("rollback", "maintain"), ("rollback", "@acme/oncall"), ("cancel", "read"), ("unfreeze", "admin"),
        ("logs", "role:Auditor"),
    )  # fmt: skip
    assert needed("rollback", said) == needed("reland", said) == ("maintain", "@acme/oncall")
    assert (needed("approve", said), needed("cancel", said)) == (("write",), ("read",))
    assert (needed("freeze", said), needed("unfreeze", said)) == (("maintain",), ("admin",))
    assert (needed("logs", said), needed("why", said)) == (("role:Auditor",), ("read",))
    assert teams_in(needed("rollback", said)) == ("acme/oncall",)


@pytest.mark.parametrize(
    ("configured", "needs"),
    [
        ("write", "maintain"),
        ("read", "maintain"),
        ("admin", "admin"),
        ("owner", "owner"),
        ("@acme/oncall", "maintain"),
        ("role:Captain", "maintain"),
    ],
)
def test_the_kill_switch_needs_maintain_at_least(configured: str, needs: str) -> None:
    assert needed("hold", (("hold", configured),), whole_repository=True) == (needs,)
    assert needed("resume", (("hold", configured),), whole_repository=True) == (needs,)
    either = (("hold", configured), ("hold", "triage"))
    assert needed("hold", either, whole_repository=True) == (
        ("owner", "triage") if needs == "owner" else ("maintain",)
    )


class TestSentences:
    def test_the_result_the_reason_and_the_next_step(self) -> None:
        assert may("rollback", "triage", ("write",), "dana").reason == (
            "**Not rolled back.** @dana has `triage`; this needs `write`. "
            "Ask a maintainer, or read the evidence with `/rollback why`."
        )
        assert may("freeze", "none", ("maintain",), "dana").reason == (
            "**Not frozen.** @dana has no role here; this needs `maintain`. Ask a maintainer."
        )
        assert (
            may("approve", "maintain", ("write",), "dana").reason
            == "@dana has `maintain`; this needs `write`."
        )

    def test_a_role_that_could_not_be_read_is_refused(self) -> None:
        for role in (None, "", " ", "WRITE", "write ", "\nx", "x" * 200):
            verdict = may("rollback", role, ("read",), "dana")
            assert verdict.status == Permission.REFUSED
            assert verdict.reason == (
                "**Not rolled back.** I could not read @dana's role, and without it I refuse. "
                "Try again, or ask a maintainer."
            )

    def test_a_configured_role_that_is_none_is_refused_to_everybody(self) -> None:
        for role in (*ROLES, None):
            verdict = may("rollback", role, ("owner",))
            assert verdict.status == Permission.REFUSED
            assert "correct `permissions`" in verdict.reason

    @pytest.mark.parametrize("login", ["x` @all", "a b", "", None, "-dana", "dana\n", "@dana", "d" * 60])
    def test_what_is_no_login_is_not_written(self, login: str | None) -> None:
        assert may("hold", "read", ("write",), login).reason.startswith("**Not held.** You have `read`; ")
        assert "read your role" in may("hold", None, ("write",), login).reason

    def test_ranks_are_told_as_number_and_limit(self) -> None:
        verdict = may("rollback", "triage", ("write",))
        assert (verdict.rule, verdict.number, verdict.limit) == ("permission", 2.0, 3.0)


class TestTeams:
    NEEDS = ("maintain", "@acme/oncall", "@acme/sre")

    @pytest.mark.parametrize(
        ("role", "teams", "allowed"),
        [
            ("maintain", (), True),
            ("write", (), False),
            ("write", (("acme/oncall", True),), True),
            ("read", (("acme/oncall", False), ("acme/sre", True)), True),
            ("write", (("acme/oncall", False), ("acme/sre", None)), False),
            ("none", (("acme/oncall", True),), False),
            (None, (("acme/oncall", True),), False),
        ],
    )
    def test_a_member_of_one_of_them_may_and_what_cannot_be_read_is_refused(
        self, role: str | None, teams: tuple[tuple[str, bool | None], ...], allowed: bool
    ) -> None:
        assert (may("rollback", role, self.NEEDS, "dana", teams).status == Permission.ALLOWED) is allowed

    def test_the_refusal_names_them_without_calling_them(self) -> None:
        refused = may("rollback", "write", self.NEEDS, "dana", (("acme/oncall", False), ("acme/sre", None)))
        assert refused.reason == (
            "**Not rolled back.** @dana has `write`; this needs `maintain`, the team `acme/oncall` or the team "
            "`acme/sre`. I could not read whether @dana is in `acme/sre`, and without that I refuse (an App needs "
            "the organization permission *Members: read*). Ask a maintainer, or read the evidence with "
            "`/rollback why`."
        )
        assert "@acme" not in refused.reason


class TestCustomRoles:
    def test_one_that_nobody_named_is_refused_with_the_way_to_name_it(self) -> None:
        assert may("rollback", "Release captain", ("write",), "dana").reason == (
            "**Not rolled back.** @dana has `Release captain`; this needs `write`. `Release captain` is a custom "
            'role, which I cannot compare; `permissions` in `.github/rollback.yml` can name it as "role:…". '
            "Ask a maintainer, or read the evidence with `/rollback why`."
        )

    @pytest.mark.parametrize("named", ["role:Release captain", "role:release CAPTAIN"])
    def test_one_that_is_named_may(self, named: str) -> None:
        assert may("rollback", "Release captain", ("admin", named), "dana").status == Permission.ALLOWED
        assert may("rollback", "Release captains", ("admin", named), "dana").status == Permission.REFUSED

    def test_everybody_who_has_one_may_read(self) -> None:
        for verb in READING:
            assert may(verb, "Release captain", needed(verb, ()), "dana").status == Permission.ALLOWED

    def test_a_team_counts_for_them_too(self) -> None:
        needs = ("@acme/oncall",)
        assert may("hold", "Captain", needs, "dana", (("acme/oncall", True),)).status == Permission.ALLOWED
        assert may("hold", "Captain", needs, "dana", (("acme/oncall", False),)).status == Permission.REFUSED

    def test_a_name_of_a_custom_role_formats_nothing(self) -> None:
        said = may("hold", "`**@all**`", ("write",), "dana").reason
        assert "`**@all**`" in said and "``" not in said


@given(verb=st.text(), role=st.none() | st.text(), required=st.text(), login=st.none() | st.text())
def test_whatever_is_asked_is_answered_and_nothing_unknown_allowed(
    verb: str, role: str | None, required: str, login: str | None
) -> None:
    verdict = may(verb, role, (required,), login)
    if role not in ROLES and verb not in READING:
        assert verdict.status == Permission.REFUSED or required == f"role:{role}"
    if required not in ROLES and not required.startswith("role:"):
        assert verdict.status == Permission.REFUSED
