"""Prompts: templates in YAML, loaded, checked, rendered and hashed by one object, for training and inference alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from expandr_ir.blocks import load_block
from expandr_ir.config import conf_path, names
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.io.files import sha256_json
from expandr_ir.records import Document, Message, Topic

PLACEHOLDERS = {
    "topic": "the topic's text, as it is",
    "document": "one document: its title, then its text",
    "passages": "retrieved documents, numbered, one a line",
    "examples": "the prompt's own worked examples",
    "manner": "one of the prompt's own manners",
}
"""The names that every template may hold in braces, and the text that takes their place."""

_BRACES = re.compile(r"\{(\s*\w+\s*)\}")

Example: TypeAlias = dict[str, str]
"""One worked example, label -> text, such as {"Query": ..., "Passage": ...}: a line "label: text" each."""


@dataclass(frozen=True)
class Prompt:
    """A template (conf/prompts/) of the messages that ask an LLM about a topic.

    Args:
        id: the name that manifests and stores show.
        version: counts changes of the wording.
        source: where the idea or the wording comes from.
        user: the user message, with placeholders in braces; other braces stand for themselves.
        licence: licence of the wording, where one is stated.
        system: the system message, with the same placeholders; most chat templates take one, some refuse it.
        stop: texts that end a sample, besides the generator's own.
        examples: worked examples, for {examples}.
        manners: instructions, lengths or styles to ask for one at a time, for {manner}.
        context: further placeholders, name -> the text that takes its place: a method puts there what an earlier call
            wrote.
        notes: remarks.
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
    context: dict[str, str] = field(default_factory=dict)
    notes: str = ""

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        """The names in braces, in the order of their first use, system message first."""
        return tuple(dict.fromkeys(_BRACES.findall(f"{self.system or ''}\n{self.user}")))

    @property
    def needs(self) -> tuple[str, ...]:
        """The further arguments that `render` needs: all placeholders but "topic" and "examples"."""
        return tuple(name for name in self.placeholders if name not in {"topic", "examples"})

    @property
    def sha256(self) -> str:
        """The SHA-256, in hex, of all that decides the rendering: system, user, examples, manners if there are any."""
        parts: list[Any] = [self.system or None, self.user, [list(example.items()) for example in self.examples]]
        return sha256_json([*parts, list(self.manners)] if self.manners else parts)

    def __str__(self) -> str:
        system = f"system:\n{self.system}\n" if self.system else ""
        head = f"{self.id}, version {self.version}, sha256 {self.sha256[:12]}\nsource: {self.source}"
        return f"{head}\n{system}user:\n{self.user}"

    def render(
        self,
        topic: Topic,
        *,
        document: Document | None = None,
        passages: Sequence[Document] | None = None,
        **texts: str | None,
    ) -> tuple[Message, ...]:
        """The messages for a topic: the system message where there is one, then the user message.

        Every placeholder is filled in one pass: braces in a topic or a document mean nothing. An empty list of passages
        (a search without hits) and a blank text are rendered as "(none)". `texts` are for {manner} and the prompt's own
        placeholders, by name. A placeholder without a value is an error.
        """
        examples = ["\n".join(f"{label}: {text}" for label, text in example.items()) for example in self.examples]
        values = {"topic": topic.text, "examples": "\n\n".join(examples)}
        if document is not None:
            values["document"] = _document_text(document, "\n")
        if passages is not None:
            shown = [" ".join(_document_text(passage, " ").split()) for passage in passages]
            lines = [f"[{number}] {text}" for number, text in enumerate(shown, start=1)]
            values["passages"] = "\n".join(lines) or "(none)"
        values |= {name: text if text.strip() else "(none)" for name, text in texts.items() if text is not None}
        known = PLACEHOLDERS | self.context
        for name in self.placeholders:
            if name not in known:
                raise unknown_name(f"placeholder of prompt {self.id!r}", name, known)
            if name not in values:
                raise InputError(
                    f"prompt {self.id!r} holds {{{name}}}, and no {name} was given for topic {topic.topic_id!r}",
                    expected=f"{name}: {known[name]}",
                    remedy="a prompt without it; `expandr prompts ls` shows what each one needs",
                )
        templates: list[tuple[Literal["system", "user"], str]] = [("system", self.system or ""), ("user", self.user)]
        return tuple(
            Message(role, _BRACES.sub(lambda match: values[match[1]], template))
            for role, template in templates
            if template or role == "user"
        )


@dataclass(frozen=True)
class ListPromptsOptions:
    """`expandr prompts ls` has no options."""


@dataclass(frozen=True)
class ShowPromptsOptions:
    """Options of `expandr prompts show`.

    Args:
        names: names of conf/prompts, or YAML files.
    """

    names: list[str]


def list_prompts(options: ListPromptsOptions) -> str:  # noqa: ARG001
    """A line for each prompt of conf/prompts: its notes, and its needs besides the topic."""
    lines = []
    for prompt in map(load_prompt, names("prompts")):
        needs = f" (needs {', '.join(prompt.needs)})" if prompt.needs else ""
        lines.append(f"{prompt.id:<26} {' '.join(prompt.notes.split())}{needs}")
    return "\n".join(lines)


def show_prompts(options: ShowPromptsOptions) -> str:
    """The prompts as they stand in their files."""
    if not options.names:
        raise InputError("no prompt is named", expected="expandr prompts show NAME")
    return "\n".join(str(load_prompt(name)) for name in options.names)


def load_prompt(name_or_path: str) -> Prompt:
    """The prompt of conf/prompts/ with this name, or the one in this YAML file, checked."""
    path = conf_path("prompts", name_or_path)
    prompt = load_block(Prompt, path)
    known = PLACEHOLDERS | prompt.context
    for name in prompt.placeholders:
        if name not in known:
            raise unknown_name(f"placeholder in {path}:", f"{{{name}}}", [f"{{{other}}}" for other in known])
    if not {"topic", "document", *prompt.context} & set(prompt.placeholders):
        raise InputError(f"{path}: neither {{topic}} nor {{document}}", expected="a template with one of them")
    fills: list[tuple[str, Any, str]] = [("context", prompt.context, name) for name in prompt.context]
    fills += [("examples", prompt.examples, "examples"), ("manners", prompt.manners, "manner")]
    for name, values, shown in fills:
        if bool(values) != (shown in prompt.placeholders):
            fault = f"{name} that no {{{shown}}} shows" if values else f"{{{shown}}} without {name}"
            raise InputError(f"{path}: {fault}", expected="both or neither")
    return prompt


def _document_text(document: Document, between: str) -> str:
    return between.join(part for part in (document.title, document.text) if part)
