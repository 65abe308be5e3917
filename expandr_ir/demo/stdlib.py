"""The demo's documents: the docstrings of the running interpreter's standard library."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from functools import cached_property
from operator import itemgetter
from types import ModuleType
from typing import Any

from expandr_ir.errors import MissingResourceError
from expandr_ir.records import Document

SKIPPED_BECAUSE = {
    "prints, opens a browser, touches the terminal or needs a display when imported": (
        "antigravity idlelib readline rlcompleter this tkinter turtle turtledemo"
    ),
    "is the interpreter's own machinery, or a twin of what is documented under another name": (
        "ensurepip genericpath nt ntpath nturl2path opcode posix posixpath pydoc_data pyexpat"
        " socket.SocketType sre_compile sre_constants sre_parse unicodedata.UCD"
    ),
    "is a hook, or a function that other packages replace": (
        "inspect.getfile sys.breakpointhook sys.displayhook sys.excepthook sys.unraisablehook threading.excepthook"
        " warnings.formatwarning warnings.showwarning"
    ),
    "is gone in Python 3.12 or 3.13, and left out before so that all versions have the same modules": (
        "aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp lib2to3 mailcap msilib nis nntplib"
        " ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib"
    ),
}
"""Public names that are no documents and, where they are modules, are not imported; by reason."""

_SKIPPED = frozenset(" ".join(SKIPPED_BECAUSE.values()).split())
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def documents() -> Iterator[Document]:
    """Every documented module, class, function, method and property of the standard library, sorted by doc_id.

    A doc_id is the public qualified name ("collections.deque", "str.removeprefix"); an object with several names is
    one document. The title is that name; the text is the name in words, the parameters and the docstring.
    """
    if sys.flags.optimize >= 2:
        raise MissingResourceError(
            "this Python runs with -OO, which removes the docstrings that the demo searches",
            expected="an interpreter that keeps docstrings",
            remedy="unset PYTHONOPTIMIZE and start Python without -OO",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        objects = _public_objects()
    for doc_id, (value, text) in sorted(objects.items(), key=itemgetter(0)):
        if text.strip():
            yield Document(doc_id, doc_id, f"{_heading(doc_id, value)}\n\n{inspect.cleandoc(text)}")


def _public_objects() -> dict[str, tuple[Any, str]]:
    """Every public object by its doc_id, with its docstring or ""."""
    modules = _modules()
    names = _names(modules)
    classes = {key: value for key, (_, value) in names.items() if isinstance(value, type)}
    objects: dict[str, tuple[Any, str]] = {name: (module, module.__doc__ or "") for name, module in modules.items()}
    objects |= {name: (value, _docstring(value)) for name, value in names.values()}
    for key, owner in classes.items():
        for attribute, member, text in _members(owner, classes):
            if id(member) not in names:
                objects[f"{names[key][0]}.{attribute}"] = (member, text)
    return objects


def _modules() -> dict[str, ModuleType]:
    """The public modules that can be imported here, by name."""
    modules: dict[str, ModuleType] = {}
    pending = sorted(name for name in sys.stdlib_module_names if _is_public(name))
    for name in pending:
        try:
            modules[name] = importlib.import_module(name)
        except ImportError:  # another platform's module, or one that this interpreter was built without
            continue
        if name != "encodings":  # its parts are a hundred tables
            parts = {f"{name}.{part.name}" for part in pkgutil.iter_modules(getattr(modules[name], "__path__", []))}
            pending.extend(sorted(filter(_is_public, parts)))
    modules["os.path"] = sys.modules["os.path"]
    return modules


def _is_public(name: str) -> bool:
    last = name.rpartition(".")[2]
    return not last.startswith("_") and last not in {"test", "tests"} and name not in _SKIPPED


def _names(modules: dict[str, ModuleType]) -> dict[int, tuple[str, Any]]:
    """The classes and other documented objects of the modules: identity -> (the best of its names, the object)."""
    best: dict[int, tuple[tuple[Any, ...], Any]] = {}
    for module_name in modules:
        for rank, value in _offers(module_name, modules):
            key = id(_unbound(value))
            best[key] = min((rank, value), best.get(key, (rank, value)), key=itemgetter(0))
    return {key: (rank[-1], value) for key, (rank, value) in best.items()}


def _offers(module_name: str, modules: dict[str, ModuleType]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The public objects of a module: (rank of its name here, ending in the name; object). The lowest rank is best.

    These are the names in __all__ and those from a part of the module; without an __all__ also those that the module
    defines itself or takes from a private module, but none that it imports from another public one.
    """
    module = modules[module_name]
    built_in = module_name == "builtins"
    listed = frozenset(getattr(module, "__all__", ()))
    for attribute in sorted(listed.union(vars(module))):
        value = getattr(module, attribute, None)
        name = attribute if built_in else f"{module_name}.{attribute}"
        if not _is_public(name) or isinstance(value, ModuleType) or _is_foreign(value):
            continue
        if not (isinstance(value, type) or _docstring(value)):
            continue
        home = str(getattr(value, "__module__", None))
        at_home = f"{home}.".startswith(f"{module_name}.")
        defined_here = built_in or at_home or home not in modules
        if attribute in listed or home.startswith(f"{module_name}.") or (defined_here and not listed):
            other_name = getattr(value, "__name__", attribute) != attribute
            yield (not built_in, other_name, not at_home, not listed, name.count("."), name), value


