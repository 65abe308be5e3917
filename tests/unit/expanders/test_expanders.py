from __future__ import annotations

import pytest

from expandr_ir.config import generator_config, names
from expandr_ir.encoders import encoder_config
from expandr_ir.errors import InputError
from expandr_ir.expanders import Expander, expander_config, load_expander
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Decoding
from expandr_ir.retrievers import Hybrid, load_retriever

OWN = Decoding(temperature=0.9, top_p=0.8, max_new_tokens=7, stop=("x",), seed=3)


def test_every_named_expander_names_what_there_is():
    assert set(names("expanders")) == {
        "csqe", "exp4fuse", "expandr", "genqr", "genqr-ensemble", "hyde", "lamer", "lamer-dense", "llm-qe", "mugi",
        "qa-expand", "query2doc", "query2doc-cot", "query2doc-dense", "query2doc-zs", "query2e", "reformer",
        "reinforced-ir", "thinkqe",
    }  # fmt: skip
    for name in names("expanders"):
        expander = expander_config(name)
        assert "arXiv" in expander.source
        assert expander.notes
        generator = generator_config(expander.generator)
        prompt = expander.prompt or generator.prompt or "passage"
        prompts = [load_prompt(name) for name in (prompt, *expander.prompts.values())]
        assert any("passages" in prompt.needs for prompt in prompts) == (expander.passages is not None)
        assert (expander.method == "thinkqe") == (expander.rounds is not None)
        assert (expander.method in {"ensemble", "reformer"}) == ("manner" in prompts[0].needs)
        assert (type(load_expander(expander)) is Expander) == (expander.method == "prompt")
        assert expander.prompt_by_collection.keys() <= set(names("collections"))
        assert set(expander.prompt_by_collection.values()) <= set(names("prompts"))
        assert (expander.encoder is None) == (expander.retriever == "sparse")
        assert expander.encoder is None or encoder_config(expander.encoder).source
        assert (expander.fusion is not None) == isinstance(load_retriever(None, expander.search_options()), Hybrid)


def test_methods_without_published_figures_say_so():
    for name in ("expandr", "llm-qe", "reinforced-ir"):
        assert "nothing here can be compared with published rows" in " ".join(expander_config(name).notes.split())


@pytest.mark.parametrize(
    ("name", "samples", "wanted"),
    [
        ("hyde", 8, Decoding(0.7, 1.0, 512, ("\n\n\n",), seed=3)),
        ("query2doc", 1, Decoding(0.9, 0.8, 128, ("x",), seed=3)),
        ("lamer", 5, Decoding(0.9, 0.8, 128, ("x",), seed=3)),
        ("mugi", 5, OWN),
        ("genqr", 5, Decoding(0.7, 0.8, 256, ("x",), seed=3)),
        ("genqr-ensemble", 1, Decoding(0.92, 0.8, 256, ("x",), seed=3)),
        ("query2e", 1, Decoding(0.3, 0.8, 256, ("x",), seed=3)),
        ("qa-expand", 1, Decoding(0.7, 0.8, 256, ("x",), seed=3)),
        ("csqe", 2, Decoding(1.0, 1.0, 512, ("x",), seed=3)),
        ("reformer", 1, Decoding(0.1, 0.8, 500, ("x",), seed=3)),
        ("thinkqe", 2, Decoding(0.7, 0.8, 32768, ("x",), seed=3)),
        ("exp4fuse", 1, Decoding(0.7, 0.8, 128, ("x",), seed=3)),
        ("expandr", 1, OWN),
        ("reinforced-ir", 1, Decoding(0.0, 0.8, 300, ("x",), seed=3)),
    ],
)
def test_decoding_is_the_generators_but_for_what_the_method_says(name, samples, wanted):
    expander = expander_config(name)
    assert expander.samples == samples
    assert expander.decoding(OWN) == wanted


def searches(options):
    """The label and the aggregation of each search."""
    retriever = load_retriever(None, options)
    parts = retriever.retrievers if isinstance(retriever, Hybrid) else [retriever]
    alone = [(part.label, "none") for part in parts if options.with_topics_alone]
    return alone + [(part.label, part.aggregation) for part in parts]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hyde", [("dense", "hyde")]),
        ("query2doc", [("bm25", "repeat")]),
        ("query2doc-dense", [("dense", "concat")]),
        ("lamer", [("bm25", "interleave")]),
        ("lamer-dense", [("dense", "pairs")]),
        ("genqr", [("bm25", "append")]),
        ("csqe", [("bm25", "repeat")]),
        ("reformer", [("bm25", "expansion")]),
        ("exp4fuse", [("bm25", "none"), ("bm25", "repeat")]),
        ("reinforced-ir", [("dense", "weighted")]),
    ],
)
def test_searches(name, expected):
    assert searches(expander_config(name).search_options()) == expected


def test_expansions_are_encoded_as_the_encoder_says_but_for_what_the_method_says():
    hyde = expander_config("hyde").search_options()
    assert (hyde.expansion_role, hyde.expansion_prefix) == (None, None)
    other = expander_config("reinforced-ir").search_options(encoder="contriever")
    assert (other.expansion_role, other.expansion_prefix) == ("document", "Generate the topic about this passage: ")
    assert other.encoder == "contriever"


def test_the_collection_may_choose_the_prompt():
    hyde = expander_config("hyde")
    assert hyde.prompt_for("scifact") == "passage-scientific-claim"
    assert hyde.prompt_for("nq") is hyde.prompt_for(None) is None
    assert load_expander(hyde).prompt.id == "passage"
    assert load_expander(hyde, generator="smollm2").prompt.id == generator_config("smollm2").prompt


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "source: here\ngenerator: echo\nsamples: 2\nretriever: hybrid\nsparse_aggregation: append\n"
        "dense: {normalize_parts: true}\nwith_topics_alone: true\nfusion: rrf\nstop: []\nrepetition_penalty: 1.1\n"
    )
    mine = expander_config(str(path))
    assert searches(mine.search_options(encoder="all-MiniLM-L6-v2")) == [
        ("bm25", "none"),
        ("dense", "none"),
        ("bm25", "append"),
        ("dense", None),
    ]
    assert mine.dense.normalize_parts
    assert mine.decoding(OWN) == Decoding(0.9, 0.8, 7, (), 1.1, 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sparse_aggregation: repeta", "Try: repeat"),
        ("dense_aggregation: maen", "Try: mean"),
        ("sparse: {repeats: 0}", "repeats is 0"),
        ("dense: {expansion_weight: 2}", "expansion_weight is 2"),
        ("fusion: rff", "rff"),
        ("smaples: 3", "smaples"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, line, message):
    path = tmp_path / "mine.yaml"
    path.write_text(f"source: here\ngenerator: echo\nsamples: 2\nretriever: sparse\n{line}\n")
    with pytest.raises(InputError, match=message):
        expander_config(str(path))


def test_unknown_names_are_suggested():
    with pytest.raises(InputError, match="Try: hyde"):
        expander_config("hide")
