"""Whatever a log, a title, a branch or a target says: nothing in a comment formats, links or mentions.

GitHub's own Markdown parser (cmark-gfm) is the judge.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.comments import MOST_BYTES, headline, incident_comment, incident_marker, revert_pull_request
from bot.comments_text import prose
from policies.cleaning import clean, plain
from policies.facts import Incident, Layer, LayerStatus, Moment, Verdict
from policies.limits import Plan
from tests.incidents import CONFLICT, EVERY, EVIDENCE, HELD, LOG, PLAN, PULL, RECOVERED
from tests.rendered import Rendered, rendered

PAGE = "https://rollback.example.com"
OURS = frozenset(
    "h3 p table thead tbody tr th td strong code pre ul li details summary sub a".split()  # noqa: SIM905
)
FRAGMENTS = [
    "```", "````\n", "\n```\n", "~~~", "`", "``", "</code></pre>", "</details>", "<details>", "<script>",
    "<!--", "-->", "<img src=x>", "@dana", "@acme/team", "#1", "acme/x#2", "GH-3", "|", "||", "\n", "\r",
    "\r\n", "\n\n", "\n# big", "\n> quote", "\n- item", "\n1. item", "\n---\n", "\n===\n", "\n    code",
    "\t", "[x](http://evil.test)", "![x](http://evil.test/x.png)", "http://evil.test/", "https://evil.test",
    "www.evil.test", "ftp://evil.test", "mailto:a@evil.test", "a@evil.test", "xmpp:a@evil.test",
    "<http://evil.test>", "&#64;dana", "&lt;b&gt;", "&", "\\", "\\`", "*", "**", "_", "__", "~~", "$", "$$",
    ":tada:", "- [ ] x", "[^1]", "[x]: http://evil.test", "javascript:x", "\u0000", "\u001b[31m",
    "\u001b]0;x\u0007", "\u202e", "\u200b", "\u2028", "\ufeff", "\ud800", "🟥", "\u00e9", "word", " ", "  ",
    "fixes #4", "Rollback-Deploy: x", "rollback-bot:incident:3f2a9c41d07e", "\"", "'", "(", ")", "!", "+",
    "=",
]  # fmt: skip
LOG_WORD = "wordfromthelog"
HOSTILE = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join),
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(" ".join),
    st.text(st.characters(exclude_categories=()), max_size=60),
)


def infected(fact: Any, text: Callable[[], str]) -> Any:
    """A copy of a fact with every string in it replaced; enumerations keep what they mean."""
    if isinstance(fact, Enum):
        return fact
    if isinstance(fact, str):
        return text()
    if isinstance(fact, tuple):
        return tuple(infected(part, text) for part in fact)
    if dataclasses.is_dataclass(fact) and not isinstance(fact, type):
        changes = {f.name: infected(getattr(fact, f.name), text) for f in dataclasses.fields(fact)}
        return type(fact)(**changes)
    return fact


def assert_harmless(page: Rendered, numbers: tuple[str, ...] = ("#42", "#43")) -> None:
    assert page.tags <= OURS
    assert not page.mistakes
    assert not page.open
    assert all(link.startswith(f"{PAGE}/incidents/") for link in page.links)
    text = page.text
    for number in numbers:
        text = text.replace(number, "")
    assert not re.search(r"@\w|#\d|://|\bwww\.|\bGH-\d|\$", text, re.IGNORECASE), text


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(data=st.data(), name=st.sampled_from(sorted(EVERY)), public=st.booleans())
def test_nothing_from_outside_gets_out_of_its_place(data: st.DataObject, name: str, public: bool) -> None:
    texts = data.draw(st.lists(HOSTILE, min_size=1, max_size=8))
    turn = iter(range(10_000))

    def text() -> str:
        return texts[next(turn) % len(texts)]

    incident: Incident = infected(EVERY[name], text)
    if incident.evidence:
        # The log is the one text that reaches a comment cleaned already (Evidence says so).
        cleaned = f"{LOG_WORD}\n{clean(incident.evidence.log).text}"
        incident = replace(incident, evidence=replace(incident.evidence, log=cleaned))
    plan: Plan = replace(PLAN, branch=text(), config_from=text(), notices=(text(), text()))
    pull_request = infected(PULL, text)

    written = incident_comment(incident, plan, PAGE, public, pull_request)
    assert len(written.encode()) <= MOST_BYTES
    assert written.startswith(incident_marker(incident.id) + "\n")
    page = rendered(written)
    assert_harmless(page)
    assert len(page.comments) == 1
    assert LOG_WORD not in page.text + "".join(page.spans)
    if incident.evidence:
        shown = [block.rstrip("\n") for block in page.blocks]
        assert (incident.evidence.log.rstrip("\n") in shown) is not public
        assert (LOG_WORD in written) is not public

    title, body = revert_pull_request(incident, plan)
    assert_harmless(rendered(body))
    assert "\n" not in title and not re.search(r"@|\[|<", title)
    assert "\n" not in headline(incident)


@settings(max_examples=1_000, deadline=None)
@given(text=HOSTILE, in_table=st.booleans())
def test_prose_is_harmless_and_loses_no_word(text: str, in_table: bool) -> None:
    said = prose(text, in_table=in_table)
    line = f"| **Name** | {said} |" if in_table else f"- {said}"
    page = rendered(f"| | |\n|:--|:--|\n{line}" if in_table else line)
    assert page.tags <= OURS
    assert "\n" not in said
    assert not page.links
    assert not re.search(r":[a-z_+-]+:", page.text)
    visible = re.sub(r"[\s\u200b]+", "", page.text + "".join(page.spans))
    for word in re.findall(r"[A-Za-z]{4,}", plain(text)):
        assert word in visible or "…" in visible


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("used 121 s of its 120 s failure budget (6 > 3)", "used 121 s of its 120 s failure budget (6 > 3)"),
        ("set STATIC_ROOT & restart", "set STATIC_ROOT & restart"),
        ("see @dana, (acme/x#4).", "see `@dana`, (`acme/x#4`)."),
        ("answered 502 at https://api.example.com/.", "answered 502 at `https://api.example.com/`."),
        ("run `git revert -m 1 x`, then push", "run `git revert -m 1 x`, then push"),
        ("touches **/migrations/** only", "touches `**/migrations/**` only"),
        ("> quoted", "`>` quoted"),
        ("1. first", "`1`. first"),
        ("a | b", "a `|` b"),
        ("`a``b`", "`a` `b`"),
        ("```", "```` ``` ````"),
        ("<b>&amp;</b>", "`<b>&amp;</b>`"),
        ("` ` > x", "`` ` ` `` > x"),
        ("", ""),
    ],
)
def test_prose_reads_like_prose(text: str, said: str) -> None:
    assert prose(text) == said


class TestSize:
    def test_a_long_log_keeps_its_head_and_its_tail(self) -> None:
        log = "first line\n" + "".join(f"line {n} 🟥 {'x' * 80}\n" for n in range(5_000)) + "last line"
        text = incident_comment(
            replace(RECOVERED, evidence=replace(EVIDENCE, log=log)), PLAN, PAGE, False, PULL
        )
        assert 50_000 < len(text.encode()) <= MOST_BYTES
        assert "\nfirst line\n" in text
        assert "\nlast line\n" in text
        assert "lines cut" in text
        assert text.endswith("kept up to date</sub>\n")

    def test_the_log_shrinks_before_anything_else(self) -> None:
        moments = tuple(Moment(n * 10.0, f"moment {n} {'y' * 250}") for n in range(100))
        incident = replace(RECOVERED, timeline=moments, evidence=replace(EVIDENCE, log=LOG * 2_000))
        text = incident_comment(incident, PLAN, PAGE, False, PULL)
        assert len(text.encode()) <= MOST_BYTES
        assert "moment 0 " in text and "moment 99 " in text
        assert "Traceback" in text

    def test_more_facts_than_fit_are_cut_and_a_short_log_stays(self) -> None:
        verdicts = tuple(Verdict("hold", "é" * 400, f"rule {n}") for n in range(500))
        layers = tuple(Layer(f"l{n}", LayerStatus.FAILING, "ö" * 500, ("ä" * 500,) * 200) for n in range(50))
        incident = replace(
            HELD,
            decision=replace(HELD.decision, gates=verdicts),
            evidence=replace(EVIDENCE, layers=layers),
            timeline=tuple(Moment(float(n), "ü" * 400) for n in range(500)),
        )
        text = incident_comment(incident, PLAN, PAGE, False, PULL)
        assert len(text.encode()) <= MOST_BYTES
        assert "ImproperlyConfigured" in text.split("```text")[-1]
        assert_harmless(rendered(text))

    @pytest.mark.parametrize("wide", ["\\", "`", "🟥", "|", "<"])
    def test_the_widest_texts_everywhere_fit(self, wide: str) -> None:
        for base in (CONFLICT, HELD, RECOVERED):
            incident = infected(base, lambda: wide * 70_000)
            incident = replace(
                incident,
                reverted=replace(
                    CONFLICT.reverted, conflicts=(wide * 500,) * 500, notes=(wide * 5_000,) * 500
                ),
            )
            plan = replace(PLAN, branch=wide * 5_000, notices=(wide * 5_000,) * 50)
            text = incident_comment(incident, plan, PAGE, False, infected(PULL, lambda: wide * 5_000))
            assert len(text.encode()) <= MOST_BYTES
            assert_harmless(rendered(text))

    def test_a_log_of_backticks_costs_no_more_than_it_may(self) -> None:
        log = "\n".join("`" * 1_999 for _ in range(60))
        text = incident_comment(
            replace(RECOVERED, evidence=replace(EVIDENCE, log=log)), PLAN, PAGE, False, PULL
        )
        assert len(text.encode()) <= MOST_BYTES
        assert_harmless(rendered(text))
