from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.config import conf_dir, names
from expandr_ir.errors import InputError
from expandr_ir.prompts import (
    PLACEHOLDERS,
    ListPromptsOptions,
    Prompt,
    ShowPromptsOptions,
    list_prompts,
    load_prompt,
    show_prompts,
)
from expandr_ir.records import Document, Message, Topic

TOPIC = Topic("7", "why is the sky blue")
WHALE = Document("d1", "Whales", "Whales are mammals.\nThey breathe air.")
UNTITLED = Document("d2", "", "Fish  have gills.")


def prompt(user: str, **fields) -> Prompt:
    return Prompt(id="p", version=1, source="a test", user=user, **fields)


def write(folder, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", names("prompts"))
def test_every_prompt_of_conf(name):
    loaded = load_prompt(name)
    assert loaded.id == name
    assert loaded.version >= 1
    assert loaded.source
    given = {name: f"text of {name}" for name in loaded.context} | {"manner": next(iter(loaded.manners), None)}
    messages = loaded.render(TOPIC, document=WHALE, passages=[WHALE, UNTITLED], **given)
    assert messages[-1].role == "user"
    shown = [text for text in given.values() if text] or [TOPIC.text]
    assert all(text in messages[-1].content for text in shown)
    assert not any(f"{{{known}}}" in message.content for message in messages for known in PLACEHOLDERS)
    assert messages == load_prompt(str(conf_dir() / "prompts" / f"{name}.yaml")).render(
        TOPIC, document=WHALE, passages=[WHALE, UNTITLED], **given
    )


def test_needs_of_prompts():
    needs = {name: load_prompt(name).needs for name in names("prompts")}
    assert {name: need for name, need in needs.items() if need} == {
        "answer": ("document",),
        "passage-with-context": ("passages",),
        "listwise": ("passages",),
        "synthetic-quality": ("document",),
        "answers": ("questions",),
        "answers-checked": ("answers",),
        "key-sentences": ("passages",),
        "keywords-varied": ("manner",),
        "pattern-choice": ("patterns", "passages"),
        "pattern-rewrite": ("manner",),
    } | {f"synthetic-{kind}": ("document", "manner") for kind in ("argument", "claim", "finance", "science", "web")}
    assert len(load_prompt("passage-few-shot").examples) == 4


@pytest.mark.parametrize("name", ["expandr-llm", "llm-qe-dpo"])
def test_interfaces_of_released_checkpoints_are_verbatim(name):
    assert load_prompt(name).render(TOPIC) == (
        Message("user", "Please write a passage to answer the question.\nQuestion: why is the sky blue\nPassage:"),
    )


def test_rendering_by_hand():
    template = prompt(
        "{topic}?\n{document}\n{passages}\n{examples}", system="About {topic}", examples=({"Q": "{topic}", "P": "b"},)
    )
    assert template.placeholders == ("topic", "document", "passages", "examples")
    assert template.needs == ("document", "passages")
    assert template.render(TOPIC, document=WHALE, passages=[WHALE, UNTITLED]) == (
        Message("system", "About why is the sky blue"),
        Message(
            "user",
            "why is the sky blue?\nWhales\nWhales are mammals.\nThey breathe air.\n"
            "[1] Whales Whales are mammals. They breathe air.\n[2] Fish have gills.\nQ: {topic}\nP: b",
        ),
    )
    two = prompt("{examples}", examples=({"Q": "a"}, {"Q": "b"}))
    assert two.render(TOPIC)[0].content == "Q: a\n\nQ: b"
    template = prompt('Reply with {"passage": "..."} or {} about {topic}')  # other braces stand for themselves
    assert template.placeholders == ("topic",)
    assert template.render(TOPIC)[0].content == 'Reply with {"passage": "..."} or {} about why is the sky blue'


@given(
    st.text() | st.sampled_from(["{document}", "{topic}", "{0}", "{", "}", "$topic", "\\1", "\\g<0>", "%s", "{{x}}"])
)
def test_what_is_filled_in_is_never_read_as_a_template(text):
    rendered = prompt("a {topic} b {document} c {passages}").render(
        Topic("1", text), document=Document("d", "", "D"), passages=[Document("e", "", "{topic}")]
    )
    assert rendered[0].content == f"a {text} b D c [1] {{topic}}"


def test_missing_context_and_unknown_placeholders_are_named():
    for name in ("document", "passages", "manner"):
        with pytest.raises(InputError, match=rf"prompt 'p' holds \{{{name}\}}, and no {name} was given for topic '7'"):
            prompt(f"{{topic}} {{{name}}}").render(TOPIC)
    with pytest.raises(InputError, match=r"unknown placeholder of prompt 'p' 'topik'") as error:
        prompt("{topik}").render(TOPIC)
    assert error.value.remedy == "topic"


def test_the_hash_is_of_what_decides_the_rendering():
    plain = prompt("{topic}")
    assert plain.sha256 == hashlib.sha256(b'[null,"{topic}",[]]').hexdigest()
    assert plain.sha256 == Prompt("other", 2, "elsewhere", "{topic}", notes="n", stop=("x",), system="").sha256
    different = [
        prompt("{topic} "),
        prompt("{topic}", system="s"),
        prompt("{topic}{examples}", examples=({"a": "1", "b": "2"},)),
        prompt("{topic}{examples}", examples=({"b": "2", "a": "1"},)),
        prompt("{topic}{examples}", examples=({"a": "1"}, {"b": "2"})),
    ]
    assert len({plain.sha256, *(other.sha256 for other in different)}) == 6


GOOD = {"id": "mine", "version": 1, "source": "me", "user": "{topic}"}


def test_a_file_of_ones_own(tmp_path):
    fields = {"user": "{topic}{examples}", "system": "s", "stop": ["\n"], "examples": [{"Q": "a"}]}
    assert load_prompt(write(tmp_path, yaml.safe_dump(GOOD | fields))) == Prompt(
        "mine", 1, "me", "{topic}{examples}", system="s", stop=("\n",), examples=({"Q": "a"},)
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"user": "{topic} {documnt}"}, "documnt"),
        ({"user": "{ topic }"}, " topic "),
        ({"system": "{0}", "user": "{topic}"}, "{0}"),
        ({"user": "write something"}, "neither {topic} nor {document}"),
        ({"user": "{topic} {examples}"}, "{examples} without examples"),
        ({"examples": [{"Query": "q"}]}, "examples that no {examples} shows"),
        ({"usr": "x"}, "usr"),
        ({"version": "one"}, "version"),
        ({"id": 3}, "id"),
        ({"stop": "x"}, "stop"),
        ({"examples": ["x"]}, "examples"),
        ({"user": None}, "user"),
        ({"user": "{document} as {manner}"}, "{manner} without manners"),
        ({"manners": ["a question"]}, "manners that no {manner} shows"),
        ({"context": {"hints": "found before"}}, "context that no {hints} shows"),
        ({"user": "{topic} {hint}", "context": {"hints": "found before"}}, "{hint}"),
        (None, "empty"),
    ],
)
def test_faults_in_a_file_name_it(tmp_path, change, complaint):
    path = write(tmp_path, yaml.safe_dump(GOOD | change) if change else "")
    with pytest.raises(InputError) as error:
        load_prompt(path)
    assert path in str(error.value)
    assert complaint in str(error.value)


