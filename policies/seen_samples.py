"""The polls of one watch in few bytes: ten thousand watches of a quarter of an hour fit into one worker."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import fields, replace
from operator import attrgetter

from policies.facts import HealthSample

_said = attrgetter(*(field.name for field in fields(HealthSample) if field.name != "t_s"))


class SeenSamples:
    """Health samples in the order of time. What they say is kept once for as long as it stays the same; the time
    of a poll takes eight bytes."""

    __slots__ = ("_began", "_kinds", "_t_s")

    def __init__(self) -> None:
        self._t_s = array("d")
        self._kinds: list[HealthSample] = []
        self._began = array("L")

    def __len__(self) -> int:
        return len(self._t_s)

    def add(self, sample: HealthSample) -> None:
        """Keep one more poll. Takes constant time."""
        if not self._kinds or _said(self._kinds[-1]) != _said(sample):
            self._kinds.append(sample)
            self._began.append(len(self._t_s))
        self._t_s.append(sample.t_s)

    def latest(self, count: int) -> tuple[HealthSample, ...]:
        """The last `count` of them, or all there are, as they were added."""
        first = max(0, len(self) - count)
        return tuple(
            replace(self._kinds[bisect_right(self._began, place) - 1], t_s=self._t_s[place])
            for place in range(first, len(self))
        )