def _is_foreign(value: Any) -> bool:
    """Reports an object of another package: some add methods to the standard library's classes."""
    home = getattr(value, "__module__", None)
    return isinstance(home, str) and home.partition(".")[0] not in sys.stdlib_module_names


def _docstring(value: Any) -> str:
    """The object's own docstring, of a class also its __init__'s; not an instance's class's, nor a bare signature."""
    text = getattr(value, "__doc__", None)
    is_signature = isinstance(text, str) and re.fullmatch(rf"{getattr(value, '__name__', '')}\(.*\)", text)
    if isinstance(text, str) and text != type(value).__doc__ and not is_signature:
        return text
    constructor = vars(value).get("__init__") if isinstance(value, type) else None
    return _docstring(constructor) if inspect.isfunction(constructor) else ""


def _unbound(value: Any) -> Any:
    """The function of a class that a module offers as its own, such as random.choice; anything else as it is."""
    owner = getattr(value, "__self__", None)
    if owner is None or isinstance(owner, ModuleType | type):
        return value
    return getattr(type(owner), value.__name__, value)


def _members(owner: type, classes: dict[int, type]) -> Iterator[tuple[str, Any, str]]:
    """The documented public methods and properties that belong to a class: (attribute, object, docstring).

    A member belongs to the public class that defines it; one that a private class defines belongs to the most basic
    public class that inherits it.
    """
    for attribute in dir(owner):
        definers = [base for base in owner.__mro__ if attribute in vars(base)]
        inheriting = [base for base in owner.__mro__ if id(base) in classes and set(definers[:1]) <= set(base.__mro__)]
        if attribute.startswith("_") or not definers or inheriting[-1] is not owner:
            continue
        raw = vars(definers[0])[attribute]
        member = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
        name = getattr(member, "__name__", attribute)
        is_alias = name != attribute and vars(definers[0]).get(name) is raw
        is_kind = inspect.isroutine(member) or isinstance(member, property | cached_property)
        text = _docstring(member)
        if text and is_kind and not is_alias and not _is_foreign(member):
            yield attribute, member, text


def _heading(doc_id: str, value: Any) -> str:
    """The name in words and, of a callable, the parameters: "str removeprefix: removeprefix(self, prefix)"."""
    words = " ".join(_WORD.findall(doc_id))
    if not callable(value):
        return words
    try:
        parameters = ", ".join(inspect.signature(value).parameters)
    except (ValueError, TypeError, AttributeError):  # written in C, with a signature that inspect cannot read
        return words
    return f"{words}: {doc_id.rpartition('.')[2]}({parameters})"
