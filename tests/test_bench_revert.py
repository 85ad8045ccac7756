"""The bench of the reverter: it makes what it says, takes merges back every way, and its tables can be read."""

from __future__ import annotations

from pathlib import Path

from bench import revert_repositories as repositories
from bench.revert import as_markdown, rows, server, verdict
from bench.revert_ways import FRESH, LIMIT, OURS, Measured, Place, measure
from tests.git_histories import git


def test_the_repositories_are_as_large_as_they_say(tmp_path: Path):
    wide = repositories.wide(tmp_path, 300)
    assert len(git(wide.bare, "ls-tree", "-r", "--name-only", "develop").splitlines()) == 300 == wide.files
    assert len(wide.merges) == repositories.MERGES
    assert git(wide.bare, "rev-parse", "develop").decode().strip() == wide.merges[-1]
    long = repositories.long(tmp_path, 60)
    assert int(git(long.bare, "rev-list", "--count", "develop")) == 1 + 60 + 2 * repositories.MERGES
    deep = repositories.deep(tmp_path, 200)
    names = git(deep.bare, "ls-tree", "-r", "--name-only", "develop").decode().split("\n")
    assert max(name.count("/") for name in names) == 12
    assert any(name.endswith("/.gitattributes") for name in names)


def test_ways_are_measured_checked_and_told(tmp_path: Path):
    subject = repositories.wide(tmp_path / "server", 200)
    (tmp_path / "work").mkdir()
    with server(tmp_path / "server") as url:
        place = Place(subject, url, tmp_path / "work")
        found = {way: measure(way, place, list(subject.merges[-2:])) for way in (FRESH, OURS, LIMIT)}
        weighed = measure(OURS, place, [subject.merges[-1]], weighed=True)
    assert all(len(each.seconds) == 2 and min(each.seconds) > 0 for each in found.values())
    assert 1_000_000 < weighed.git_bytes < weighed.all_bytes - 10_000_000


def test_the_verdict_says_what_was_missed(tmp_path: Path):
    found = {FRESH: Measured([20.0]), OURS: Measured([0.2]), LIMIT: Measured([0.1])}
    assert verdict(found, is_large=True).startswith("met: 0.200 s of at most 0.300 s")
    found[OURS] = Measured([0.31])
    assert verdict(found, is_large=True).startswith("NOT met")
    found[OURS] = Measured([0.2], git_bytes=101_000_000)
    assert verdict(found, is_large=True).startswith("NOT met")
    found[FRESH], found[OURS] = Measured([3.0]), Measured([0.2])
    assert verdict(found, is_large=True).startswith("NOT met")
    assert verdict(found, is_large=False).startswith("met")
    assert rows(found)[1][:2] == (OURS, "0.200")
    subject = repositories.Subject("a label", "x/y", tmp_path, (), 5)
    assert "| ours | 0.200 |" in as_markdown([(subject, found)], 3)
