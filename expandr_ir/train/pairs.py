"""Preferences as a trainer takes them: read, checked, and parted into training and held-out ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from expandr_ir.errors import InputError
from expandr_ir.records import Message
from expandr_ir.train.preference_files import preferences_path, read_preferences
from expandr_ir.train.preparation import Pair
from expandr_ir.train.rows import query_hash

ROLES = ("system", "user", "assistant")


def read_pairs(source: str) -> list[Pair]:
    """The preferences of a file, or of the folder that `expandr train preferences` wrote, in their order.

    Raises:
        InputError: a row that does not fit, an empty answer, or two answers that are the same, with its number.
        MissingResourceError: there is no such file.
    """
    path = preferences_path(source)
    return [_pair(row, f"{path}, row {number}") for number, row in enumerate(read_preferences(path), start=1)]


def part(pairs: Sequence[Pair], dev_share: float) -> tuple[list[Pair], list[Pair]]:
    """Training and held-out preferences, by a hash of the prompt: stable, and no prompt is in both.

    Args:
        pairs: all of them.
        dev_share: share of prompts that is held out.

    Raises:
        InputError: a share outside [0, 1), or one that leaves a part empty.
    """
    if not 0 <= dev_share < 1:
        raise InputError(f"dev_share is {dev_share}", expected="a share from 0 to below 1")
    train: list[Pair] = []
    dev: list[Pair] = []
    for one in pairs:
        key = int(query_hash("\n".join(message.content for message in one.prompt))[:8], 16) / 16**8
        (dev if key < dev_share else train).append(one)
    if not train or (dev_share and not dev):
        raise InputError(
            f"dev_share {dev_share} of {len(pairs)} preferences leaves {len(train)} and {len(dev)}",
            expected="at least one in each part",
            remedy="--dev-preferences FILE, or more preferences",
        )
    return train, dev


def _pair(row: Mapping[str, Any], where: str) -> Pair:
    prompt = tuple(_message(one, where) for one in row["prompt"])
    return Pair(where, prompt, _answer(row, "chosen", where), _answer(row, "rejected", where))


def _answer(row: Mapping[str, Any], name: str, where: str) -> str:
    messages = [_message(one, where) for one in row[name]]
    if len(messages) != 1 or messages[0].role != "assistant":
        raise InputError(f"{where}: {name!r} is not one message of the assistant", expected="one, with role assistant")
    return messages[0].content


def _message(message: Mapping[str, Any], where: str) -> Message:
    if message["role"] not in ROLES:
        raise InputError(f"{where}: a message of {message['role']!r}", expected=" or ".join(ROLES))
    return Message(cast("Literal['system', 'user', 'assistant']", message["role"]), message["content"])
