"""Every program in README.md and docs/ runs and prints what the page shows; links lead somewhere.

A ```python block is a program of its own. One behind the line `<!-- continues -->` goes on where the block before it on
the page ended. Behind `print(…)` a comment says what is printed; a program that has such comments prints these lines
and nothing else. What the shell runs is in test_sessions.py.
"""

import json
import re
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from kit.command_line import run

from benchmarks.rows import BESIDE_LEAST
from geventstreams import errors
from geventstreams.cli.statuses import EXPLANATION, Status

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
PAGES = [*(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")), *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^(?P<continues><!-- continues -->\n+)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^\s*print\(.*\)  # (.*)$", re.MULTILINE)


@dataclass
class Program:
    """One program of a page."""

    page: Path
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(CHECKOUT)}:{self.line}"


def programs_of(page: Path) -> list[Program]:
    """Return the programs of a page, each with the line that it begins at."""
    text = page.read_text(encoding="utf-8")
    found: list[Program] = []
    for fence in FENCE.finditer(text):
        line = text.count("\n", 0, fence.start("code")) + 1
        if fence["continues"]:
            found[-1].code += "\n" * (line - found[-1].line - found[-1].code.count("\n")) + fence["code"]
        else:
            found.append(Program(page, line, fence["code"]))
    return found


IN_VIRTUAL_TIME = """
import runpy, sys
from geventstreams.testing import virtual_time
with virtual_time(threshold=0.001):
    runpy.run_path(sys.argv[1], run_name="__main__")
"""
"""Runs a program whose output depends on what happens first after sleeps and short limits: on a slow machine that is not certain."""

NEEDS_TIME = re.compile(r"gevent\.sleep\(|timeout=0\.|gevent\.Timeout\(")

PROGRAMS = [program for page in PAGES for program in programs_of(page)]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs_and_prints_what_it_says(program: Program, tmp_path: Path) -> None:
    """A program of the documents ends with status 0, warns of nothing, leaves nothing open, and prints what the page shows."""
    path = tmp_path / "program.py"
    path.write_text(program.code, encoding="utf-8")
    how = ["-c", IN_VIRTUAL_TIME] if NEEDS_TIME.search(program.code) and "virtual_time" not in program.code else []
    done = run(sys.executable, "-W", "always::ResourceWarning", *how, path, folder=tmp_path, PYTHONIOENCODING="utf-8")
    # A server logs the clients that it refused; the documents show one.
    complaints = [line for line in done.errors.splitlines() if not line.startswith("event=handshake_failed ")]
    assert (done.status, complaints) == (0, [])
    promised = PRINTED.findall(program.code)
    if promised:
        assert done.output.decode().splitlines() == promised


