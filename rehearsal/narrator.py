"""Tells the story on the terminal while it happens: each step with its clock, and a table at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

MARKS = {"step": "[bold cyan]▸[/]", "good": "[bold green]✔[/]", "bad": "[bold red]✘[/]", "wait": "[dim]…[/]"}


class Narrator:
    """Prints to a console and remembers how long each stage took (seconds, in order)."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()
        self.stages: dict[str, float] = {}

    def say(self, text: str, mark: str = "step", detail: str = "") -> None:
        """One line: clock time, seconds since the start, what happened. `text` is plain, not markup."""
        clock = time.strftime("%H:%M:%S")
        since = time.monotonic() - self.began
        more = f" [dim]{escape(detail)}[/]" if detail else ""
        self.console.print(
            f"[dim]{clock} {since:6.1f} s[/] {MARKS[mark]} {escape(text)}{more}",
            highlight=False,
            soft_wrap=True,
        )

    def heading(self, text: str) -> None:
        self.console.rule(f"[bold]{escape(text)}[/]", align="left")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what happens inside as one stage of the final table."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = round(self.stages.get(name, 0.0) + time.monotonic() - began, 2)

    def closing(self, figures: dict[str, float | None], addresses: dict[str, str]) -> None:
        """The table of stages, the three figures that matter, and where to look."""
        table = Table(title="How long it took", title_justify="left", header_style="bold")
        table.add_column("stage")
        table.add_column("seconds", justify="right")
        for name, seconds in self.stages.items():
            table.add_row(name, f"{seconds:.1f}")
        table.add_section()
        for name, value in figures.items():
            table.add_row(f"[bold]{name}[/]", "–" if value is None else f"[bold]{value:.1f}[/]")
        self.console.print(table)
        for name, address in addresses.items():
            self.console.print(f"  {name:<14} {address}", highlight=False, soft_wrap=True)
