"""A comment as GitHub's own Markdown parser renders it, taken apart for tests: tags, links, text, code."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

import cmarkgfm
from cmarkgfm.cmark import Options

EXTENSIONS = ["table", "autolink", "strikethrough", "tasklist"]
VOID = frozenset({"br", "hr", "img", "input"})


@dataclass
class Rendered(HTMLParser):
    """`text` is what stands outside code, `blocks` the code blocks, `spans` the code spans."""

    tags: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    text: str = ""
    blocks: list[str] = field(default_factory=list)
    spans: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag == "pre":
            self.blocks.append("")
        elif tag == "code" and "pre" not in self.open:
            self.spans.append("")
            self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(tag)

    def handle_data(self, data: str) -> None:
        if "pre" in self.open:
            self.blocks[-1] += data
        elif "code" in self.open:
            self.spans[-1] += data
        else:
            self.text += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def rendered(markdown: str) -> Rendered:
    """Rendered without any sanitizer behind it: whatever gets through here got through."""
    html = cmarkgfm.markdown_to_html_with_extensions(
        markdown, options=Options.CMARK_OPT_UNSAFE, extensions=EXTENSIONS
    )
    page = Rendered()
    page.feed(html)
    page.close()
    return page