def test_all_blocks_are_known() -> None:
    """Each page has its blocks in a language that is tested here or by the build of the site; there are programs."""
    assert len(PROGRAMS) >= 40
    for page in PAGES:
        fences = re.findall(r"^```(\S*)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(fences[1::2]) <= {""}, page.name
        languages = set(fences[::2])
        known = {"python", "sh", "console", "text", "{literalinclude}"} | ({"{eval-rst}"} if page.parent.name == "reference" else set())
        assert languages <= known, page.name


def test_every_public_name_is_in_the_reference() -> None:
    """docs/reference/ documents each public name of the package, of the test kit, and of the modules beside them."""
    code = "import {0}; print(*('{0}.' + name for name in {0}.__all__))"
    modules = ("geventstreams", "geventstreams.testing")
    names = [name for module in modules for name in run(sys.executable, "-c", code.format(module)).output.decode().split()]
    assert len(names) >= 60
    names += [f"geventstreams.monkey.{name}" for name in ("patch_makefile", "unpatch_makefile", "is_makefile_patched")]
    names += [f"geventstreams.relay.{name}" for name in ("relay", "RelayHandler", "Upstream")]
    names += [f"geventstreams.proxy_protocol.{name}" for name in ("read_proxy", "proxy_header", "ProxyError")]
    names += [f"geventstreams.workers.{name}" for name in ("Supervisor", "Worker", "descriptors_given")]
    names += [f"geventstreams.metrics.{name}" for name in ("ServerCollector", "ServerRecorder")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    documented = re.findall(r"^\.\. auto\w+:: (\S+)$", text, re.MULTILINE)
    assert not set(names) - set(documented)


def test_every_error_that_a_traceback_can_name_is_in_the_reference() -> None:
    """docs/reference/errors.md has each class of `geventstreams.errors`, exported by the package or not."""
    defined = {name for name, kind in vars(errors).items() if isinstance(kind, type) and kind.__module__ == errors.__name__}
    assert len(defined) >= 18
    page = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    assert not defined - set(re.findall(r"\bgeventstreams\.(?:errors\.)?(\w+)", page))


def test_first_page_answers_first_questions() -> None:
    """docs/index.md answers each of the eight first questions with a link to the place where it is explained."""
    answers = re.findall(r"^\| (.*\?) \| \[.*\]\(([\w/.-]+#[\w-]+)\) \|$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    words = ["whole request", "Ctrl-C", "test a timeout", "hangs", "asyncio", "two cores", "TLS is cut", "fork"]
    assert len(answers) == len(words)
    assert all(word in question for word, (question, _) in zip(words, answers, strict=True))


def test_every_page_is_in_the_contents() -> None:
    """The site's table of contents names every page once."""
    listed = re.search(r"^CONTENTS = \{(.*?)^\}", (DOCS / "conf.py").read_text(), re.MULTILINE | re.DOTALL)
    assert listed is not None
    words = re.findall(r"[\w/-]+", listed[1])
    for page in DOCS.rglob("*.md"):
        name = page.stem if page.parent != DOCS and page.stem != "index" else str(page.relative_to(DOCS).with_suffix(""))
        assert name in words, page


def test_figures_of_the_readme_are_measured() -> None:
    """Each ratio that README.md claims is in the table of docs/speed.md."""
    claims = re.findall(r"\b\d\.\d\d\b(?= times|\]\()", (CHECKOUT / "README.md").read_text(encoding="utf-8"))
    assert len(claims) >= 4
    table = [line for line in (DOCS / "speed.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    for claim in claims:
        assert any(f"| {claim} |" in line for line in table), claim


def drawn() -> dict[str, str]:
    """Return the pictures as docs/pictures/draw.py draws them from the figures beside it."""
    drawing = runpy.run_path(str(DOCS / "pictures" / "draw.py"))
    return dict(drawing["pictures"](json.loads((DOCS / "pictures" / "figures.json").read_text(encoding="utf-8"))))


def test_pictures_are_drawn_from_the_figures() -> None:
    """Each picture in docs/pictures/ is what the program draws from the measured figures; there is no other."""
    found = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "pictures").glob("*.svg")}
    assert found == drawn()
    assert len(found) >= 4


def test_the_table_of_goals_is_made_from_the_figures() -> None:
    """The table in docs/speed.md is what the program writes from the same figures as the pictures, with their day."""
    drawing = runpy.run_path(str(DOCS / "pictures" / "draw.py"))
    figures = json.loads((DOCS / "pictures" / "figures.json").read_text(encoding="utf-8"))
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    assert drawing["with_table"](page, figures) == page


def test_the_table_of_least_programs_is_made_from_the_figures() -> None:
    """The table of what goals cost at least is what the program writes from a run of its own, with its day and every row that it has."""
    drawing = runpy.run_path(str(DOCS / "pictures" / "draw.py"))
    figures = json.loads((DOCS / "pictures" / "least.json").read_text(encoding="utf-8"))
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    assert drawing["with_least_table"](page, figures) == page
    assert figures["command"].startswith("python -m benchmarks --quick --repeat 15 --least")
    assert [row["name"] for row in figures["rows"]] == list(BESIDE_LEAST)


def test_labels_of_pictures_do_not_overlap() -> None:
    """No text of a picture leaves it or lies over another one: at 0.62 of its size for a letter, which is wide."""
    text = re.compile(r'<text x="(\d+)" y="(\d+)" text-anchor="(\w+)"(?: class="([\w ]+)")?>([^<]*)</text>')
    for name, picture in drawn().items():
        boxes = []
        for x, y, anchor, kind, content in text.findall(picture):
            size = 16 if "title" in kind else 12 if "small" in kind else 14
            width = 0.62 * size * len(content)
            left = int(x) - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
            boxes.append((left, int(y) - size, left + width, int(y), content))
        for number, (left, top, right, bottom, content) in enumerate(boxes):
            assert left >= -2 and right <= 402, f"{name}: {content}"  # noqa: PT018
            for left2, top2, right2, bottom2, content2 in boxes[:number]:
                apart = right <= left2 or right2 <= left or bottom <= top2 + 1 or bottom2 <= top + 1
                assert apart, f"{name}: {content} and {content2}"


@pytest.mark.slow
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


def links_of(page: Path) -> list[tuple[str, str]]:
    """Return what a page links to, and the anchor there, or ""."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text)


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere() -> None:
    """What the documents link to within the project is there, by its path or by its address in the repository, with its anchor."""
    hosted = repository()
    raw = hosted.replace("//github.com/", "//raw.githubusercontent.com/")
    for page in PAGES:
        for target, anchor in links_of(page):
            within = re.sub(rf"^({re.escape(hosted)}/(blob|tree)/main|{re.escape(raw)}/main)/", f"{CHECKOUT}/", target)
            assert "://" in within or (page.parent / within).exists(), f"{page.name}: {target}"
            is_file = target.startswith(hosted) and target != hosted and not target.startswith(f"{hosted}/security/")
            assert not is_file or within != target, f"{page.name}: {target}"
            if anchor and "://" not in within:
                assert anchor in anchors_of(page.parent / within if within else page), f"{page.name}: {target}#{anchor}"


def test_links_of_the_package_index_page_are_absolute() -> None:
    """README.md is the page of the package index, too, where a path leads nowhere."""
    assert not [target for target, _ in links_of(CHECKOUT / "README.md") if "://" not in target]


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


LOG = """\
geventstreams plain, loop gevent.libev.corecext, gevent 1, greenlet 1, CPython 3: 1 passed, 0 failed, 0 error, 0 skipped

=== outcome, commit abc1234, 100 s in all
 220 s  style and types              ok
 570 s  README's tests, compiled     FAILED, status 1
        real servers: Redis 7.0.15, nginx 1.22.1
        geventstreams compiled, loop gevent.libev.corecext, gevent 26.9.0, greenlet 3.5.6, CPython 3.11.7: 6566 passed, 2 failed, 0 error, 5 skipped
  44 s  core tests, libuv            ok
        geventstreams compiled, loop gevent.libuv.loop, gevent 26.9.0, greenlet 3.5.6, CPython 3.11.7: 1777 passed, 0 failed, 0 error, 0 skipped
"""  # noqa: E501


def test_compatibility_page_says_what_the_log_says(tmp_path: Path) -> None:
    """The page has each run of tests of a log's summary, failed ones as failed; a log without one is refused."""
    (tmp_path / "run.log").write_text(LOG, encoding="utf-8")
    done = run(sys.executable, DOCS / "compatibility.py", tmp_path / "run.log")
    assert (done.status, done.errors) == (0, "")
    lines = done.output.decode().splitlines()
    assert [line for line in lines if line.startswith("| 3")] == [
        "| 3.11.7 | compiled | libev | 26.9.0 | 3.5.6 | README's tests, compiled | 6,568, 5 skipped | 2 failed |",
        "| 3.11.7 | compiled | libuv | 26.9.0 | 3.5.6 | core tests, libuv | 1,777, 0 skipped | all passed |",
    ]
    assert "## .ci/run, commit abc1234" in lines
    assert "Steps that failed: README's tests, compiled." in lines
    (tmp_path / "empty.log").write_text("nothing ran\n", encoding="utf-8")
    assert run(sys.executable, DOCS / "compatibility.py", tmp_path / "empty.log").status == 1
