"""The polls of one watch in few bytes: ten thousand watches of a quarter of an hour fit into one worker."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace

from policies.facts import HealthSample


class SeenSamples:
    """Health samples in the order of time. What is the same from poll to poll is kept once; what differs in
    nearly every one (its time, and the share of siblings that are bad) takes eight bytes each."""

    def __init__(self) -> None:
        self._t_s = array("d")
        self._siblings_bad = array("d")
        self._rest: list[HealthSample] = []

    def __len__(self) -> int:
        return len(self._rest)

    def add(self, sample: HealthSample) -> None:
        """Keep one more poll."""
        rest = replace(sample, t_s=0.0, siblings_bad=None)
        if self._rest and self._rest[-1] == rest:
            rest = self._rest[-1]
        self._rest.append(rest)
        self._t_s.append(sample.t_s)
        self._siblings_bad.append(math.nan if sample.siblings_bad is None else sample.siblings_bad)

    def latest(self, count: int) -> tuple[HealthSample, ...]:
        """The last `count` of them, or all there are, as they were added."""
        first = max(0, len(self) - count)
        return tuple(
            replace(
                rest,
                t_s=self._t_s[place],
                siblings_bad=None if math.isnan(bad := self._siblings_bad[place]) else bad,
            )
            for place, rest in enumerate(self._rest[first:], first)
        )