def test_manners_and_further_placeholders_are_filled_by_the_caller(tmp_path):
    fields = {"user": "{manner} after {hints} and {passages}", "context": {"hints": "found before"}, "manners": ["a"]}
    template = load_prompt(write(tmp_path, yaml.safe_dump(GOOD | fields | {"system": "{topic}"})))
    assert template.needs == ("manner", "hints", "passages")
    assert template.sha256 != replace(template, manners=("another",)).sha256
    given = {"manner": "a {topic}", "passages": []}
    assert template.render(TOPIC, hints="{topic}", **given)[1].content == "a {topic} after {topic} and (none)"
    assert template.render(TOPIC, hints=" ", **given)[1].content == "a {topic} after (none) and (none)"
    with pytest.raises(InputError, match=r"holds \{hints\}, and no hints was given") as error:
        template.render(TOPIC, **given)
    assert error.value.expected == "hints: found before"


def test_prompts_are_listed_and_shown():
    listed = list_prompts(ListPromptsOptions()).splitlines()
    assert [line.split()[0] for line in listed] == names("prompts")
    assert any(line.startswith("passage-with-context ") and line.endswith("(needs passages)") for line in listed)
    shown = show_prompts(ShowPromptsOptions(["passage", "expandr-llm"]))
    assert shown.startswith("passage, version 1, sha256 ")
    assert shown.endswith("user:\nPlease write a passage to answer the question.\nQuestion: {topic}\nPassage:")
    with pytest.raises(InputError, match="no prompt is named"):
        show_prompts(ShowPromptsOptions([]))
