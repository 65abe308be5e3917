from __future__ import annotations

import gzip
import json
import re
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from expandr_ir.cleaning import REASONS, Cleaned, clean
from expandr_ir.errors import InputError

P = "Statins lower cholesterol by blocking an enzyme of the liver."
PROMPT = "Write a passage.\n\nQuery: do statins help\nPassage:"
SENTENCE = "The enzyme is blocked and cholesterol falls. "


def words(text: str) -> str:
    found = re.findall(r"[^_\W]+", text)
    return "|".join(["", *found, ""])


@pytest.mark.parametrize(
    ("raw", "text", "reasons"),
    [
        (P, P, ()),
        ("", "", ()),
        (" \n\t ", "", ()),
        (f"  {P}\r\n\r\n\u2028 {P}\n", f"{P} {P}", ()),
        # encoding
        (f"\0{P}\x07", P, ("encoding",)),
        ("a\ud83db", "a b", ("encoding",)),
        ("a \ud83d\ude00 b", "a \U0001f600 b", ("encoding",)),
        ("it\x92s", "it s", ("encoding",)),
        # thinking
        (f"<think>Hmm, statins.\n\nYes.</think>\n\n{P}", P, ("thinking",)),
        (f"{P} <think>Should I say more? Passage:", P, ("thinking",)),
        (f"The template opened it.</think>{P}", P, ("thinking",)),
        (f"<THINK>a<think>b</think>c</think>{P}<thinking>d</thinking>", P, ("thinking",)),
        ("<think>only this", "", ("thinking",)),
        (f"[THINK]Should I?[/THINK]{P}<|im_end|>", P, ("thinking", "chat_tokens")),
        (f"<reasoning>Hmm.</reasoning>\n{P}", P, ("thinking",)),
        (f"◁think▷Hmm.◁/think▷{P}", P, ("thinking",)),
        (f"<|START_THINKING|>Hmm.<|END_THINKING|><|START_RESPONSE|>{P}<|END_RESPONSE|>", P,
         ("thinking", "chat_tokens")),
        (f"<seed:think>Hmm.</seed:think>{P}", P, ("thinking",)),
        (f"<|channel|>analysis<|message|>Hmm.<|end|><|start|>assistant<|channel|>final<|message|>{P}<|return|>", P,
         ("thinking", "chat_tokens")),
        ("<|channel|>analysis<|message|>We need to say", "", ("thinking",)),
        (f"analysisWe need statins.assistantfinal{P}", P, ("thinking",)),
        ("analysisWe need statins", "", ("thinking",)),
        (f"Analysis of statins: {P}", f"Analysis of statins: {P}", ()),
        # tokens of chat templates
        (f"{P}<|im_end|>\n<|im_start|>user\nAnd niacin?<|im_end|>", P, ("chat_tokens",)),
        (f"<|im_start|>assistant\n{P}<|endoftext|>", P, ("chat_tokens",)),
        (f"<|start_header_id|>assistant<|end_header_id|>\n\n{P}<|eot_id|>", P, ("chat_tokens",)),
        (f"{P}</s></s>", P, ("chat_tokens",)),
        (f"<s> {P} </s>", P, ("chat_tokens",)),
        (f"{P}<end_of_turn>\n<eos>", P, ("chat_tokens",)),
        (f"{P}<｜end▁of▁sentence｜>", P, ("chat_tokens",)),
        ("Strike a price out with <s> and </s>", "Strike a price out with <s> and </s>", ()),
        # markdown
        (f"## Statins\n\n{P}\n\n---\n", f"Statins {P}", ("markdown",)),
        ("```text\nStatins `lower` **cholesterol**, *all* of ***it***.\n```", "Statins lower cholesterol, all of it.",
         ("markdown",)),
        ("**Statins lower", "Statins lower", ("markdown",)),
        ("HLA-A*02:01, 2 * 3, C#, __init__, _x_, a**b", "HLA-A*02:01, 2 * 3, C#, __init__, _x_, a**b", ()),
        ("def f(*args, **kwargs)", "def f(args, kwargs)", ("markdown",)),
        ("- one\n- two", "- one - two", ()),
        ("***", "", ("markdown",)),
        # lead-ins
        (f"Here is a passage that answers the query:\n\n{P}", P, ("lead_in",)),
        (f"Certainly! Here's a passage about statins: {P}", P, ("lead_in",)),
        (f"Sure, here is a short passage:\n{P}", P, ("lead_in",)),
        (f"Sure! Here’s a **correct answering passage** for the question “Do statins help?”\n\n{P}", P,
         ("markdown", "lead_in")),
        (f'Of course. Based on the statement "Statins help.", here is an answer: {P}', P, ("lead_in",)),
        (f"I'd be happy to help! Below is the passage.\n{P}", P, ("lead_in",)),
        (f"**Correct Answering Passage:** {P}", P, ("markdown", "lead_in")),
        (f"Passage: {P}", P, ("lead_in",)),
        (f"### Passage\n{P}", P, ("markdown", "lead_in")),
        (f"Rewritten query: {P}", P, ("lead_in",)),
        (f"**Question:** *Do statins help?*\n\n---\n\n**Correct Answering Passage:**\n{P}", P, ("markdown", "lead_in")),
        (f'Certainly! Given the question: "Do statins help?" 1. Correct Answer: {P}', P, ("lead_in",)),
        (f"Certainly! Certainly! Passage: Answer: {P}", P, ("lead_in",)),
        ('Sure! Here are keywords for the query "do statins help" statins, liver', "statins, liver", ("lead_in",)),
        (f"Here’s how it could look:\n{P}", P, ("lead_in",)),
        (f"Sure, here is the passage you requested. {P}", P, ("lead_in",)),
        # what looks like one and is not, or has nothing after it
        ("Passage:", "Passage:", ()),
        ("Sure! Here is a passage:", "Here is a passage:", ("lead_in",)),
        ("Sure enough, statins help.", "Sure enough, statins help.", ()),
        ("Here are two facts: statins help and are cheap.", "Here are two facts: statins help and are cheap.", ()),
        ("The immune response: a cascade.", "The immune response: a cascade.", ()),
        ("Here is a list of keywords for H. pylori: urease", "Here is a list of keywords for H. pylori: urease", ()),
        (f"{P} Here is a passage: {P[:30]}", f"{P} Here is a passage: {P[:30]}", ()),
        (f"Passage: {P} Passage: more", f"{P} Passage: more", ("lead_in",)),
        ("Here are keywords for the query E. coli toxin", "Here are keywords for the query E. coli toxin", ()),
        ('The statement "statins help" is true.', 'The statement "statins help" is true.', ()),
        # quotes
        (f'"{P}"', P, ("quotes",)),
        (f"“{P}”", P, ("quotes",)),
        (f'"{P[:-1]}', P[:-1], ("quotes",)),
        ('"Statins" and "fibrates"', '"Statins" and "fibrates"', ()),
        # chatter
        (f"{P}\n\nLet me know if you need more!", P, ("chatter",)),
        (f"{P} I hope this helps! Feel free to ask for more.", P, ("chatter",)),
        ("statins, liver\nLet me know if", "statins, liver", ("chatter",)),
        (f"{P} If you'd like, I can also write a shorter one.", P, ("chatter",)),
        (f"{P} If you need surgery, ask a doctor.", f"{P} If you need surgery, ask a doctor.", ()),
        ("Let me know if you need more.", "Let me know if you need more.", ()),
        # repetition
        (SENTENCE * 9 + "The enz", f"{SENTENCE}The enz", ("repetition",)),
        (f"{P} {SENTENCE * 3}", f"{P} {SENTENCE.strip()}", ("repetition",)),
        (f"{P} {SENTENCE * 2}", f"{P} {SENTENCE * 2}".strip(), ()),
        (SENTENCE * 3, SENTENCE.strip(), ("repetition",)),
        (f"{P} {'and so on ' * 8}", f"{P} and so on", ("repetition",)),
        ("very, very, very cold", "very, very, very cold", ()),
        (f"{P} {SENTENCE * 5}Let me know if you can.", f"{P} {SENTENCE.strip()}", ("chatter", "repetition")),
        # refusals
        ("I'm sorry, but I can't help with that.", "", ("refusal",)),
        ("I cannot assist with that request. If you have another question, I am here.", "", ("refusal",)),
        ("As an AI language model, I don't have personal opinions.", "", ("refusal",)),
        ("I’m sorry. I am unable to provide this.", "", ("refusal",)),
        ("I'm sorry, but I can't give advice. Statins lower cholesterol.",
         "I'm sorry, but I can't give advice. Statins lower cholesterol.", ()),
        ("I can't help falling in love is a song by Elvis.", "I can't help falling in love is a song by Elvis.", ()),
        ("Patients who cannot help themselves need care.", "Patients who cannot help themselves need care.", ()),
        # nothing to search
        ("{}", "", ("wordless",)),
        ("...!?", "", ("wordless",)),
        # all together
        (f'<think>x</think>Sure! Here is the passage:\n\n> **"{P}"**\n\n---\nI hope this helps!', P,
         ("thinking", "markdown", "lead_in", "quotes", "chatter")),
    ],
)  # fmt: skip
def test_by_hand(raw, text, reasons):
    cleaned = clean(raw)
    assert (cleaned.text, cleaned.reasons) == (text, reasons)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (f"Do statins help? {P}", P),
        (f'"do statins help"\n{P}', P),
        (f"**Query:** Do statins help?\n**Passage:** {P}", P),
        (f"Query: do statins help\nPassage: {P}", P),
        (f"Do statins help? Do statins help? {P}", P),
        ("Do statins help everybody? No.", "Do statins help everybody? No."),
        ("Do statins help", "Do statins help"),
        ("Do statins help?", "Do statins help?"),
        ('"Do statins help" is what many ask.', '"Do statins help" is what many ask.'),
        ('"Do statins help?" is what many ask.', '"Do statins help?" is what many ask.'),
        (f"{P} Do statins help? Yes.", f"{P} Do statins help? Yes."),
    ],
)
def test_echoes_of_the_prompt(raw, text):
    assert clean(raw, PROMPT).text == text


