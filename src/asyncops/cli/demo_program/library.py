"""
The standard library as text: which modules there are, what they say of themselves, their source.

Everything is read from the source files with `ast`; no module is imported.
"""

from __future__ import annotations

import ast
import pkgutil
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import msgspec

from . import text

__all__ = ["Definition", "Entry", "Library", "LibraryError", "Outline", "SourceText"]

_LEFT_OUT = frozenset(
    "antigravity distutils encodings ensurepip idlelib lib2to3 pydoc_data test tests this tkinter"
    " turtledemo venv".split()
)
"""What has no documentation to search, or is a program rather than a library."""

MAX_DOC_CHARS = 1_200
MAX_SOURCE_CHARS = 6_000


class LibraryError(LookupError):
    """
    The standard library has no such module, or the module no such definition.
    """


@attrs.frozen
class Entry:
    """
    Something that can be found: a module, class or function, and what it says of itself.
    """

    module: str
    name: str
    summary: str


@attrs.frozen
class Definition:
    """
    A public class or function of a module.
    """

    name: str
    signature: str
    doc: str


@attrs.frozen
class Outline:
    """
    What a module says of itself.
    """

    module: str
    doc: str
    definitions: tuple[Definition, ...]


@attrs.frozen
class SourceText:
    """
    The source of one definition.
    """

    module: str
    name: str
    line: int
    source: str


_Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Library:
    """
    The standard library of this interpreter, with an index to search it by.
    """

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        self._files = dict(_module_files())
        self._ranking = text.Ranking.of(
            # the name says most of what an entry is about, so it counts as often as three mentions
            text.words(f"{entry.module} {entry.name} " * 3 + entry.summary)
            for entry in entries
        )

    @classmethod
    def read(cls) -> Library:
        """
        Index every public docstring of the library; takes a second or two.
        """
        entries = tuple(
            entry for name, path in _module_files() for entry in _entries(name, _parsed(path))
        )
        if not entries:
            raise LibraryError("this Python comes without the source of its standard library")
        return cls(entries)

    @classmethod
    def load(cls, path: Path) -> Library:
        """
        The library that `save` wrote.
        """
        return cls(msgspec.json.decode(path.read_bytes(), type=tuple[Entry, ...]))

    def save(self, path: Path) -> None:
        """
        Keep the index, so that another process need not make it again.
        """
        path.write_bytes(msgspec.json.encode(self.entries))

    def rarity(self, word: str) -> float:
        """
        How much it says of a docstring that it has *word*.
        """
        return self._ranking.rarity(word)

    def search(self, query: str, *, limit: int) -> list[tuple[Entry, float]]:
        """
        The entries that fit *query* best, with their scores, best first.
        """
        scores = self._ranking.scores({word: self.rarity(word) for word in text.words(query)})
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[:limit]
        return [(self.entries[index], scores[index]) for index in best if scores[index] > 0]

    def outline(self, module: str) -> Outline:
        """
        What *module* and its public classes, functions and methods say of themselves.

        Raises:
            LibraryError: There is no such module.
        """
        tree = _parsed(self._file(module))
        return Outline(
            module=module,
            doc=(ast.get_docstring(tree) or "")[: 4 * MAX_DOC_CHARS],
            definitions=tuple(
                Definition(name, _signature(node), (ast.get_docstring(node) or "")[:MAX_DOC_CHARS])
                for name, node in _definitions(tree)
            ),
        )

    def source(self, module: str, name: str) -> SourceText:
        """
        The source of the class, function or method *name* of *module*.

        Raises:
            LibraryError: There is no such module or definition.
        """
        path = self._file(module)
        try:
            node = dict(_definitions(_parsed(path)))[name]
        except KeyError as error:
            raise LibraryError(f"module {module!r} defines no {name!r}") from error
        lines = path.read_text("utf-8", errors="replace").splitlines()
        source = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        return SourceText(module, name, node.lineno, source[:MAX_SOURCE_CHARS])

    def _file(self, module: str) -> Path:
        try:
            return self._files[module]
        except KeyError as error:
            raise LibraryError(f"the standard library has no module {module!r}") from error


def _module_files() -> Iterator[tuple[str, Path]]:
    return _module_files_in(Path(sysconfig.get_paths()["stdlib"]), prefix="")


def _module_files_in(directory: Path, *, prefix: str) -> Iterator[tuple[str, Path]]:
    for module in pkgutil.iter_modules([str(directory)]):
        if module.name.startswith("_") or module.name in _LEFT_OUT:
            continue
        if not prefix and module.name not in sys.stdlib_module_names:
            continue
        if module.ispkg:
            package = directory / module.name
            yield prefix + module.name, package / "__init__.py"
            yield from _module_files_in(package, prefix=f"{prefix}{module.name}.")
        elif (path := directory / f"{module.name}.py").is_file():
            yield prefix + module.name, path


def _parsed(path: Path) -> ast.Module:
    # Where several threads parse at once, Python mixes up how deep each of them is and raises a
    # SystemError, "AST constructor recursion depth mismatch". (gh-106905)
    with _parsing:
        return ast.parse(path.read_bytes())


_parsing = threading.Lock()


def _entries(module: str, tree: ast.Module) -> Iterator[Entry]:
    yield Entry(module, "", _summary(ast.get_docstring(tree)))
    for name, node in _definitions(tree):
        if summary := _summary(ast.get_docstring(node)):
            yield Entry(module, name, summary)


def _summary(doc: str | None) -> str:
    return " ".join((doc or "").split("\n\n", 1)[0].split())[:400]


def _definitions(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, _Node]]:
    for node in tree.body:
        if isinstance(node, _Node) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, f"{prefix}{node.name}.")


def _signature(node: _Node) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}({', '.join(map(ast.unparse, node.bases))})"
    keyword = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{keyword} {node.name}({ast.unparse(node.args)})"
