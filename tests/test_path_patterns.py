"""Globs of configuration against paths of a diff."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.path_patterns import first_match


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("**/migrations/**", "app/migrations/0001_x.py", True),
        ("**/migrations/**", "migrations/0001_x.py", True),
        ("**/migrations/**", "a/b/migrations/c/d.py", True),
        ("**/migrations/**", "app/migrations.py", False),
        ("**/migrations/**", "app/my-migrations/x.py", False),
        ("*.sql", "db/changes/7.sql", True),
        ("*.sql", "db/7.sql.md", False),
        ("db/*.sql", "db/7.sql", True),
        ("db/*.sql", "db/old/7.sql", False),
        ("/schema.rb", "schema.rb", True),
        ("db/", "db/a/b", True),
        ("db/", "odb/a", False),
        ("terraform/**/*.tf", "terraform/main.tf", True),
        ("a?c", "x/abc", True),
        ("a?c", "x/ac", False),
        ("**", "anything/at/all", True),
        ("[ab]", "a", False),
    ],
)
def test_what_a_pattern_covers(pattern, path, matches):
    assert (first_match([path], [pattern]) is not None) is matches


def test_the_first_path_is_named_with_its_pattern():
    paths = ["README.md", "b/migrations/2.py", "a/migrations/1.py"]
    assert first_match(paths, ["*.sql", "**/migrations/**"]) == ("b/migrations/2.py", "**/migrations/**")
    assert first_match(paths, []) is None
    assert first_match([], ["**"]) is None


@given(st.text("a*?/", max_size=30), st.text("ab/", max_size=30))
def test_any_pattern_ends(pattern, path):
    first_match([path], [pattern])


def test_a_hostile_pattern_ends_soon():
    assert first_match(["a" * 4000 + "b"], ["*a" * 150 + "*c"]) is None
    assert first_match(["/".join("a" * 2000)], ["**/a/" * 60 + "b"]) is None
