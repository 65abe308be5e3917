from __future__ import annotations

import pytest

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expanders import ExpandOptions, load_expander
from expandr_ir.pyserini.lookup import Live, Lookup, text_key
from expandr_ir.records import ExpandedTopic, Expansion, Topic


def expanded(topic_id: str, text: str, *texts: str) -> ExpandedTopic:
    return ExpandedTopic(Topic(topic_id, text), tuple(map(Expansion, range(len(texts)), texts)))


FLEAS = expanded("1", "do fleas\tjump ", "Fleas leap.")


def test_texts_at_hand_and_unknown_ones():
    assert text_key(" do  fleas\n jump") == "do fleas jump"
    lookup = Lookup([FLEAS])
    assert Lookup.of(lookup) is lookup
    assert lookup.find([" do fleas jump", "do\nfleas jump"]) == ["do fleas jump"] * 2
    with pytest.raises(InputError, match=r"no expansions of the topic 'do cats'\n.*the 1 topics"):
        lookup.find(["do fleas jump", "do cats"])
    lookup = Lookup.of({"do fleas jump": ["Fleas leap.", ""]})
    assert lookup.topics["do fleas jump"] == expanded("do fleas jump", "do fleas jump", "Fleas leap.", "")
    with pytest.raises(InputError, match="one string"):
        Lookup.of({"do fleas jump": "Fleas leap."})


def test_topics_of_one_text_share_their_expansions():
    assert list(Lookup([FLEAS, expanded("2", "do fleas jump", "Fleas leap.")]).topics) == ["do fleas jump"]
    with pytest.raises(InputError, match="'1' and '2' have the same text, 'do fleas jump'"):
        Lookup([FLEAS, expanded("2", "do fleas jump", "They do.")])


def test_what_is_unknown_is_written_once():
    calls = []

    def write(texts):
        calls.append(list(texts))
        return [expanded(text, text, f"about {text}") for text in texts]

    lookup = Lookup([FLEAS], write)
    assert lookup.find(["cats", "do fleas jump", "cats "]) == ["cats", "do fleas jump", "cats"]
    assert lookup.find(["cats", "dogs"]) == ["cats", "dogs"]
    assert calls == [["cats "], ["dogs"]]


def test_plain_topics_stand_alone():
    lookup = Lookup.plain([Topic("1", "do fleas jump")])
    lookup.find(["cats"])
    assert lookup.topics == {"do fleas jump": expanded("1", "do fleas jump"), "cats": expanded("cats", "cats")}


def live(tmp_path, generator="echo:e", topics=None, **options):
    store = tmp_path / "store.sqlite"
    return Live(load_expander(generator=generator, store=store, options=ExpandOptions(**options)), topics)


def test_a_generator_writes_samples_of_any_text(tmp_path):
    write = live(tmp_path, samples=2)
    (cats,) = write(["do cats purr"])
    assert cats.topic == Topic("do cats purr", "do cats purr")
    assert len(cats.expansions) == 2
    assert "do cats purr" in cats.expansions[0].text
    assert write(["do cats purr"]) == [cats]  # the store has it
    write._expander.close()
    assert live(tmp_path, samples=2)(["do cats purr"]) == [cats]


def test_known_topics_are_expanded_together_under_their_own_ids(tmp_path):
    topics = {"42": Topic("42", "do cats purr"), "x": Topic("x", "42")}
    write = live(tmp_path, topics=topics)
    for texts, topic_ids in [
        (["unknown"], ["unknown"]), (["do  cats purr"], ["42", "x"]), (["unknown", "42"], ["unknown", "42", "x"]),
    ]:  # fmt: skip
        assert [topic.topic.topic_id for topic in write(texts)] == topic_ids


def test_a_topic_without_any_text_is_an_error(tmp_path):
    (tmp_path / "recorded.jsonl").write_text('{"topic_id": "1", "text": "Cats purr."}\n')
    recorded = GeneratorConfig("replay", str(tmp_path / "recorded.jsonl"))
    topics = {"1": Topic("1", "do cats purr")}
    assert live(tmp_path, recorded, topics)(["do cats purr"])[0].expansions[0].text == "Cats purr."
    with pytest.raises(ExpandrError, match=r"wrote nothing for 'do dogs bark': .*no sample 0"):
        live(tmp_path, recorded, topics)(["do dogs bark"])
