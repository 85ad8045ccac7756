"""What Slack is sent: Markdown becomes Slack's own, and nothing foreign mentions, links, formats or leaks."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.command_ports import is_of_other_question, question_of
from bot.comments_slack import (
    APPROVE,
    CANCEL,
    MOST_SECTIONS,
    WHY,
    answer_text,
    continued_text,
    escaped,
    incident_of_button,
    incident_text,
    log_sections,
    mrkdwn,
    overview,
    sections,
)
from policies.asked import Asked, Mood, Part, Reply
from policies.chatops import Command
from tests import incidents

ASKED = Asked("slack-1", "slack", "dana", "acme/stagelog", 42, 0.0, Command("status"), account="T1/U1")

SAID = [
    ("**Rolled back.** It was slow.", "*Rolled back.* It was slow."),
    ("`develop` has **two**", "`develop` has *two*"),
    ("- one\n- two", "• one\n• two"),
    ("see [the page](https://bot.example/x?a=1&b=2)", "see <https://bot.example/x?a=1&amp;b=2|the page>"),
    ("see [the page](javascript:alert)", "see [the page](javascript:alert)"),
    ("<!channel> & <@U1> <https://x|y>", "&lt;!channel&gt; &amp; &lt;@U1&gt; &lt;https://x|y&gt;"),
    ("`<!here>`", "`&lt;!here&gt;`"),
    ("``a ` b``", "`a ' b`"),
    ("`**not bold**`", "`**not bold**`"),
    (
        "`/rollback approve` or `/rollback`",
        "`/rollback acme/stagelog#42 approve` or `/rollback acme/stagelog#42`",
    ),
    ("`/rollback connect` and `/rollback help`", "`/rollback connect` and `/rollback help`"),
    ("`/rollbacks`", "`/rollbacks`"),
]


@pytest.mark.parametrize(("markdown", "slack"), SAID)
def test_markdown_is_said_as_slack_writes_it(markdown: str, slack: str) -> None:
    assert mrkdwn(markdown, "acme/stagelog#42") == slack


def test_an_answer_has_its_parts_and_its_log_in_blocks_of_code() -> None:
    reply = Reply(
        Mood.ACCEPTED,
        "Captured.",
        "At 14:00 UTC.",
        "`/rollback why` tells more.",
        (
            Part("Layers", "- **host**: fine"),
            Part("Log", "Traceback\n```\n<!channel> token=abcdefgh12345678", is_log=True),
        ),
    )
    told = answer_text(ASKED, reply)
    assert [block["text"]["text"] for block in told.blocks] == [
        "*Captured.* At 14:00 UTC. `/rollback acme/stagelog#42 why` tells more.",
        "*Layers*",
        "• *host*: fine",
        "*Log*",
        "```\nTraceback\n'''\n&lt;!channel&gt; token=[redacted]\n```",
    ]
    assert told.plain == "Captured. At 14:00 UTC. /rollback why tells more."
    assert all(block["text"]["verbatim"] for block in told.blocks)


def test_a_long_log_is_split_and_what_is_too_much_is_left_out() -> None:
    log = "\n".join(f"{number} " + "x" * 200 for number in range(200))
    told = answer_text(ASKED, Reply(Mood.ACCEPTED, "Captured.", parts=(Part("Log", log, is_log=True),) * 5))
    assert (
        len(told.blocks) == MOST_SECTIONS
        and told.blocks[-1]["text"]["text"] == "The rest is too long for Slack."
    )
    assert all(len(block["text"]["text"]) <= 3_000 for block in told.blocks)


def test_a_question_has_its_buttons_and_nothing_else_has() -> None:
    asked = incidents.ASKED
    told = incident_text(asked, incidents.PLAN, "https://bot.example.com")
    (actions,) = [block for block in told.blocks if block["type"] == "actions"]
    assert [(e["action_id"], e["value"], "confirm" in e) for e in actions["elements"]] == [
        (APPROVE, question_of(asked), True),
        (CANCEL, question_of(asked), True),
        (WHY, question_of(asked), False),
    ]
    assert incident_of_button(actions["elements"][0]["value"]) == asked.id
    for name, other in incidents.EVERY.items():
        if other.state != asked.state:
            blocks = incident_text(other, incidents.PLAN, None).blocks
            assert not [b for b in blocks if b["type"] == "actions"], name


def test_an_old_button_belongs_to_no_other_question() -> None:
    asked = incidents.ASKED
    button = replace(ASKED, button=question_of(asked))
    assert not is_of_other_question(button, asked)
    assert not is_of_other_question(ASKED, asked), "a typed command means the question that is open"
    assert is_of_other_question(button, replace(asked, asked_until_s=(asked.asked_until_s or 0) + 60))
    assert is_of_other_question(button, replace(asked, id="another"))
    assert is_of_other_question(button, None)


@pytest.mark.parametrize("name", incidents.EVERY)
def test_every_state_is_told_in_a_few_blocks_that_slack_takes(name: str) -> None:
    incident = incidents.EVERY[name]
    told = incident_text(incident, incidents.PLAN, "https://bot.example.com/")
    assert sound(told.blocks)
    assert told.plain.endswith((".", "?")) and "acme/stagelog" in told.plain
    footer = told.blocks[-1]["elements"][0]["text"]
    if incident.change is not None:
        assert "<https://github.com/acme/stagelog/pull/42|acme/stagelog#42>" in footer
    assert f"/incidents/{incident.id}|incident {incident.id}>" in footer
    assert "goes on in a newer message" in continued_text(incident).plain


def test_the_overview_names_what_is_open() -> None:
    told = answer_text(replace(ASKED, repository="", number=0), overview((incidents.ASKED,), ()))
    assert "`acme/stagelog`: " in told.blocks[1]["text"]["text"]
    assert "No hold, freeze or kill switch is on." in told.blocks[1]["text"]["text"]
    assert "No incident is open." in str(answer_text(ASKED, overview((), ())).blocks)


PIECES = [
    *(
        "<!channel>",
        "<@U1>",
        "@here",
        "`",
        "```",
        "**",
        "*",
        "_",
        "~",
        "[a](https://x.y)",
        "<http://x|y>",
        "\n",
    ),
    *(
        "&lt;",
        "# ",
        "- ",
        "|",
        ">",
        "/rollback approve",
        "\x00",
        "\u202e",
        "https://evil.example",
        "x" * 3_000,
    ),
]
HOSTILE = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(PIECES),
        max_size=12,
    ).map("".join),
)


def sound(blocks: tuple[dict[str, object], ...]) -> bool:
    """Only links of our own making begin with `<`, and everything fits."""
    assert 0 < len(blocks) <= 50
    for block in blocks:
        texts = [block["text"]] if "text" in block else list(block.get("elements", ()))  # type: ignore[call-overload]
        for text in texts:
            said = text.get("text", "") if isinstance(text, dict) else ""
            if isinstance(said, str) and text.get("type") == "mrkdwn":
                assert 0 < len(said) <= 3_000
                assert text["verbatim"] is True
                rest = re.sub(r"<https?://[^\s<>|]+\|[^<>\n]*>", "", said)
                assert "<" not in rest and ">" not in rest, said
    json.dumps(blocks)
    return True


@settings(max_examples=50, deadline=None)
@given(HOSTILE, HOSTILE)
def test_hostile_words_mention_and_link_nobody(one: str, two: str) -> None:
    incident = replace(
        incidents.ASKED,
        reason=one,
        deploy=replace(incidents.ASKED.deploy, environment=two or "x"),
        change=replace(
            incidents.CHANGE,
            culprits=(
                replace(
                    incidents.CHANGE.culprits[0], pull_request=replace(incidents.PULL, title=one, url=two)
                ),
            ),
        ),
    )
    told = incident_text(incident, incidents.PLAN, "https://bot.example.com")
    assert sound(told.blocks) and "<" not in told.plain
    reply = Reply(Mood.ACCEPTED, "Done.", "", "", (Part("Log", one, is_log=True), Part(two, "- x")))
    told = answer_text(ASKED, reply)
    assert sound(told.blocks) and "<" not in told.plain


@settings(max_examples=50, deadline=None)
@given(HOSTILE)
def test_no_text_leaves_its_block_of_code(log: str) -> None:
    for block in log_sections(log):
        text = block["text"]["text"]
        assert text.startswith("```\n") and text.endswith("\n```") and "```" not in text[4:-4]
    for block in sections(log):
        assert "<" not in re.sub(r"<https?://[^\s<>|]+\|[^<>\n]*>", "", block["text"]["text"])


def test_escaping_is_slacks_three_characters() -> None:
    assert escaped("a<b>&c") == "a&lt;b&gt;&amp;c"
