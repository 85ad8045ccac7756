"""The crash matrix: SIGKILL right before and right after every effect of a rollback, start again, look at the end.

The points are found by recording stories (see tests/killing_worker.py), not kept by hand. What occurs more or
less often from one recording to the next is a poll: of those the first two and the last two count, and where
a story polls less often than the recorded one did, its own last time.
Right after one effect and right before the next is the same moment, since nothing happens in between; each
moment is played once, from the one side or the other in turn.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash_stories import Nursery, Played, play
from tests.crash_world import LightWorld
from tests.killing_worker import BEFORE, Point

pytestmark = pytest.mark.story

AT_ONCE = int(os.environ.get("CRASH_STORIES_AT_ONCE", "4"))
REPORT = os.environ.get("CRASH_REPORT")
"""A file that takes one line a story, for whoever does not want to wait an hour to see the first failure."""
EVERY = int(os.environ.get("CRASH_EVERY", "1"))
"""Of the long form's points only each so many-th, where there is no hour for all of them."""
RECORDINGS, TRIES = 3, 3
CHANGES = (
    "commit ",
    "http POST",
    "http PATCH",
    "http PUT",
    "git push",
    "git fetch",
    "git revert",
    "aws Send",
)
"""Labels by which the short form chooses: what leaves something behind is where a crash can do harm."""


class Matrix:
    """Plays stories in one world, each with a repository and a database of its own."""

    def __init__(self, world: LightWorld, nursery: Nursery, new_database: Callable[[str], str]) -> None:
        self._world, self._nursery, self._new_database = world, nursery, new_database
        self._numbers = itertools.count(1)
        self._report = Path(REPORT) if REPORT else None

    def play(self, kill: Point | None = None, *, protected: bool = False) -> Played:
        name = f"stagelog-{next(self._numbers)}"
        database = self._world.fresh_database(self._new_database(name))
        story = self._world.story(name, database, protected=protected)
        story.environment["WORKER_DEAD_AFTER_S"] = "0.5"
        return play(self._world, self._nursery, story, kill, merge_proposal=protected)

    def play_all(self, kills: Sequence[Point | None], *, protected: bool = False) -> list[Played]:
        """Several at once: a story mostly waits."""
        with ThreadPoolExecutor(AT_ONCE) as several:
            return list(several.map(lambda kill: self._played(kill, protected), kills))

    def _played(self, kill: Point | None, protected: bool) -> Played:
        played = self.play(kill, protected=protected)
        for _ in range(TRIES - 1):
            if kill is None or played.killed or played.wrong:
                break
            kill = replace(kill, nth=max(1, min(kill.nth - 1, _times(played.points)[kill.label])))
            played = self.play(kill, protected=protected)
        if self._report is not None:
            line = (
                f"{played.took_s:.1f} s, killed {kill}" if played.killed else f"{played.took_s:.1f} s, {kill}"
            )
            with self._report.open("a") as report:
                report.write(f"{line}: {played.wrong or 'right'}\n")
        return played

    def points(self, *, protected: bool = False) -> list[Point]:
        """Where a story can be killed, one point a moment, in the order in which it gets there."""
        recorded = self.play_all([None] * RECORDINGS, protected=protected)
        for played in recorded:
            assert played.wrong == [], played.wrong
        first = recorded[0].points
        times = [_times(played.points) for played in recorded]
        chosen = [point for point in first if _is_chosen(point, times)]
        distinct = moments(chosen)
        print(f"\n{len(set(first))} points recorded, {len(distinct)} distinct moments")
        return distinct


def moments(points: Sequence[Point]) -> list[Point]:
    """One point for each moment: something happens only between the two sides of an effect that is no port."""
    clusters: list[list[Point]] = [[]]
    for point in points:
        if point.side != BEFORE and not point.label.startswith("port "):
            clusters.append([])
        clusters[-1].append(point)
    return [cluster[-1 if number % 2 else 0] for number, cluster in enumerate(clusters) if cluster]


def _times(points: Sequence[Point]) -> Counter[str]:
    return Counter(point.label for point in points if point.side == BEFORE)


def _is_chosen(point: Point, recorded: Sequence[Counter[str]]) -> bool:
    counts = {times[point.label] for times in recorded}
    return len(counts) == 1 or point.nth <= 2 or min(counts) - 1 <= point.nth <= min(counts)


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LightWorld, Nursery, Path]]:
    folder = tmp_path_factory.mktemp("crash")
    nursery = Nursery()
    world = LightWorld(folder)
    try:
        yield world, nursery, folder
    finally:
        nursery.close()
        world.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def matrix(request: pytest.FixtureRequest, stage: tuple[LightWorld, Nursery, Path]) -> Matrix:
    world, nursery, folder = stage
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        return Matrix(world, nursery, lambda _name: server.new_database())
    return Matrix(world, nursery, lambda name: f"sqlite:///{folder}/databases/{name}.db")


def told(kill: Point, played: Played) -> str:
    folder = played.story.data_dir.parent
    logs = "".join(
        path.read_text()[-4000:] for path in sorted(folder.glob(f"{played.story.name}-logs/*.log"))
    )
    return f"killed {kill}:\n" + "\n".join(played.wrong) + f"\n{logs}"


def spread(points: Sequence[Point], count: int) -> list[Point]:
    """`count` of them, evenly over the story."""
    return [points[(2 * n + 1) * len(points) // (2 * count)] for n in range(count)]


def test_a_worker_killed_at_any_effect_ends_the_story_as_if_nothing_had_been(
    matrix: Matrix, request: pytest.FixtureRequest
) -> None:
    """The short form: a few points where something is left behind, spread over the story."""
    on_sqlite = "sqlite" in request.node.name
    points = [point for point in matrix.points() if point.label.startswith(CHANGES)]
    assert len(points) >= 60, "the instruments see too little"
    chosen = spread(points, 5 if on_sqlite else 3)
    ended = matrix.play_all(chosen)
    for kill, played in zip(chosen, ended, strict=True):
        assert played.wrong == [], told(kill, played)
    assert sum(played.killed for played in ended) >= len(chosen) - 1, "the points were not reached"


@pytest.mark.long
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("protected", [False, True], ids=["push", "pull request"])
def test_the_whole_matrix(matrix: Matrix, protected: bool, request: pytest.FixtureRequest) -> None:
    points = matrix.points(protected=protected)[EVERY // 2 :: EVERY]
    ended = matrix.play_all(points, protected=protected)
    wrong = [told(kill, played) for kill, played in zip(points, ended, strict=True) if played.wrong]
    reached = sum(played.killed for played in ended)
    print(
        f"\ncrash matrix, {request.node.callspec.id}: {len(points)} kill points, {reached} reached, "
        f"{len(points) - len(wrong)} ended right"
    )
    assert reached >= 0.95 * len(points), f"only {reached} of {len(points)} points were reached"
    assert wrong == [], f"{len(wrong)} of {len(points)}:\n" + "\n\n".join(wrong[:5])
