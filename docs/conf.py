"""Builds the site from the Markdown pages: `tox -e docs`, or `sphinx-build -W --keep-going -b dirhtml docs SITE`.

The pages stay readable as plain files, so what only the site needs is here: the table of contents, and the address of
files of the repository that pages link to.
"""

import os
import re
import sys
from pathlib import Path

os.environ["PURE_PYTHON"] = "1"  # plain Python functions have signatures that autodoc can read
CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from sphinx.pycode import ModuleAnalyzer  # noqa: E402  # after PURE_PYTHON

import geventstreams  # noqa: E402

project = "geventstreams"
copyright = "the geventstreams authors"  # noqa: A001  # Sphinx calls it so
release = version = geventstreams.__version__
repository = "https://github.com/geventstreams/geventstreams"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["pictures"]
default_role = "literal"  # docstrings have `names` in single backquotes
nitpicky = False

myst_heading_anchors = 4
myst_enable_extensions = ["strikethrough"]
suppress_warnings = ["myst.strikethrough"]  # it is for HTML only, and so is this site
myst_links_external_new_tab = False

smartquotes_action = "q"  # `--quick` in a table keeps its two dashes

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 90
python_display_short_literal_types = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # "Attributes:" is a list in the text of the class, beside the members themselves

html_theme = "furo"
html_title = "geventstreams"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "source_repository": f"{repository}/",
    "source_branch": "main",
    "source_directory": "docs/",
}
pygments_style = "default"
pygments_dark_style = "github-dark"

copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
copybutton_line_continuation_character = "\\"
# Without a title in it, which the search's highlighting cannot mark.
copybutton_image_svg = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.5">
<rect x="8" y="8" width="12" height="12" rx="2"/><path d="M16 8v-2a2 2 0 0 0-2-2h-8a2 2 0 0 0-2 2v8a2 2 0 0 0 2 2h2"/></svg>"""

CONTENTS = {
    "index": """
        :caption: Learn
        installing
        tutorial
        coming-from
        :caption: Do
        howto/index
        :caption: Look up
        streams
        waiting
        servers
        callbacks
        tls
        makefile
        command-line
        reference/index
        compatibility
        :caption: Understand
        explanation/index
        reliability
        speed
    """,
    "howto/index": "timeouts clients tls services web testing debugging",
    "reference/index": "streams waiting servers callbacks errors makefile testing balancers",
    "explanation/index": "waiting losing-nothing tls code",
}
"""The table of contents: what each page has below it."""


def add_contents(app, docname, source):
    """Give a page that has pages below it a hidden table of contents."""
    caption, below = None, []

    def toctree():
        if below:
            options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
            source[0] += "\n\n```{toctree}\n" + "\n".join([*options, "", *below]) + "\n```\n"

    lines = CONTENTS.get(docname, "").split("\n") if docname == "index" else CONTENTS.get(docname, "").split()
    for line in filter(None, map(str.strip, lines)):
        if line.startswith(":caption:"):
            toctree()
            caption, below = line.removeprefix(":caption:").strip(), []
        else:
            below.append(line)
    toctree()


def link_to_repository(app, docname, source):
    """Point links to files outside docs/ at the repository, where they can be read."""
    folder = (CHECKOUT / "docs" / docname).parent
    pieces = source[0].split("](")
    for index, piece in enumerate(pieces[1:], 1):
        target, closing, rest = piece.partition(")")
        if not target.startswith(("http", "#")):
            path = (folder / target.partition("#")[0]).resolve()
            if CHECKOUT / "docs" not in path.parents and path.exists():
                pieces[index] = f"{repository}/blob/main/{path.relative_to(CHECKOUT)}{closing}{rest}"
    source[0] = "](".join(pieces)


WHOLE = {}
"""What a function whose overloads are not shown returns."""


def show_whole_signatures():
    """Show a function by its own signature, not by overloads that hide its arguments in `**options: Unpack[…]`."""
    analyze = ModuleAnalyzer.analyze

    def analyze_without_unpack(analyzer):
        analyze(analyzer)
        for name, overloads in list(analyzer.overloads.items()):
            if any("Unpack" in str(signature) for signature in overloads):
                results = [re.sub(r"\bS\b", "SocketStream", str(signature.return_annotation)) for signature in overloads]
                WHOLE[name] = " | ".join(dict.fromkeys(results))
                del analyzer.overloads[name]

    ModuleAnalyzer.analyze = analyze_without_unpack


def tidy_signature(app, what, name, obj, options, signature, returned):
    """Show a class that is a default by its name, and what the overloads of a function return."""
    if what == "function":
        ModuleAnalyzer.for_module(obj.__module__).analyze()
    if signature is not None:
        signature = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", signature)
    return signature, WHOLE.get(name.rpartition(".")[2], returned)


def setup(app):
    show_whole_signatures()
    app.connect("source-read", add_contents)
    app.connect("source-read", link_to_repository)
    app.connect("autodoc-process-signature", tidy_signature)
