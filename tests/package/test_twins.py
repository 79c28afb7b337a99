"""The functions that exist twice: each C function of a `.pxd` in `_native` has a Python twin with the same arguments."""

import ast
import re
from pathlib import Path

import pytest

import geventstreams

NATIVE = Path(geventstreams.__file__).parent / "_native"
TWINS = sorted(path.stem for path in NATIVE.glob("*.pxd"))
C_FUNCTION = re.compile(r"^cdef inline [\w ]+?[ *]+(?P<name>[a-z]\w*)\((?P<arguments>[^)]*)\)", re.MULTILINE)
C_NAME = re.compile(r'^    [\w ]+?[ *]+(?P<name>(?!c_)[a-z]\w*) "\w+"\((?P<arguments>[^)]*)\)', re.MULTILINE)
OF_C_ALONE = re.compile(r'^(?:cdef inline [\w ]+?[ *]+_\w+\(|    [\w ]+?[ *]+(?:_|c_)\w+ "\w+"\()', re.MULTILINE)
"""A function that a `.pxd` defines, or gives a name: one of C alone begins with an underscore, one of the C library with `c_`."""


def c_functions(name: str) -> dict[str, list[str]]:
    """The names of the arguments of each function of the `.pxd` that is not of C alone."""
    text = (NATIVE / f"{name}.pxd").read_text(encoding="utf-8")
    return {match["name"]: [argument.split()[-1].strip("*") for argument in match["arguments"].split(",") if argument.strip()]
            for match in (*C_FUNCTION.finditer(text), *C_NAME.finditer(text))}


def python_functions(name: str) -> dict[str, list[str] | int]:
    """The names of the arguments of each function of the `.py`, or their number where the function is one of Python's own."""
    functions: dict[str, list[str] | int] = {}
    for node in ast.parse((NATIVE / f"{name}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            functions[node.name] = [argument.arg for argument in node.args.args]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.annotation, ast.Subscript):
            callable_type = node.annotation.slice
            if isinstance(callable_type, ast.Tuple) and isinstance(callable_type.elts[0], ast.List):
                functions[ast.unparse(node.target)] = len(callable_type.elts[0].elts)
    return functions


def test_c_functions_are_found() -> None:
    """The folder has twins, and each `.pxd` some functions: a pattern that finds none would prove nothing."""
    assert {"memory", "syscalls", "greenlets"} <= set(TWINS)
    for name in TWINS:
        text = (NATIVE / f"{name}.pxd").read_text(encoding="utf-8")
        assert len(c_functions(name)) == text.count("\ncdef inline ") + text.count('"(') - len(OF_C_ALONE.findall(text)) > 0


@pytest.mark.parametrize("name", TWINS)
def test_each_c_function_has_a_twin_with_the_same_arguments(name: str) -> None:
    """What compiled code calls in C, plain code calls in Python, by the same name and with the same arguments."""
    twins = python_functions(name)
    for function, arguments in c_functions(name).items():
        assert function in twins, f"{name}.pxd has {function}, {name}.py has not"
        twin = twins[function]
        assert twin in (arguments, len(arguments)), f"{name}.{function}: {arguments} in C, {twin} in Python"


def slots_and_attributes(path: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Return, for each class of a hot module that has slots, these and the attributes that the `.pxd` declares."""
    declared = path.with_suffix(".pxd").read_text(encoding="utf-8")
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for line in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "__slots__":
                body = re.search(rf"^cdef class {node.name}\b.*\n((?: .*\n|\n(?! *cdef class))*)", declared, re.MULTILINE)
                if body is not None:
                    lines = re.findall(r"^    cdef [\w ]*?(\w+(?:, \w+)*)$", body[1], re.MULTILINE)
                    attributes = [name for names in lines for name in names.split(", ")]
                    found[node.name] = (list(ast.literal_eval(line.value)), attributes)
    return found


def test_slots_are_the_attributes_of_the_pxd() -> None:
    """A plain object has the attributes of the compiled one, and the order is the alphabet's."""
    package = NATIVE.parent
    found = {name: both for path in sorted(package.rglob("*.pxd")) for name, both in slots_and_attributes(path.with_suffix(".py")).items()}
    assert {"ByteSource", "StreamEngine", "BlockingEngine"} <= found.keys()
    for name, (slots, attributes) in found.items():
        assert slots == sorted(attributes), name
