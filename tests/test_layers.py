"""
Imports point one way: values, delivery, sessions, surface; the collector knows values only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "asyncops"

LAYERS = (
    (
        "_version _clock _exceptions _ids _events _content _prices _redaction _wire _endings"
        " _configuration"
    ),
    (
        "_log _locks _giving_way _directory _frames _limit _journal _file_journal _survey _adoption"
        " _background _exporter _http"
    ),
    "_active _budgets _host _signals _recovery _client _spans _session",
    "capture",
    "_instrumentation _api _run testing",
    "__init__",
    "cli __main__",
)
"""From what everything stands on to what users call."""

COLLECTOR_MAY_USE = frozenset({"_version", "_exceptions", "_events", "_prices", "_wire"})

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def top(path: Path) -> str:
    """
    The name by which LAYERS knows the module in *path*.
    """
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """
    The modules of this package that the one in *path* imports when it runs.
    """
    package = path.relative_to(PACKAGE).parts[:-1]
    for node in _running(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "asyncops":
                    yield [*alias.name.split("."), "__init__"][1]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                above = package[: len(package) - node.level + 1]
                parts = (*above, *(node.module.split(".") if node.module else ()))
            elif (node.module or "").partition(".")[0] == "asyncops":
                parts = tuple((node.module or "").split(".")[1:])
            else:
                continue
            yield from [parts[0]] if parts else [alias.name for alias in node.names]


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """
    All nodes but those under `if TYPE_CHECKING:`.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
            continue
        yield child
        yield from _running(child)


def test_every_module_has_a_layer() -> None:
    """
    A new module must say where it belongs.
    """
    assert set(LEVEL) | {"collector"} == {top(path) for path in modules()}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    """
    Nothing imports from a layer above its own.
    """
    if top(path) == "collector":
        foreign = set(imported(path)) - COLLECTOR_MAY_USE - {"collector"}
        assert set() == foreign
        return
    for name in imported(path):
        if name == "collector":
            assert top(path) == "cli", "only the commands that start it import the collector"
        elif name in LEVEL:
            assert LEVEL[name] <= LEVEL[top(path)], f"{top(path)} imports {name}"


def test_no_cycles() -> None:
    """
    Within a layer, too, no two modules import each other in a circle.
    """
    graph = {
        top(path): {name for name in imported(path) if name in LEVEL}
        for path in modules()
        if path.parent == PACKAGE
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())
