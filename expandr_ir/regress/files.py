"""regressions/*.yaml: where they stand, and their YAML with the line of everything in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from expandr_ir.errors import InputError, MissingResourceError, unknown_name

CONDITIONS = "conditions.yaml"
RECORDED = "recorded"
"""The folder of figures that `expandr regress --promote` wrote."""


TRAINING = "training"
"""The folder of trajectories of training, which `expandr train trajectory` reads, and of proofs, which scripts make."""


def regressions_dir() -> Path:
    """The folder of the regressions: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    return package / "regressions" if (package / "regressions").is_dir() else package.parent / "regressions"


def collection_files(folder: Path) -> dict[str, Path]:
    """The YAML file of each collection by its name, which is the file's, group by group in the alphabet.

    Raises:
        InputError: two files of one name.
        MissingResourceError: there is no such folder, or none of the files.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("**/*.yaml")):
        if path.name == CONDITIONS or {RECORDED, TRAINING} & set(path.relative_to(folder).parts):
            continue
        if path.stem in found:
            raise InputError(
                f"two regressions of the name {path.stem!r}: {found[path.stem]} and {path}", expected="one of each name"
            )
        found[path.stem] = path
    if not found:
        raise MissingResourceError(f"{folder} holds no regressions", expected="a folder with YAML files")
    return found


class Block(dict[str, Any]):
    """A mapping of a YAML file that knows where it and its keys stand."""

    def __init__(self, path: Path, line: int) -> None:
        super().__init__()
        self.path, self.line = path, line
        self.lines: dict[str, int] = {}

    def where(self, key: str | None = None) -> str:
        """File and line of a key, or of the mapping itself."""
        return f"{self.path}, line {self.lines.get(key, self.line) if key else self.line}"

    def check_keys(self, known: Collection[str]) -> None:
        """Refuses keys that are not known, with the nearest one.

        Raises:
            InputError: there is one.
        """
        for key in self:
            if key not in known:
                raise unknown(self.where(key), "key", key, known)

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        """A value of this type, or the default; a key that is not there and has no default is an error.

        Raises:
            InputError: it is missing, or of another type.
        """
        if key not in self:
            if default is ...:
                raise InputError(f"{self.where()}: no key {key!r}", expected=f"{key!r}")
            return default
        value = self[key]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join(_NAMES.get(one, one.__name__) for one in kinds)
            raise InputError(f"{self.where(key)}: {key!r} is {_shown(value)}", expected=names)
        return value

    def block(self, key: str) -> Block:
        """The mapping under a key; empty where there is none.

        Raises:
            InputError: something else stands there.
        """
        value = self.get(key)
        if value is None:
            return Block(self.path, self.lines.get(key, self.line))
        if not isinstance(value, Block):
            raise InputError(f"{self.where(key)}: {key!r} is {_shown(value)}", expected="a mapping")
        return value

    def blocks(self, key: str) -> Iterator[Block]:
        """The mappings of the list under a key.

        Raises:
            InputError: something else stands there.
        """
        for value in self.take(key, list, []):
            if not isinstance(value, Block):
                raise InputError(f"{self.where(key)}: {_shown(value)} in {key!r}", expected="mappings")
            yield value

    def texts(self, key: str) -> list[str]:
        """The list of strings under a key; empty where there is none.

        Raises:
            InputError: something else stands there.
        """
        values = self.take(key, list, [])
        for value in values:
            if not isinstance(value, str):
                raise InputError(f"{self.where(key)}: {_shown(value)} in {key!r}", expected="text")
        return list(values)

    def plain(self) -> dict[str, Any]:
        """The same as dictionaries and lists that know nothing of lines."""
        return {key: _plain(value) for key, value in self.items()}


_NAMES = {str: "text", int: "a whole number", float: "a number", list: "a list", dict: "a mapping", bool: "true, false"}


def read_block(path: Path) -> Block:
    """The mapping that a YAML file holds.

    Raises:
        MissingResourceError: there is no such file.
        InputError: it is no YAML, holds no mapping, or a key twice; the message names file and line.
    """
    if not path.is_file():
        raise MissingResourceError(f"{path} is not there", expected="a YAML file")
    loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise InputError(f"{where}: {getattr(error, 'problem', None) or error}", expected="YAML") from error
    value = _value(path, node) if node else None
    if not isinstance(value, Block):
        raise InputError(f"{path} holds {_shown(value)}", expected="a mapping")
    return value


def unknown(where: str, kind: str, name: str, known: Collection[str]) -> InputError:
    """The error of an unknown name that stands in a file, with the nearest one."""
    error = unknown_name(kind, name, known)
    return InputError(f"{where}: {error.found}", expected=error.expected, remedy=error.remedy)


_SCALARS = yaml.SafeLoader("")


def _value(path: Path, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        block = Block(path, node.start_mark.line + 1)
        for key_node, value_node in node.value:
            key, line = str(_value(path, key_node)), key_node.start_mark.line + 1
            if key in block:
                raise InputError(
                    f"{path}, line {line}: {key!r} a second time; the first is line {block.lines[key]}",
                    expected="each name once",
                )
            block.lines[key] = line
            block[key] = _value(path, value_node)
        return block
    if isinstance(node, yaml.SequenceNode):
        return [_value(path, item) for item in node.value]
    return _SCALARS.construct_object(node, deep=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Block):
        return value.plain()
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _shown(value: Any) -> str:
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)
