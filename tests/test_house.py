"""The house stands: imports run webhooks → bot → policies, policies know only the standard library."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("policies", "bot", "webhooks")
MAY_IMPORT = {
    "policies": {"policies"},
    "bot": {"policies", "bot"},
    "webhooks": {"policies", "bot", "webhooks"},
    "rehearsal": {"rehearsal"},
}
OURS = {*FLOORS, "rehearsal", "tests", "bench"}
PATTERN_ENGINE = "re2"
MAKES_ORDERS = {"policies/eligibility.py"}


def sources(floor: str) -> list[Path]:
    return sorted((ROOT / floor).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    return imports_in(path.read_text("utf-8"), path.relative_to(ROOT).parts[0])


def imports_in(source: str, package: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, package if not node.module else f"{package}.{node.module}"
            elif node.module:
                yield node.lineno, node.module
        elif isinstance(node, ast.Call) and _calls(node) in ("__import__", "import_module"):
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def _calls(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


STARTS_THE_WEB_PROCESS = ("bot/serving.py", "webhooks.app")
"""`rollback-bot web` starts the process that is made of the floor above, by name, and imports nothing of it
anywhere else."""


@pytest.mark.parametrize("floor", MAY_IMPORT)
def test_no_floor_imports_one_above_it(floor: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(floor)
        for line, name in imports(path)
        if name.split(".")[0] in OURS - MAY_IMPORT[floor]
        and (path.relative_to(ROOT).as_posix(), name) != STARTS_THE_WEB_PROCESS
    ]
    assert wrong == []


def test_policies_need_nothing_but_the_standard_library_and_redactions_pattern_engine() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources("policies")
        for line, name in imports(path)
        if (top := name.split(".")[0]) not in sys.stdlib_module_names | {"policies"}
        and not (top == PATTERN_ENGINE and path.name.startswith("redaction"))
    ]
    assert wrong == []


IMPURE = {
    "time",
    "datetime",
    "random",
    "socket",
    "subprocess",
    "logging",
    "os",
    "pathlib",
    "urllib",
    "secrets",
}


def test_policies_have_no_clock_no_network_and_no_logger() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources("policies")
        for line, name in imports(path)
        if name.split(".")[0] in IMPURE
    ]
    assert wrong == []


def test_only_eligibility_makes_a_rollback_order() -> None:
    made = {
        path.relative_to(ROOT).as_posix()
        for floor in (*FLOORS, "rehearsal")
        for path in sources(floor)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and _calls(node) == "RollbackOrder"
    }
    assert made == MAKES_ORDERS


@pytest.mark.parametrize("floor", [*FLOORS, "rehearsal"])
def test_every_module_says_first_what_it_is_for(floor: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources(floor)
        if path.read_text("utf-8").strip() and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_only_the_engine_s_own_files_know_it() -> None:
    knows = {
        path.relative_to(ROOT).as_posix()
        for floor in FLOORS
        for path in sources(floor)
        for _line, name in imports(path)
        if name.split(".")[0] == "dbos"
    }
    assert knows == {
        f"bot/{name}.py" for name in ("durable", "engine_client", "engine_mail", "engine_on_sqlite")
    }


def test_the_reader_of_imports_would_notice_each_way_to_import() -> None:
    source = "import bot.store\nfrom webhooks.app import create_app\nimport_module('rehearsal')\n"
    assert {name for _line, name in imports_in(source, "policies")} == {
        "bot.store",
        "webhooks.app",
        "rehearsal",
    }
