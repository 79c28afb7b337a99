"""The imports between the parts of the package, and of the benchmarks, are those that `PARTS` and `BENCHMARKS` allow.

Imports are read from the sources: `import` and `from` in each `.py`, `cimport` in each `.pxd`. Those that only a type checker
reads (`if TYPE_CHECKING`) count as well.
"""

import ast
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

PARTS: dict[str, set[str]] = {
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
    "proxy_protocol": {"_core", "_net", "errors"},
    "relay": {"_constants", "_core", "_net", "_streams", "errors", "proxy_protocol"},
    "callbacks": {"_constants", "_core", "_native", "_net", "_streams", "errors"},
    "server": {"_constants", "_core", "_net", "_streams", "errors", "proxy_protocol"},
    "workers": {"_core", "_native", "_net", "errors"},
    "metrics": {"_core", "server"},
    "testing": {"_constants", "_core", "_native", "_net", "errors"},
    "cli": {"_build", "_constants", "_core", "_native", "_net", "_streams", "errors", "proxy_protocol", "relay", "server", "workers"},
    "__main__": {"_build", "cli"},
    "__init__": {"_build", "_core", "_files", "_net", "_streams", "callbacks", "errors", "server", "waiting"},
}
"""Each part (a folder, or a module beside the folders) with those that it may import from."""

BENCHMARKS: dict[str, set[str]] = {
    **{part: set() for part in ("__init__", "available", "certificates", "far_end", "machine", "model", "order", "servers", "worker")},
    "which_build": set(),
    "contenders": {"model"},
    "figures": {"model"},
    "harness": {"contenders", "model"},
    "measures": {"model", "order", "real_servers"},
    "operations": {"far_end", "servers"},
    "plot": {"contenders", "figures", "model", "report"},
    "real_servers": {"model"},
    "report": {"figures", "model"},
    "rows": {"measures", "model"},
    "counted": {"worker"},
    "instructions": {"harness", "machine", "model", "rows", "which_build"},
    "__main__": {"available", "contenders", "harness", "instructions", "machine", "model", "report", "rows", "which_build"},
}
"""Each module or folder of the benchmarks with those that it may import from; a measured process imports nothing of the harness."""


FOR_CHECKERS = {"_types"}
"""Modules that do not exist at run time: they name types of any part, and every part may take names from them."""


