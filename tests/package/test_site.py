"""The documentation as a site: it builds without a warning, no link is dead, the search finds what readers look for."""

import importlib.util
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import geventstreams
import geventstreams.testing

CHECKOUT = Path(__file__).resolve().parents[2]
PLACE = re.compile(r'\b(?:href|src)="([^"]*)"')

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("furo") is None, reason="the extra 'docs' is not installed"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site: the one that `tox -e docs` has just built, or one built here; a warning is an error."""
    if built := os.environ.get("GEVENTSTREAMS_SITE"):
        return Path(built)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "dirhtml", "-d", folder / "trees"]
    done = subprocess.run([*command, CHECKOUT / "docs", folder / "site"], capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "site"


def pages(site: Path) -> Iterator[tuple[Path, str]]:
    for page in site.rglob("index.html"):
        yield page, page.read_text(encoding="utf-8")


def test_no_link_within_the_site_is_dead(site: Path) -> None:
    """Each link, picture and script of each page is there, and so is the anchor that it names."""
    texts = dict(pages(site))
    assert len(texts) > 30
    identities = {page: set(re.findall(r'\bid="([^"]*)"', text)) for page, text in texts.items()}
    dead = []
    for page, text in texts.items():
        for place in PLACE.findall(text):
            target, _, anchor = place.partition("#")
            if re.match(r"[a-z]+:", target) or place.startswith("data:"):
                continue
            path = (page.parent / target.partition("?")[0]).resolve() if target else page
            path = path / "index.html" if path.is_dir() else path
            if not path.exists() or (anchor and path in identities and anchor not in identities[path]):
                dead.append((str(page.parent.relative_to(site)), place))
    assert not dead


def test_every_public_name_is_on_a_page(site: Path) -> None:
    """The site's inventory has every public name, and everything public that a stream has."""
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    names = {line.split()[0] for line in inventory.splitlines() if " py:" in line}
    wanted = {f"geventstreams.{name}" for name in geventstreams.__all__}
    wanted |= {f"geventstreams.testing.{name}" for name in geventstreams.testing.__all__}
    wanted |= {f"geventstreams.SocketStream.{name}" for name in ("read_until", "readline", "timed_out", "accepted", "octets_in", "unsent")}
    assert not wanted - names


def test_search_finds_methods(site: Path) -> None:
    """The search index knows a method by its name, and the words of the first questions."""
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    for word in ("read_until", "ctrl", "fork", "hang", "truncat", "gunicorn"):
        assert re.search(rf'"?\b{word}"?:', index), word
    assert "geventstreams.SocketStream" in index
