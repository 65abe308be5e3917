"""Prompts: templates in YAML, loaded, checked, rendered and hashed by one object, for training and inference alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from expandr_ir.config import conf_path, load_block
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.files import sha256_json
from expandr_ir.records import Document, Message, Topic

PLACEHOLDERS = {
    "topic": "the topic's text, as it is",
    "document": "one document: its title, then its text",
    "passages": "retrieved documents, numbered, one a line",
    "examples": "the prompt's own worked examples",
    "manner": "one of the prompt's own manners, drawn for each query that is made of a document",
}
"""What a template may hold in braces, and what stands there when it is rendered."""

_CONTEXT = ("document", "passages", "manner")
_BRACES = re.compile(r"\{(\s*\w+\s*)\}")

Example: TypeAlias = dict[str, str]
"""One worked example, label -> text, such as {"Query": ..., "Passage": ...}: a line "label: text" each."""


@dataclass(frozen=True)
class Prompt:
    """A template (conf/prompts/): what is asked of an LLM about a topic.

    Args:
        id: the name that manifests and stores show.
        version: counts changes of the wording.
        source: where the idea or the wording comes from.
        user: the user message, with placeholders in braces; other braces stand for themselves.
        licence: licence of the wording, where one is stated.
        system: the system message, with the same placeholders; most chat templates take one, some refuse it.
        stop: texts that end a sample, besides the generator's own.
        examples: worked examples, for {examples}.
        manners: lengths and styles to ask for, for {manner}; `expandr train synthesize` draws one for each query.
        notes: what a reader should know.
    """

    id: str
    version: int
    source: str
    user: str
    licence: str | None = None
    system: str | None = None
    stop: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    manners: tuple[str, ...] = ()
    notes: str = ""

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names in braces, in the order of their first use, system message first."""
        return tuple(dict.fromkeys(_BRACES.findall(f"{self.system or ''}\n{self.user}")))

    @property
    def needs(self) -> tuple[str, ...]:
        """What `render` must be given besides the topic: those of "document", "passages", "manner" that are shown."""
        return tuple(name for name in self.placeholders if name in _CONTEXT)

    @property
    def sha256(self) -> str:
        """The SHA-256, in hex, of what decides the rendering: system, user, examples, manners where there are any."""
        decides: list[Any] = [self.system or None, self.user, [list(example.items()) for example in self.examples]]
        return sha256_json([*decides, list(self.manners)] if self.manners else decides)

    def render(
        self,
        topic: Topic,
        *,
        document: Document | None = None,
        passages: Sequence[Document] | None = None,
        manner: str | None = None,
    ) -> tuple[Message, ...]:
        """The messages for a topic: the system message where there is one, then the user message.

        Every placeholder is filled in one pass: braces, dollar signs and backslashes in what is filled in mean nothing.

        Args:
            topic: the topic.
            document: for {document}.
            passages: for {passages}; an empty list (a search that found nothing) is rendered as "(none)".
            manner: for {manner}.

        Raises:
            InputError: the template needs something that was not given, or holds an unknown placeholder.
        """
        values = {"topic": topic.text, "examples": "\n\n".join(map(_example_text, self.examples))}
        if document is not None:
            values["document"] = _document_text(document, "\n")
        if passages is not None:
            lines = [f"[{number}] {_one_line(passage)}" for number, passage in enumerate(passages, start=1)]
            values["passages"] = "\n".join(lines) or "(none)"
        if manner is not None:
            values["manner"] = manner
        for name in self.placeholders:
            if name not in PLACEHOLDERS:
                raise unknown_name(f"placeholder of prompt {self.id!r}", name, PLACEHOLDERS)
            if name not in values:
                raise InputError(
                    f"prompt {self.id!r} holds {{{name}}}, and no {name} was given for topic {topic.topic_id!r}",
                    expected=f"{name}: {PLACEHOLDERS[name]}",
                    remedy="a prompt without it; `expandr prompts ls` shows what each one needs",
                )
        user = Message("user", _fill(self.user, values))
        return (Message("system", _fill(self.system, values)), user) if self.system else (user,)


def load_prompt(name_or_path: str) -> Prompt:
    """The prompt of conf/prompts/ with this name, or the one in this YAML file, checked.

    Raises:
        InputError: no such name or file; unknown or missing keys, wrong types, an unknown placeholder, a template that
            does not depend on what it is asked about, or examples without {examples} and the reverse (the same for
            manners). The message names the file.
    """
    path = conf_path("prompts", name_or_path)
    prompt = load_block(Prompt, path)
    for name in prompt.placeholders:
        if name not in PLACEHOLDERS:
            raise unknown_name(f"placeholder in {path}:", f"{{{name}}}", [f"{{{known}}}" for known in PLACEHOLDERS])
    if not {"topic", "document"} & set(prompt.placeholders):
        raise InputError(f"{path}: neither {{topic}} nor {{document}}", expected="a template with one of them")
    for own, name in ((prompt.examples, "examples"), (prompt.manners, "manner")):
        if bool(own) != (name in prompt.placeholders):
            plural = "examples" if name == "examples" else "manners"
            found = f"{plural} that no {{{name}}} shows" if own else f"{{{name}}} without {plural}"
            raise InputError(f"{path}: {found}", expected="both or neither")
    return prompt


def _fill(template: str, values: dict[str, str]) -> str:
    return _BRACES.sub(lambda match: values[match[1]], template)


def _example_text(example: Example) -> str:
    return "\n".join(f"{label}: {text}" for label, text in example.items())


def _document_text(document: Document, between: str) -> str:
    return between.join(part for part in (document.title, document.text) if part)


def _one_line(passage: Document) -> str:
    return " ".join(_document_text(passage, " ").split())