class Sources:
    """The modules below a folder of the checkout, and the imports between them."""

    def __init__(self, name: str, allowed: dict[str, set[str]]) -> None:
        self.name = name
        self.allowed = allowed
        self.modules = dict(self._find(CHECKOUT / name))

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """What each module imports of these: read when the first test asks, as every process of a test run collects this file."""
        imports = {module: self._imports_of(path) - {module} for module, path in self.modules.items()}
        return imports | {module: set() for module in FOR_CHECKERS & set(self.modules)}

    @staticmethod
    def _find(folder: Path) -> Iterator[tuple[str, Path]]:
        for path in (*sorted(folder.rglob("*.pyi")), *sorted(folder.rglob("*.py"))):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts), path

    def module_of(self, dotted: str, name: str = "") -> str | None:
        """Return the module that an import names, or None if it is not one of these."""
        if dotted.partition(".")[0] != self.name:
            return None
        inner = dotted.partition(".")[2]
        for candidate in (f"{inner}.{name}".strip("."), inner or "__init__"):
            if candidate in self.modules:
                return candidate
        raise AssertionError(f"{dotted} {name} is not a module of {self.name}")

    def _imports_of(self, path: Path) -> set[str]:
        names: set[str | None] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(self.module_of(alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}:{node.lineno} imports relatively"
                names.update(self.module_of(node.module or "", alias.name) for alias in node.names)
        declarations = path.with_suffix(".pxd")
        if declarations.exists():
            for dotted in re.findall(r"^(?:from|cimport) ([\w.]+)", declarations.read_text(encoding="utf-8"), re.MULTILINE):
                names.add(self.module_of(dotted))
        return {name for name in names if name is not None} - FOR_CHECKERS

    def is_import(self, node: ast.AST) -> bool:
        """Return whether a statement imports one of these modules."""
        if isinstance(node, ast.Import):
            return any(alias.name.partition(".")[0] == self.name for alias in node.names)
        return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == self.name

    def longest_chain(self) -> list[str]:
        """Return the longest chain of modules that import each other, from the top. Fail on a circle of imports."""
        chains: dict[str, list[str]] = {}

        def chain(module: str, above: tuple[str, ...]) -> list[str]:
            assert module not in above, f"a circle of imports: {' -> '.join([*above[above.index(module) :], module])}"
            if module not in chains:
                below = [chain(other, (*above, module)) for other in self.imports[module]]
                chains[module] = [module, *max(below, key=len, default=[])]
            return chains[module]

        return max((chain(module, ()) for module in self.modules), key=len)


def part_of(module: str) -> str:
    """Return the part that a module is in: its folder, or itself at the top."""
    return module.partition(".")[0]


PACKAGE = Sources("geventstreams", PARTS)
SOURCES = [PACKAGE, Sources("benchmarks", BENCHMARKS)]

every_source = pytest.mark.parametrize("sources", SOURCES, ids=lambda sources: sources.name)


@pytest.mark.parametrize(("sources", "module"), [(sources, module) for sources in SOURCES for module in sources.modules],
                         ids=lambda value: value if isinstance(value, str) else value.name)
def test_a_module_imports_only_what_its_part_may(sources: Sources, module: str) -> None:
    """Each import is of the module's own part, or of one that the list allows it."""
    allowed = sources.allowed[part_of(module)] | {part_of(module)}
    wrong = {other for other in sources.imports[module] if part_of(other) not in allowed}
    assert not wrong, f"{module} imports {', '.join(sorted(wrong))}"


@every_source
def test_the_list_is_complete_and_allows_nothing_unused(sources: Sources) -> None:
    """The list has exactly the parts that exist, and allows no import that is not there."""
    assert {part_of(module) for module in sources.modules} == set(sources.allowed)
    used = {(part_of(module), part_of(other)) for module, others in sources.imports.items() for other in others}
    unused = {(part, other) for part, others in sources.allowed.items() for other in others} - used
    assert not unused


@every_source
def test_there_is_no_circle_of_imports(sources: Sources) -> None:
    """No circle of imports, between modules or between parts."""
    sources.longest_chain()
    left = {part: set(below) for part, below in sources.allowed.items()}
    while left:
        lowest = {part for part, below in left.items() if not below & set(left)}
        assert lowest, f"a circle of parts: {', '.join(sorted(left))}"
        for part in lowest:
            del left[part]


@every_source
def test_imports_have_at_most_twelve_levels(sources: Sources) -> None:
    """No chain of imports has more than twelve modules, those of the command line and of type checkers included."""
    chain = sources.longest_chain()
    assert len(chain) <= 12, " imports ".join(chain)


@every_source
def test_no_import_hides_in_a_function(sources: Sources) -> None:
    """Imports of these modules stand at the head of a module; `__init__` loads on demand, by `importlib`."""
    hidden = []
    for module, path in sources.modules.items():
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, (ast.FunctionDef, ast.Lambda)):
                hidden += [f"{module}:{node.lineno}" for node in ast.walk(function) if sources.is_import(node)]
    assert not hidden


def test_folders_say_what_they_are_for() -> None:
    """Each folder's `__init__` has a docstring, which `help` shows."""
    folders = list((CHECKOUT / PACKAGE.name).rglob("__init__.py"))
    assert all(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in folders)


def test_the_package_is_read_at_a_glance() -> None:
    """The folder of the package itself has at most 26 entries, with what is built left out."""
    paths = (CHECKOUT / PACKAGE.name).iterdir()
    entries = {path.name for path in paths if path.suffix in {".py", ".pxd", ".typed"} or (path / "__init__.py").exists()}
    assert len(entries) <= 26, sorted(entries)