def test_what_a_prompt_shows_may_be_said_again():
    shown = f"Passages:\n[1] {P}\n\nQuery: do statins help"
    assert clean(f"{P} They help.", shown).text == f"{P} They help."
    assert clean(f"Do statins help? {P}", shown) == Cleaned(P, ("echo",))
    assert clean(f"Do statins help? {P}").reasons == ()


def test_length_counts_words_and_leaves_clean_text():
    assert clean("one two  three four", max_words=3) == Cleaned("one two three", ("length",))
    assert clean("one two three", max_words=3).reasons == ()
    assert clean('"one two" three', max_words=2).text == "one two"
    assert clean(f"{P} Let me know if you need it, my friend.", max_words=13).text == P
    with pytest.raises(InputError, match="max_words is 0"):
        clean("one", max_words=0)


pieces = st.sampled_from(
    ["Sure! ", "Here is a passage: ", "Passage:", "Question: ", "\n", "\n# ", "**", "*", "`", "```", "---", '"', "“",
     "”", "<think>", "</think>", "[THINK]", "<|im_end|>", "<|im_start|>", "</s>", "<s>", "<|channel|>final<|message|>",
     "analysisWe", "assistantfinal", " Let me know if ",
     "I hope this helps! ", "I'm sorry, but I can't help with that.",
     "a b ", "x", ". ", ":", "\ud83d", "\ude00", "\0", "\x85", "do statins help", "_", "> ", "1. ", "{}", "é", "文",
     SENTENCE]
)  # fmt: skip
ugly = st.lists(pieces, max_size=40).map("".join) | st.text() | st.text(st.characters(categories=("Cs", "Cc", "L")))


