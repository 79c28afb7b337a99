"""Build the hot modules with Cython where a C compiler is installed; without one the same files run as plain Python.

Everything else about the package stands in pyproject.toml. Rules for the next editor:

* A module is hot when a .pxd lies beside its .py, so there is no list to keep; but for the folder TWINS, whose .pxd hold C
  twins of the functions for the hot modules, while the .py themselves serve the plain ones.
* The hot modules call each other in C. A part of them built and the rest plain cannot be imported: all or none.
* A compiler that is missing or fails is a warning. An error that Cython itself finds is ours, and ends the build.
* A wheel without built modules says why in REASON, which `geventstreams --version` prints, and is tagged `py3-none-any`.
"""

import contextlib
import multiprocessing
import os
import shlex
import shutil
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import BaseError, CCompilerError, SetupError

try:
    import greenlet
    from Cython.Build import cythonize
    from Cython.Compiler import AutoDocTransforms, Naming, Optimize
except ImportError:  # built without isolation, in an environment that lacks one of them
    cythonize = None

PACKAGE = "geventstreams"
REASON = "_not_compiled.txt"
TWINS = "_native"

# gcc takes 33 s of CPU for all hot modules at -O1, 55 s at -O2, 65 s at -O3. At -O1 paired runs of the bench's loops were
# slower than at -O3: readline, read_line, read_sequence and waiting by 3 %, read_byte by 5 %, read_char by 9 %. At -O2, with the
# character reads of `lisp` at -O3, no difference is left that can be told from noise.
LEVEL = "-O2"
OPTIMISED = {"_streams.lisp": "-O3"}

DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # the annotations are for people and mypy; the .pxd holds the C types
    "binding": False,
    "initializedcheck": False,
    "embedsignature": True,  # what `inspect.signature` and `help` show; "clinic" is the form that the first of them reads
    "embedsignature.format": "clinic",
    "cdivision": True,
    "infer_types": True,  # a local that holds a C number stays one
    "auto_pickle": False,
}


def show_constructors():
    """Have Cython embed the arguments of classes too, which it leaves out in the form "clinic".

    `inspect.signature(SocketStream)` reads the head of the class's docstring, and `SocketStream.__init__` has a docstring only if
    there is a place for it (`wrapperbase_cname`). A Cython that is made in another way leaves both out, and a test fails.
    """
    original = AutoDocTransforms.EmbedSignature.visit_DefNode

    def visit_method(self, node):
        with contextlib.suppress(AttributeError, TypeError):
            if node.name == "__init__" and node.entry.is_special:
                node.entry.wrapperbase_cname = node.entry.pyfunc_cname.replace(Naming.pyfunc_prefix, Naming.wrapperbase_prefix, 1)
                self._setup_format()
                arguments = len(node.args) - node.num_posonly_args - node.num_kwonly_args
                signature = self._fmt_signature(
                    None, self.class_name, node.args, node.num_posonly_args, arguments - 1, node.star_arg, node.num_kwonly_args,
                    node.starstar_arg, hide_self=True,
                )
                scope = self.class_node.entry.type.scope
                scope.doc = type(scope.doc or node.name)(self._embed_signature(signature, scope.doc))
        return original(self, node)

    AutoDocTransforms.EmbedSignature.visit_DefNode = visit_method


def leave_out_what_checkers_read():
    """Have Cython skip the body of `if TYPE_CHECKING`: an overload there would take the place of the method that it describes."""
    original = Optimize.ConstantFolding.visit_IfStatNode

    def visit_if(self, node):
        node.if_clauses = [clause for clause in node.if_clauses if getattr(clause.condition, "name", None) != "TYPE_CHECKING"]
        return original(self, node)

    Optimize.ConstantFolding.visit_IfStatNode = visit_if


def cores():
    """How many processes can run side by side here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def optimisation(module):
    """The compiler's options for a hot module. What CFLAGS says of optimising or debugging, as in `CFLAGS="-O1 -g"`, counts instead."""
    own = os.environ.get("CFLAGS", "").split()
    ours = [OPTIMISED.get(module, LEVEL), "-g0"] if os.name == "posix" else []
    return [option for option in ours if not any(word.startswith(option[:2]) for word in own)]


def why_plain():
    """Why nothing will be compiled here, or None."""
    if os.environ.get("PURE_PYTHON", "") not in {"", "0"}:
        return "PURE_PYTHON was set when it was built"
    return "Cython or greenlet was missing when it was built" if cythonize is None else None


