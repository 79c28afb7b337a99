"""Every program in README.md and docs/ runs and prints what it says; every command line in them is understood.

A ```python block is a program of its own. One behind the line `<!-- continues -->` goes on where the block before it on
the page ended. Behind `print(…)` a comment says what is printed; a program that has such comments prints these lines
and nothing else.
"""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from kit.command_line import run

from geventstreams.__main__ import parsed
from geventstreams.cli.statuses import EXPLANATION, Status

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = [*(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")), *sorted((CHECKOUT / "docs").glob("*.md"))]
FENCE = re.compile(r"^(?P<continues><!-- continues -->\n+)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^\s*print\(.*\)  # (.*)$", re.MULTILINE)


@dataclass
class Program:
    """One program of a page."""

    page: Path
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def programs_of(page: Path) -> list[Program]:
    """The programs of a page, each with the line that it begins at."""
    text = page.read_text(encoding="utf-8")
    found: list[Program] = []
    for fence in FENCE.finditer(text):
        line = text.count("\n", 0, fence.start("code")) + 1
        if fence["continues"]:
            found[-1].code += "\n" * (line - found[-1].line - found[-1].code.count("\n")) + fence["code"]
        else:
            found.append(Program(page, line, fence["code"]))
    return found


PROGRAMS = [program for page in PAGES for program in programs_of(page)]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_it_says(program: Program, tmp_path: Path) -> None:
    """A program of the documents ends well, complains of nothing, leaves nothing open, and prints what it says."""
    path = tmp_path / "program.py"
    path.write_text(program.code, encoding="utf-8")
    done = run(sys.executable, "-W", "always::ResourceWarning", path, folder=tmp_path, PYTHONIOENCODING="utf-8")
    # A server logs the clients that it refused; the documents show one.
    complaints = [line for line in done.errors.splitlines() if not line.startswith("event=handshake_failed ")]
    assert (done.status, complaints) == (0, [])
    promised = PRINTED.findall(program.code)
    if promised:
        assert done.output.decode().splitlines() == promised


def test_all_blocks_are_known() -> None:
    """Each page has its blocks of code in one of the languages that are looked at here, and there are programs."""
    assert len(PROGRAMS) >= 15
    for page in PAGES:
        languages = set(re.findall(r"^```(\w*)\n(?:.*\n)*?```$", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert languages <= {"python", "sh"}, page.name


def command_lines() -> list[tuple[str, list[str]]]:
    """The arguments of all `geventstreams …` commands in the shell blocks of the documents."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if "geventstreams" in words:
                    rest = words[words.index("geventstreams") + 1 :]
                    ends = [index for index, word in enumerate(rest) if word in {"|", "<", ">", "&&"}]
                    found.append((page.name, [word.rstrip(")") for word in rest[: min(ends, default=len(rest))]]))
    return found


def test_every_command_line_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser takes every command of the documents; the files that they name are there."""
    for name in ("own-ca.pem", "answer.txt", "chain.pem", "key.pem", "client.pem", "client.key"):
        (tmp_path / name).touch()
    (tmp_path / "public").mkdir()
    monkeypatch.chdir(tmp_path)
    lines = command_lines()
    assert len(lines) >= 12
    for _, words in lines:
        parsed(words)


def test_command_line_page_names_every_option_and_status() -> None:
    """docs/command-line.md has every option that the help texts have, and all exit statuses, in the same words."""
    text = (CHECKOUT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for command in ("demo", "connect", "serve", "relay"):
        helped = run(sys.executable, "-m", "geventstreams", command, "--help").output.decode()
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", helped.partition("\nexamples:")[0])) - {
            "--help",
            "--ipv4",
            "--ipv6",
        }
        assert not [option for option in options if f"`{option}" not in text and f" {option}" not in text], command
    statuses = {int(number): meaning for number, meaning in re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)}
    assert set(statuses) == set(Status)
    for number, meaning in re.findall(r"^ {2}(\d+) +(.*)$", EXPLANATION, re.MULTILINE):
        assert statuses[int(number)].split(";")[0].split(" (")[0] == meaning.split(";")[0].split(" (")[0]


def repository() -> str:
    """The address of the project's repository, which pyproject.toml has."""
    found = re.search(r'^Source = "(.*)"$', (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


def links_of(page: Path) -> list[str]:
    """What a page links to, without anchors."""
    return re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))


def test_links_between_pages_lead_somewhere() -> None:
    """What the documents link to within the project is there, by its path or by its address in the repository."""
    hosted = repository()
    raw = hosted.replace("//github.com/", "//raw.githubusercontent.com/")
    for page in PAGES:
        for target in links_of(page):
            within = re.sub(rf"^({re.escape(hosted)}/(blob|tree)/main|{re.escape(raw)}/main)/", f"{CHECKOUT}/", target)
            assert "://" in within or (page.parent / within).exists(), f"{page.name}: {target}"
            is_file = target.startswith(hosted) and target != hosted and not target.startswith(f"{hosted}/security/")
            assert not is_file or within != target, f"{page.name}: {target}"


def test_links_of_the_package_index_page_are_absolute() -> None:
    """README.md is the page of the package index, too, where a path leads nowhere."""
    assert not [target for target in links_of(CHECKOUT / "README.md") if "://" not in target]


def test_every_public_error_is_explained() -> None:
    """docs/streams.md names every public error class."""
    text = (CHECKOUT / "docs" / "streams.md").read_text(encoding="utf-8")
    code = (
        "import geventstreams as g; print(*[n for n in g.__all__ if isinstance(getattr(g, n), type) "
        "and issubclass(getattr(g, n), Exception)])"
    )
    names = run(sys.executable, "-c", code).output.decode().split()
    assert len(names) >= 15
    assert not [name for name in names if f"`{name}`" not in text]
