"""Builds the hot modules with Cython where a compiler is there; without one the same files run as plain Python.

Everything else about the package stands in pyproject.toml. Rules for the next editor:

* A module is hot when a .pxd lies beside its .py, so there is no list to keep; but for TWINS, whose .pxd holds C twins
  of the functions for the hot modules, while the .py itself serves the plain ones.
* The hot modules call each other in C. A part of them built and the rest plain cannot be imported: all or none.
* A compiler that is missing or fails is a warning. An error that Cython itself finds is ours, and ends the build.
"""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

try:
    import greenlet
    from Cython.Build import cythonize
except ImportError:  # built without isolation, by somebody who has not both of them
    cythonize = None

PACKAGE = "geventstreams"
TWINS = {"_attributes", "_bytes", "_greenlets", "_system"}
DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # the annotations are for people and mypy; the .pxd holds the C types
    "binding": False,
    "initializedcheck": False,
    "embedsignature": False,
    "cdivision": True,
    "infer_types": True,  # a local that holds a C number stays one
    "auto_pickle": False,
}


class BuildHotModules(build_ext):
    """Translates and compiles all hot modules, or leaves every one of them plain."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self):
        generated = cythonize(
            [Extension(ext.name, ext.sources) for ext in self.extensions],
            build_dir=os.path.join(self.build_temp, "cython"),
            compiler_directives=DIRECTIVES,
            force=self.force,
        )
        sources = {ext.name: ext.sources for ext in generated}
        for ext in self.extensions:
            ext.sources = sources[ext.name]
        try:
            super().build_extensions()
        except (BaseError, CCompilerError) as error:
            self._stay_plain(error)

    def _stay_plain(self, error):
        for ext in self.extensions:
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        self.extensions = []
        self.warn(f"{PACKAGE} is not compiled, the plain Python files run instead: {error}")


def hot_modules():
    """The extensions to build: none where PURE_PYTHON asks for that, or where there is no Cython."""
    if os.environ.get("PURE_PYTHON", "") not in {"", "0"} or cythonize is None:
        return []
    declarations = sorted(Path(PACKAGE).glob("*.pxd"))
    sources = [path.with_suffix(".py") for path in declarations if path.stem not in TWINS]
    return [
        Extension(
            f"{PACKAGE}.{source.stem}",
            [str(source)],
            depends=[str(path) for path in declarations],
            include_dirs=[str(Path(greenlet.__file__).parent.parent)],
            extra_compile_args=["-O3", "-g0"] if os.name == "posix" else [],
        )
        for source in sources
    ]


setup(ext_modules=hot_modules(), cmdclass={"build_ext": BuildHotModules})