class BuildFiles(build_py):
    """Copies the package's files, and says in a wheel why it has no built modules."""

    def run(self):
        super().run()
        reason = Path(self.build_lib, PACKAGE, REASON)
        reason.unlink(missing_ok=True)  # of an earlier build in the same folder
        if why_plain() is not None and not self.editable_mode:
            reason.write_text(why_plain() + "\n", encoding="utf-8")


class BuildHotModules(build_ext):
    """Translates and compiles all hot modules, or leaves every one of them plain."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or cores()

    def build_extensions(self):
        try:
            self._try_compiler()
        except (BaseError, CCompilerError) as error:  # said before Cython has worked for nothing
            self._stay_plain(error)
        else:
            self._build_all()

    def _try_compiler(self):
        """Compile one line that needs what every hot module needs: a compiler and Python's headers."""
        Path(self.build_temp).mkdir(parents=True, exist_ok=True)
        source = Path(self.build_temp, "compiler_works.c")
        source.write_text("#include <Python.h>\n", encoding="utf-8")
        self.compiler.compile([str(source)], output_dir=self.build_temp, include_dirs=self.include_dirs)

    def _translate(self):
        """Translate all modules, in forks of this process: others would not have the changes that are made to Cython above."""
        can_fork = "fork" in multiprocessing.get_all_start_methods()
        if can_fork:
            multiprocessing.set_start_method("fork", force=True)
        generated = cythonize(
            [Extension(ext.name, ext.sources) for ext in self.extensions],
            build_dir=os.path.join(self.build_temp, "cython"),
            compiler_directives=DIRECTIVES,
            force=self.force,
            nthreads=int(self.parallel) if can_fork else 0,
        )
        sources = {ext.name: ext.sources for ext in generated}
        for ext in self.extensions:
            ext.sources = sources[ext.name]
            if "__pyx_n_u_overload" in Path(ext.sources[0]).read_text(encoding="utf-8"):
                raise SetupError(f"Cython compiled the overloads of {ext.name}, which would take the place of its methods")

    def _build_all(self):
        self._translate()
        # The largest first, so that none is left to be compiled alone at the end.
        self.extensions.sort(key=lambda ext: os.path.getsize(ext.sources[0]), reverse=True)
        try:
            super().build_extensions()
        except (BaseError, CCompilerError) as error:
            self._stay_plain(error)

    def _stay_plain(self, error):
        for ext in self.extensions:
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        self.extensions = []
        self.distribution.ext_modules = None
        if not self.inplace:
            reason = Path(self.build_lib, PACKAGE, REASON)
            reason.write_text(f"{self._what_was_missing()} when it was built\n", encoding="utf-8")
        self.warn(f"{PACKAGE} is not compiled, the plain Python files run instead: {error}")

    def _what_was_missing(self):
        command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
        if shutil.which(command) is None:
            return f"there was no C compiler ({command})"
        if not Path(sysconfig.get_path("include"), "Python.h").exists():
            return "Python's C headers (Debian: python3-dev) were missing"
        return f"the C compiler ({command}) failed"


class Wheel(bdist_wheel):
    """A wheel whose tag says what is in it: one for every Python and machine where nothing was built."""

    def run(self):
        if not self.skip_build:
            self.run_command("build")
            self.skip_build = True
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()


def hot_modules():
    """The extensions to build."""
    if why_plain() is not None:
        return []
    show_constructors()
    leave_out_what_checkers_read()
    declarations = sorted(Path(PACKAGE).rglob("*.pxd"))
    sources = [path.with_suffix(".py") for path in declarations if path.parent.name != TWINS]
    return [
        Extension(
            ".".join(source.with_suffix("").parts),
            [str(source)],
            depends=[str(path) for path in declarations],
            include_dirs=[str(Path(greenlet.__file__).parent.parent)],
            define_macros=[
                ("CYTHON_CLINE_IN_TRACEBACK", "0"),  # the lines of the .py are in tracebacks all the same
                ("NDEBUG", None),  # as Python's own options have it, whose place CFLAGS of the environment takes
            ],
            extra_compile_args=optimisation(".".join(source.with_suffix("").parts[1:])),
        )
        for source in sources
    ]


if __name__ == "__main__":  # Cython's processes import this file again where they are not forked
    setup(
        ext_modules=hot_modules(),
        cmdclass={"bdist_wheel": Wheel, "build_ext": BuildHotModules, "build_py": BuildFiles},
    )
