"""Which parent is the branch: what was seen decides, git's own subjects hint, the rest is parent 1."""

from __future__ import annotations

import pytest

from policies.facts import CommitShape
from policies.mainline import TipBefore, mainline_of

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40
MERGE, FOXTROT = CommitShape.MERGE, CommitShape.FOXTROT


def test_no_parent_and_one_parent():
    assert mainline_of((), "x", "develop").shape is CommitShape.ROOT
    plain = mainline_of((ONE,), "Merge branch 'develop' into x", "develop")
    assert (plain.shape, plain.parent) == (CommitShape.PLAIN, 1)


@pytest.mark.parametrize(
    ("subject", "branch", "repository", "shape"),
    [
        ("Merge pull request #1 from a/develop", "develop", "acme/app", MERGE),
        ("Merge branch 'feature'", "develop", None, MERGE),
        ("Merge branch 'feature' into develop", "develop", None, MERGE),
        ("Merge branch 'develop' into feature", "develop", None, FOXTROT),
        ("Merge branch 'develop' into develop", "develop", None, MERGE),
        ("Merge branch 'develop'", "develop", None, FOXTROT),
        ("Merge branch 'main'", "main", None, MERGE),
        ("Merge branch 'develop' of github.com:acme/app", "develop", "acme/app", FOXTROT),
        ("Merge branch 'develop' of https://github.com/ACME/app.git", "develop", "acme/app", FOXTROT),
        ("Merge branch 'develop' of https://github.com/other/app", "develop", "acme/app", MERGE),
        ("Merge branch 'develop' of /srv/app.git", "develop", "app", FOXTROT),
        ("Merge branch 'master' of git://github.com/lifo/docrails", "master", "rails", MERGE),
        ("Merge remote-tracking branch 'origin/develop'", "develop", None, FOXTROT),
        ("Merge remote-tracking branch 'origin/develop' into x", "develop", None, FOXTROT),
        ("Merge remote-tracking branch 'dana/develop'", "develop", None, MERGE),
        ("Merge develop, by hand", "develop", None, MERGE),
    ],
)
def test_subjects_that_tell_and_those_that_do_not(
    subject: str, branch: str, repository: str | None, shape: CommitShape
):
    found = mainline_of((ONE, TWO), subject, branch, repository=repository)
    assert found.shape is shape and found.parent == (2 if shape is FOXTROT else 1)


def test_a_tip_on_the_first_parent_settles_it_against_the_subject():
    found = mainline_of(
        (ONE, TWO), "Merge branch 'develop' into x", "develop", (TipBefore(ONE, (1,), "seen"),)
    )
    assert (found.shape, found.parent) == (MERGE, 1)


def test_a_tip_on_another_parent_is_a_foxtrot_and_names_it():
    found = mainline_of((ONE, TWO, THREE), "Merge all", "develop", (TipBefore(THREE, (3,), "seen"),))
    assert (found.shape, found.parent) == (FOXTROT, 3) and "333333333333" in found.why


def test_a_tip_that_all_parents_contain_says_nothing():
    found = mainline_of(
        (ONE, TWO), "Merge branch 'develop' into x", "develop", (TipBefore(THREE, (1, 2), "old"),)
    )
    assert found.shape is FOXTROT
    assert mainline_of((ONE, TWO), "Merge x", "develop", (TipBefore(THREE, (), "gone"),)).shape is MERGE


def test_an_octopus_keeps_parent_one():
    assert mainline_of((ONE, TWO, THREE), "Merge a and b", "develop").shape is CommitShape.OCTOPUS
