"""The package has no import circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import anon_batch

PACKAGE = Path(anon_batch.__file__).parent


def modules_in(folder: Path) -> dict[str, Path]:
    """Map each module's dotted name to its file."""
    names = {}
    for path in folder.rglob("*.py"):
        parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports_of(name: str, path: Path, modules: Mapping[str, Path]) -> set[str]:
    """Return the package's modules that a module imports, inside functions and for type checking included.

    `from a.b import c` imports the module a.b.c if there is one, else a.b.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            deeper = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {module if module in modules else node.module for module in deeper}
    return (found & modules.keys()) - {name}


def circles(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Yield each circle that a depth-first search closes, as the modules along it."""
    finished: set[str] = set()

    def visit(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield [*path[path.index(name) :], name]
        elif name not in finished:
            for target in sorted(graph[name]):
                yield from visit(target, [*path, name])
            finished.add(name)

    for name in sorted(graph):
        yield from visit(name, [])


def test_no_module_imports_itself_through_others():
    modules = modules_in(PACKAGE)
    graph = {name: imports_of(name, path, modules) for name, path in modules.items()}
    assert sum(map(len, graph.values())) > 100
    assert [" -> ".join(circle) for circle in circles(graph)] == []


def test_a_circle_is_found(tmp_path):
    package = tmp_path / "toy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("from toy import two\n")
    (package / "two.py").write_text("def later():\n    from toy.three import value\n")
    (package / "three.py").write_text("import toy.one\n")
    modules = modules_in(package)
    graph = {name: imports_of(name, path, modules) for name, path in modules.items()}
    assert list(circles(graph)) == [["toy.one", "toy.two", "toy.three", "toy.one"]]
