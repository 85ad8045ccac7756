"""Keep the HTML elements that GitHub allows in Markdown and drop the rest, as its own sanitizer does."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser

ALLOWED = frozenset(
    [
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "br",
        "b",
        "i",
        "strong",
        "em",
        "a",
        "pre",
        "code",
        "img",
        "tt",
        "div",
        "ins",
        "del",
        "sup",
        "sub",
        "p",
        "ol",
        "ul",
        "table",
        "thead",
        "tbody",
        "tfoot",
        "blockquote",
        "dl",
        "dt",
        "dd",
        "kbd",
        "q",
        "samp",
        "var",
        "hr",
        "ruby",
        "rt",
        "rp",
        "li",
        "tr",
        "td",
        "th",
        "s",
        "strike",
        "summary",
        "details",
        "caption",
        "figure",
        "figcaption",
        "abbr",
        "bdo",
        "cite",
        "dfn",
        "mark",
        "small",
        "span",
        "time",
        "wbr",
        "input",
    ]
)
VOID = frozenset({"br", "hr", "img", "wbr", "input"})
SILENT = frozenset(
    {"script", "style", "iframe", "object", "embed", "template", "noscript", "title", "textarea"}
)
UNLINKED = frozenset({"a", "code", "pre", "tt", "kbd", "samp"})
ATTRIBUTES = frozenset(
    [
        "align",
        "alt",
        "border",
        "colspan",
        "rowspan",
        "height",
        "width",
        "title",
        "open",
        "start",
        "type",
        "checked",
        "disabled",
        "valign",
    ]
)
SAFE_ADDRESS = re.compile(r"(?:https?:|mailto:|/(?!/)|#|[^:]*$)", re.IGNORECASE)


class _Cleaner(HTMLParser):
    def __init__(self, link: Callable[[str], str]) -> None:
        super().__init__(convert_charrefs=True)
        self._link = link
        self.parts: list[str] = []
        self.open: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SILENT:
            self._silent += 1
        if tag not in ALLOWED or self._silent:
            return
        if tag == "input" and ("type", "checkbox") not in attrs:
            return
        kept = "".join(self._attribute(tag, name, value) for name, value in attrs)
        self.parts.append(f"<{tag}{kept}>")
        if tag not in VOID:
            self.open.append(tag)

    @staticmethod
    def _attribute(tag: str, name: str, value: str | None) -> str:
        text = value or ""
        if (tag, name) in (("a", "href"), ("img", "src")):
            if not SAFE_ADDRESS.match(text.strip()):
                return ""
        elif name == "class":
            if not (tag in ("code", "pre") and text.startswith("language-")):
                return ""
        elif name not in ATTRIBUTES:
            return ""
        return f' {name}="{html.escape(text)}"'

    def handle_endtag(self, tag: str) -> None:
        if tag in SILENT:
            self._silent = max(0, self._silent - 1)
        if tag not in self.open or self._silent:
            return
        while self.open:
            last = self.open.pop()
            self.parts.append(f"</{last}>")
            if last == tag:
                return

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        text = html.escape(data, quote=False)
        self.parts.append(text if UNLINKED & set(self.open) else self._link(text))


def sanitize(text: str, link: Callable[[str], str] = str) -> str:
    """HTML with only GitHub's allowed elements, attributes and addresses; every element closed.

    `link` may turn mentions of commits and pull requests in (already escaped) running text into links.
    """
    cleaner = _Cleaner(link)
    cleaner.feed(text)
    cleaner.close()
    return "".join(cleaner.parts) + "".join(f"</{tag}>" for tag in reversed(cleaner.open))
