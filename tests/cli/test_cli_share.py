"""The man page and the completions in share/: made from the parsers, complete, and understood by the shells."""

import argparse
import re
import sys
from pathlib import Path

import pytest
from kit.command_line import run
from servers import require
from servers.programs import find_program

from geventstreams.__main__ import parser

CHECKOUT = Path(__file__).resolve().parents[2]
SHARE = CHECKOUT / "share"
FILES = {
    "man": SHARE / "man/man1/geventstreams.1",
    "bash": SHARE / "bash-completion/completions/geventstreams",
    "zsh": SHARE / "zsh/site-functions/_geventstreams",
    "fish": SHARE / "fish/vendor_completions.d/geventstreams.fish",
}


def options() -> set[str]:
    """Return all long options that the help texts show, other than those of `bench`."""
    (commands,) = [action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    actions = [action for name, command in commands.items() if name != "bench" for action in command._actions]
    return {name for action in actions if action.help != argparse.SUPPRESS for name in action.option_strings if name.startswith("--")}


@pytest.mark.parametrize("name", FILES)
def test_it_has_every_option_and_no_other(name: str) -> None:
    """What is in share/ names the options that the parsers have: else run .ci/make-share."""
    text = FILES[name].read_text(encoding="utf-8").replace("\\-", "-").replace(r"\fR", " ").replace(r"\fB", " ")
    found = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text))
    if name == "fish":  # it writes options without their hyphens
        found |= {f"--{word}" for word in re.findall(r" -l '?([a-z][a-z0-9-]+)'?", text)}
    wanted = options() - ({"--help"} if name == "man" else set())
    assert wanted <= found
    if name in {"man", "bash"}:
        assert found - wanted <= {"--help", "--version", "--"}, found - wanted


def test_the_man_page_has_the_examples_of_all_commands() -> None:
    """The man page has each example, and the table of exit statuses."""
    text = FILES["man"].read_text(encoding="utf-8").replace("\\&", "").replace("\\-", "-").replace("\\\\", "\\")
    for example in ("geventstreams connect localhost:7000", "geventstreams serve http:public --listen :8000", "geventstreams demo --plain"):
        assert example in text
    assert "141" in text


def test_the_man_page_is_read_without_a_warning() -> None:
    """groff formats the page and complains of nothing."""
    require("groff")
    done = run(find_program("groff"), "-man", "-Tutf8", "-ww", FILES["man"])
    assert (done.status, done.errors) == (0, "")
    assert b"geventstreams" in done.output


def test_it_can_be_made_again(tmp_path: Path) -> None:
    """.ci/make-share writes all four files from the parsers."""
    done = run(sys.executable, CHECKOUT / ".ci" / "make-share", tmp_path)
    assert (done.status, done.errors) == (0, "")
    for path in FILES.values():
        assert (tmp_path / path.relative_to(SHARE)).stat().st_size > 5000


CASES = [
    (["con"], {"connect"}),
    (["connect", "--start"], {"--starttls"}),
    (["connect", "--starttls", ""], {"smtp", "imap", "pop3", "ftp"}),
    (["serve", "ec"], {"echo"}),
    (["connect", "--ca", "own"], {"own-ca.pem"}),
]
"""The words before the tab, and what the last one is completed to."""


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_bash_completes(words: list[str], expected: set[str], tmp_path: Path) -> None:
    """bash completes commands, options, choices and files."""
    require("bash")
    (tmp_path / "own-ca.pem").touch()
    script = 'source "$0"; COMP_WORDS=(geventstreams "$@"); COMP_CWORD=$#; _shtab_geventstreams; printf "%s\\n" "${COMPREPLY[@]}"'
    done = run(find_program("bash"), "-c", script, FILES["bash"], *words, folder=tmp_path)
    assert (done.status, done.errors) == (0, "")
    assert set(done.output.decode().split()) == expected


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_fish_completes(words: list[str], expected: set[str], tmp_path: Path) -> None:
    """fish completes commands, options, choices and files."""
    require("fish")
    (tmp_path / "own-ca.pem").touch()
    script = f"source {FILES['fish']}; complete -C '{' '.join(['geventstreams', *words])}'"
    done = run(find_program("fish"), "--no-config", "-c", script, folder=tmp_path, HOME=str(tmp_path), TERM="dumb")
    assert expected <= {line.partition("\t")[0] for line in done.output.decode().splitlines()}


def test_zsh_reads_it(tmp_path: Path) -> None:
    """zsh loads the function, and registers it for the command."""
    require("zsh")
    script = "fpath=($1 $fpath); autoload -Uz compinit; compinit -u -d $2/dump; print ${_comps[geventstreams]}; autoload +X _geventstreams"
    done = run(find_program("zsh"), "-f", "-c", script, "zsh", FILES["zsh"].parent, tmp_path)
    assert (done.status, done.output) == (0, b"_geventstreams\n"), done.errors