@settings(max_examples=500)
@given(raw=ugly, prompt=st.none() | st.just(PROMPT) | st.text(max_size=20), words=st.none() | st.integers(1, 9))
@example(raw="Sure! # " * 50, prompt=None, words=None)
@example(raw="I'm sorry, but I can't help with that. Statins do.", prompt=None, words=8)
def test_cleaning_twice_is_cleaning_once(raw, prompt, words):
    once = clean(raw, prompt, words)
    assert clean(once.text, prompt, words) == Cleaned(once.text, ())
    assert list(once.reasons) == sorted(once.reasons, key=REASONS.index)
    assert once.text == " ".join(once.text.split())
    assert not re.search("[\0-\x1f\x7f-\x9f\ud800-\udfff]", once.text)
    once.text.encode("utf-8")


@given(ugly.filter(lambda raw: "think" not in raw))
def test_words_are_only_lost_at_the_ends(raw):
    """The cleaned text is one stretch of the words there were, all of them where there is no reason."""
    cleaned = clean(raw)
    assert words(cleaned.text) in words(raw)
    assert cleaned.reasons or cleaned.text == " ".join(raw.split())


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "unit",
    ["Sure! # ", "Here is a passage ", "Passage: ", 'Question: "b" ', "Question: ", '"', "“", "*", "a*", "``` ", "- ",
     "_", "<think>", "</think>", "<think>a</think>", "</s>", "<|im_end|>", "<|channel|>", "<|channel|>a", "analysisA",
     "Let me know if x ", "I hope this helps! Let me know if. ", "a",
     "ab", "\0", "\ud83d", " ", "\n", "x\n", "I'm sorry, but I can't ", "If you need a ", "do statins help. ", " #",
     "--- *** ### "],
)  # fmt: skip
def test_long_and_hostile_texts_take_linear_time(unit):
    clean((unit * 200_000)[:200_000], PROMPT)


def recorded(folder):
    for path in sorted(folder.glob("expansions/*/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                texts = row.get("texts") or [row["text"]]
                if path.name.startswith("lamer"):  # five answers, joined by the topic
                    texts = row["text"].split(f" {row['query']} ")
                for text in texts:
                    yield path.name, row["query"], text


def test_recorded_llm_texts(test_data):
    """Real texts lose words at their ends only, and those of LameR's prompt their lead-ins."""
    reasons: Counter[str] = Counter()
    certainly = total = 0
    for name, topic, text in recorded(test_data):
        cleaned = clean(text, f"Write a passage.\nQuery: {topic}")
        assert words(cleaned.text) in words(text)
        reasons.update(cleaned.reasons)
        if name.startswith("lamer"):
            total += 1
            certainly += cleaned.text.startswith(("Certainly", "Sure", "Here is", "Here’s", "Here's", "Correct"))
    assert certainly < 0.03 * total
    assert reasons["wordless"] > 90  # QA-Expand's "{}"
    assert reasons["refusal"] == reasons["length"] == 0
