"""Foreign text made safe to show: the order of cleaning, the cap, the fence, and no mentions outside it."""

from __future__ import annotations

import re

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.cleaning import MAX_BYTES, cap, clean, decode, fence_for, fenced, inline, plain, unmentioned

TOKEN = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
HOSTILE = (
    "```\n@everyone\n```",
    "~~~\n@dana\n~~~",
    "````\n@dana\n````\n```text\n",
    "</details></summary><script>alert(1)</script>",
    "<!-- -->\n# heading\n| a | b |\n|---|---|\n| @dana | #1 |",
    "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "\u202egnp.exe\u202c \u2066@dana\u2069",
    "    indented\n\t@dana",
    "`" * 500,
    "a\rb\r\nc\n\rd",
    "\x00@\x00d\x00a\x00n\x00a\x00",
    "![x](http://evil.example/p.png) [l](http://evil.example)",
    "\ufeff\u2028```\u2029```",
    "\ud800 lone",
)


def html(markdown: str) -> str:
    return cmarkgfm.github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE)


def outside_code(markdown: str) -> str:
    """What a reader sees beside code: there a mention would notify and a link would lead."""
    return re.sub(r"<code[^>]*>.*?</code>", "", html(markdown), flags=re.DOTALL)


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        (b"\x1b[31mERROR\x1b[0m x", "ERROR x"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1bPdevice\x1b\\after", "after"),
        (b"\x1b(Bascii \x1bM up", "ascii  up"),
        (b"\x1b]unclosed title", "unclosed title"),
        (b"\xc2\x9dunclosed\xc2\x9dtitle\xc2\x9c text", "unclosed text"),
        (b"one\r\ntwo\rthree", "one\ntwo\nthree"),
        (b"a\x00b\x07c\x08d", "abcd"),
        (b"caf\xc3\xa9 \xff\xfe", "café \ufffd\ufffd"),
        ("zero\u200bwidth\u2060 \u202eright".encode(), "zerowidth right"),
        ("line\u2028separator\u0085next".encode(), "line\nseparator\nnext"),
        (b"tab\tstays", "tab\tstays"),
        (b"K\x00e\x00y\x00E\x00r\x00r\x00o\x00r\x00", "KeyError"),
    ],
)
def test_what_a_terminal_would_not_show_is_gone(raw: bytes, seen: str) -> None:
    assert plain(decode(raw)) == seen


def test_a_token_that_a_sequence_splits_is_removed_whole() -> None:
    raw = f"using {TOKEN[:9]}\x1b[0m{TOKEN[9:20]}\u200b{TOKEN[20:]} now"

    assert clean(raw).text == "using [redacted] now"


def test_redaction_comes_before_the_cut() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join(["MIIEpAIBAAKCAQEA04up8hoqzS1" + "x" * 37] * 40)
    text = "start\n" + key + "\n-----END RSA PRIVATE KEY-----\nend"

    cleaned = clean(text, max_lines=10)

    assert cleaned.text == "start\n[redacted]\nend"
    assert cleaned.redacted == 1


def test_head_and_tail_are_kept_and_the_cut_is_told() -> None:
    text = "\n".join(str(number) for number in range(1000))

    shown, cut = cap(text, max_lines=100)
    lines = shown.split("\n")

    assert len(lines) == 100
    assert (lines[0], lines[-1]) == ("0", "999")
    assert f"[… {cut} lines cut …]" in lines
    assert cut == 901


def test_a_long_line_keeps_its_ends() -> None:
    shown, cut = cap("a" * 5000 + "END")

    assert cut == 0 and len(shown) < 2100
    assert shown.endswith("END") and "characters cut" in shown


@given(st.text(), st.integers(min_value=0, max_value=500), st.integers(min_value=1, max_value=30))
def test_the_cap_holds_in_bytes_and_lines(text: str, max_bytes: int, max_lines: int) -> None:
    shown, _ = cap(plain(text), max_lines=max_lines, max_bytes=max_bytes)

    assert len(shown.encode()) <= max_bytes
    assert shown.count("\n") < max(2, max_lines)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=300), max_size=600))
@settings(max_examples=40, deadline=None)
def test_no_log_is_larger_than_a_comment_takes(lines: list[str]) -> None:
    assert len(clean("\n".join(lines) * 30).text.encode()) <= MAX_BYTES


@given(st.binary())
def test_cleaning_never_fails_and_cleans_once_and_for_all(raw: bytes) -> None:
    once = clean(raw)

    assert clean(once.text).text == once.text
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]", once.text
    )


text_for_markdown = st.one_of(
    st.text(st.sampled_from("`~@#<>/|*_[]()!\\ \n\tdana-&;:.1"), max_size=200),
    st.text(max_size=200),
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=3).map("\n".join),
)


@given(text_for_markdown)
@settings(max_examples=600, deadline=None)
def test_log_text_stays_inside_its_block(text: str) -> None:
    shown = clean(text).text
    page = html(f"before\n\n{fenced(shown)}\n\nafter")

    blocks = re.findall(r'<pre lang="text"><code>(.*?)</code></pre>', page, flags=re.DOTALL)
    assert len(blocks) == 1
    around = page.replace(f'<pre lang="text"><code>{blocks[0]}</code></pre>', "")
    assert re.sub(r"\s+", "", around) == "<p>before</p><p>after</p>"


@given(text_for_markdown)
@settings(max_examples=300, deadline=None)
def test_the_block_holds_inside_a_folded_part_too(text: str) -> None:
    page = html(f"<details><summary>Log</summary>\n\n{fenced(clean(text).text)}\n\n</details>\n\nafter")

    assert page.count("</details>") == 1 and page.rstrip().endswith("<p>after</p>")


@given(text_for_markdown)
@settings(max_examples=600, deadline=None)
def test_inline_text_mentions_and_links_nothing(text: str) -> None:
    code = inline(text)
    beside = outside_code(f"cause: {code} end")

    assert re.sub(r"\s+", " ", beside).strip() in ("<p>cause: end</p>", "<p>cause:  end</p>")


@given(text_for_markdown)
@settings(max_examples=300, deadline=None)
def test_inline_text_keeps_its_cell_of_a_table(text: str) -> None:
    page = html(f"| a | b |\n|---|---|\n| {inline(text, in_table=True)} | last |")

    assert page.count("<td>") == 2 and "<td>last</td>" in page
    assert "@" not in re.sub(r"<code>.*?</code>", "", page, flags=re.DOTALL)


@given(text_for_markdown)
@settings(max_examples=300, deadline=None)
def test_words_without_a_code_span_mention_nobody(text: str) -> None:
    page = html(f"by {unmentioned(text)} today")

    assert not re.search(r"@\w", page)
    assert "<a " not in page and "<img" not in page and "<h" not in page
    assert page.count("<p>") == 1


def test_the_fence_is_longer_than_any_in_the_text() -> None:
    assert fence_for("plain") == "```"
    assert fence_for("a ``` b ````` c") == "``````"
    assert fenced("x") == "```text\nx\n```"
