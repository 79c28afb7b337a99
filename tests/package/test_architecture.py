"""The arrows between the rooms of the package: who may import whom, as `ARROWS` lists it.

Imports are read from the sources: `import` and `from` in each `.py`, `cimport` in each `.pxd`. Those that only a type checker
reads (`if TYPE_CHECKING`) count as well.
"""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "geventstreams"

ARROWS: dict[str, set[str]] = {
    "_build": set(),
    "_constants": set(),
    "_types": set(),
    "errors": set(),
    "_native": {"_constants"},
    "_core": {"_constants", "_native", "errors"},
    "_files": {"_constants", "_core", "_native", "errors"},
    "_streams": {"_constants", "_core", "_files", "_native", "errors"},
    "_net": {"_constants", "_core", "_native", "_streams", "errors"},
    "waiting": {"_constants", "_core", "_native", "_streams", "errors"},
    "monkey": {"_files"},
    "proxy_protocol": {"_core", "_net", "_streams", "errors"},
    "relay": {"_constants", "_core", "_net", "_streams", "errors", "proxy_protocol"},
    "callbacks": {"_constants", "_core", "_files", "_native", "_net", "_streams", "errors"},
    "server": {"_constants", "_core", "_net", "_streams", "errors", "proxy_protocol"},
    "workers": {"_core", "_native", "_net", "errors"},
    "metrics": {"_core", "server"},
    "testing": {"_constants", "_core", "errors"},
    "cli": {
        "__init__", "_build", "_constants", "_core", "_native", "_net", "_streams", "errors", "proxy_protocol", "relay", "server",
        "workers",
    },
    "__main__": {"__init__", "_build", "cli"},
    "__init__": {"_build", "_core", "_files", "_net", "_streams", "callbacks", "errors", "server", "waiting"},
}
"""Each room (a folder or a module of the package) with the rooms that it may import from."""

FOR_CHECKERS = {"_types"}
"""Modules that are not there at run time, from which every room may take the names of types."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without the package's own."""
    found = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")]):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found.setdefault(".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts), path)
    return found


MODULES = modules()


def module_of(dotted: str, name: str = "") -> str | None:
    """The module that an import names: the package itself, a module, or the module that holds the name."""
    if dotted.partition(".")[0] != PACKAGE.name:
        return None
    inner = dotted.partition(".")[2]
    for candidate in (f"{inner}.{name}".strip("."), inner or "__init__"):
        if candidate in MODULES:
            return candidate
    raise AssertionError(f"{dotted} {name} is no module of the package")


def imports_of(module: str) -> set[str]:
    """The modules of the package that a module imports or cimports."""
    path = MODULES[module]
    found: set[str | None] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(module_of(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively"
            found.update(module_of(node.module or "", alias.name) for alias in node.names)
    declarations = path.with_suffix(".pxd")
    if declarations.exists():
        for dotted in re.findall(r"^(?:from|cimport) ([\w.]+)", declarations.read_text(encoding="utf-8"), re.MULTILINE):
            found.add(module_of(dotted))
    return {name for name in found if name is not None} - {module, *FOR_CHECKERS}


def room_of(module: str) -> str:
    return module.partition(".")[0]


GRAPH = {module: imports_of(module) for module in MODULES}


LEVEL: dict[str, int] = {}


def level_of(module: str, above: tuple[str, ...] = ()) -> int:
    """On how many levels of imports a module stands, its own included; fails on a circle."""
    assert module not in above, f"a circle of imports: {' -> '.join([*above[above.index(module) :], module])}"
    if module not in LEVEL:
        LEVEL[module] = 1 + max((level_of(other, (*above, module)) for other in GRAPH[module]), default=0)
    return LEVEL[module]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_lies_below_its_room(module: str) -> None:
    """Each import leads into the module's own room, or along an arrow of the list."""
    allowed = ARROWS[room_of(module)] | {room_of(module)}
    wrong = {other for other in GRAPH[module] if room_of(other) not in allowed}
    assert not wrong, f"{module} imports {', '.join(sorted(wrong))}"


def test_every_module_is_in_a_room_and_every_room_is_used() -> None:
    """The list of arrows names the rooms that there are, and no arrow that nothing uses any more."""
    assert {room_of(module) for module in MODULES} == set(ARROWS)
    used = {(room_of(module), room_of(other)) for module, others in GRAPH.items() for other in others}
    unused = {(room, below) for room, rooms in ARROWS.items() for below in rooms} - used
    assert not unused


def test_arrows_point_down() -> None:
    """No circle of imports, between modules or between rooms."""
    for module in MODULES:
        level_of(module)
    left = {room: set(below) for room, below in ARROWS.items()}
    while left:
        lowest = {room for room, below in left.items() if not below & set(left)}
        assert lowest, f"a circle of rooms: {', '.join(sorted(left))}"
        for room in lowest:
            del left[room]


def test_no_import_hides_in_a_function() -> None:
    """Imports of the package stand at the head of a module; `__init__` loads on demand, by `importlib`."""
    hidden = []
    for module, path in MODULES.items():
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, (ast.FunctionDef, ast.Lambda)):
                hidden += [f"{module}:{node.lineno}" for node in ast.walk(function) if is_of_the_package(node)]
    assert not hidden


def is_of_the_package(node: ast.AST) -> bool:
    """Whether this is an import of something of the package."""
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] == PACKAGE.name for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE.name


def test_folders_say_what_they_are_for() -> None:
    """Each folder's `__init__` has a docstring, which `help` shows."""
    folders = list(PACKAGE.rglob("__init__.py"))
    assert all(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in folders)


def test_the_package_is_read_at_a_glance() -> None:
    """The folder of the package itself has at most 26 entries, with what is built left out."""
    entries = {path.name for path in PACKAGE.iterdir() if path.suffix in {".py", ".pxd", ".typed"} or (path / "__init__.py").exists()}
    assert len(entries) <= 26, sorted(entries)
