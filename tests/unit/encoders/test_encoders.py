"""Encoders: what is put before a text, how long it may be, what is counted, what names the vectors."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from tiny_encoders import SENTENCES, sentence_transformers_folder, tiny_bert

from expandr_ir.config import EncodeOptions, EncoderConfig, names
from expandr_ir.encoders import encoder_config, load_encoder
from expandr_ir.errors import InputError
from expandr_ir.records import Document

EXACT = EncodeOptions(devices=["cpu"], precision="float32")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def config(bert, **changes):
    plain = EncoderConfig(str(bert), pooling="mean", normalize=True, max_length=48, options=EXACT)
    return dataclasses.replace(plain, **changes)


@pytest.fixture(scope="module")
def encoder(bert):
    return load_encoder(config(bert))


def test_every_named_encoder_reads_and_says_where_its_facts_stand():
    known = names("encoders")
    assert {"all-MiniLM-L6-v2", "contriever", "bge-base-en-v1.5", "anchordr", "expandr-retriever"} <= set(known)
    for name in known:
        read = encoder_config(name)
        assert all([read.pooling, read.max_length, read.licence, read.source])
        assert read.normalize == (read.similarity == "cosine")
        assert None not in {read.query_prefix, read.document_prefix}


def test_names_that_are_none_are_suggested_and_a_hub_id_is_taken():
    bge = encoder_config("bge-base-en-v1.5")
    assert bge.query_prefix == "Represent this sentence for searching relevant passages: "
    assert bge.query_prefix_exceptions == {"quora": "", "arguana": ""}
    assert encoder_config("intfloat/e5-base-v2") == EncoderConfig("intfloat/e5-base-v2")
    with pytest.raises(InputError, match="contriever"):
        encoder_config("contreiver")


def test_the_collection_chooses_the_query_prefix(bert):
    prefixed = config(bert, query_prefix="find: ", query_prefix_exceptions={"quora": ""})
    assert load_encoder(prefixed, collection="scifact").config.query_prefix == "find: "
    assert load_encoder(prefixed, collection="quora").config.query_prefix == ""


ABC, TITLED = ["abc"], [Document("1", "Title", "text")]


@pytest.mark.parametrize(
    ("changes", "role", "given", "text"),
    [
        ({"query_prefix": "q: ", "query_max_length": 8}, "queries", ABC, "q: abc"),
        ({"document_prefix": "d: "}, "documents", ABC, "d: abc"),
        ({"document_prefix": "d: "}, "documents", TITLED, "d: Title text"),
        ({"document_prefix": "d: "}, "documents", [Document("1", "", "text")], "d: text"),
        ({"document_prefix": "d: "}, "expansions", ABC, "d: abc"),
        ({"query_prefix": "q: ", "expansion_role": "query"}, "expansions", ABC, "q: abc"),
        ({"document_prefix": "d: ", "expansion_prefix": "Topic of: "}, "expansions", ABC, "Topic of: abc"),
        (
            {"document_template": "Title: {title} Text: {text}"}, "documents", [Document("1", "{text}", "b")],
            "Title: {text} Text: b",
        ),
    ],
)  # fmt: skip
def test_what_is_put_before_a_text(bert, encoder, changes, role, given, text):
    vectors = getattr(load_encoder(config(bert, **changes)), f"encode_{role}")(given)
    assert np.array_equal(vectors, encoder.encode_documents([text]))


def test_what_cannot_be_encoded_is_an_error(encoder):
    with pytest.raises(InputError, match="text 1: half a surrogate pair"):
        encoder.encode_expansions(["a", "\ud83d"])


def test_truncated_and_empty_texts_are_counted_by_kind(bert):
    # letters are tokens: 46 of them and [CLS], [SEP] fill 48 places; queries have 10
    counting = load_encoder(config(bert, query_max_length=10))
    counting.encode_documents(["a" * 46, "a" * 47, "", "  "])
    counting.encode_queries(["abcdefgh", "abcdefghi"])
    counting.encode_expansions(["a" * 80])
    assert counting.encoded == {"documents": 4, "queries": 2, "expansions": 1}
    assert counting.truncated == {"documents": 1, "queries": 1, "expansions": 1}
    assert counting.empty["documents"] == 2
    assert np.array_equal(counting.encode_queries(["abcdefghi"]), counting.encode_queries(["abcdefgh"]))


def test_vectors_are_float32_of_length_one_and_none_is_an_empty_array(encoder):
    vectors = encoder.encode_documents(SENTENCES)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(SENTENCES), encoder.dim) == (5, 32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert encoder.encode_queries([]).shape == (0, 32)


@limits(max_examples=25, deadline=None)
@given(st.lists(st.text(alphabet="ab ,é漢", max_size=70), min_size=1, max_size=12), st.sampled_from([16, 100, 5_000]))
def test_a_vector_depends_on_its_own_text_alone(encoder, texts, budget):
    encoder.forward.batch_tokens = budget
    together = encoder.encode_documents(texts)
    alone = np.concatenate([encoder.encode_documents([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5


def test_bfloat16_stays_close_and_is_part_of_the_identity(bert, encoder):
    half = load_encoder(config(bert, options=EncodeOptions(devices=["cpu"], precision="bfloat16")))
    cosines = (half.encode_documents(SENTENCES) * encoder.encode_documents(SENTENCES)).sum(axis=1)
    assert cosines.min() > 0.999
    assert half.identity() != encoder.identity()


def test_the_identity_is_what_corpus_vectors_depend_on(bert, encoder, tmp_path):
    def identity(**changes):
        return load_encoder(config(bert, **changes)).identity()

    same = encoder.identity()
    assert identity() == same
    assert identity(query_prefix="q: ", query_max_length=8, expansion_role="query", notes="x") == same
    for change in ({"pooling": "cls"}, {"normalize": False}, {"document_prefix": "d: "}, {"max_length": 47}):
        assert identity(**change) != same
    assert load_encoder(config(tiny_bert(tmp_path, seed=1))).identity() != same


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("cls", False)])
def test_a_folder_of_sentence_transformers_is_taken_as_it_says(bert, tmp_path, pooling, normalize):
    from sentence_transformers import SentenceTransformer

    prompts = {"query": "query: ", "document": "passage: "}
    folder = sentence_transformers_folder(
        tmp_path, bert, pooling=pooling, normalize=normalize, prompts=prompts, similarity_fn_name="dot"
    )
    ours, theirs = load_encoder(str(folder), options=EXACT), SentenceTransformer(str(folder), device="cpu")
    assert (ours.config.max_length, ours.config.normalize, ours.config.similarity) == (48, normalize, "dot")
    assert np.abs(ours.encode_queries(SENTENCES) - theirs.encode_query(SENTENCES)).max() < 1e-5
    assert np.abs(ours.encode_documents(SENTENCES) - theirs.encode_document(SENTENCES)).max() < 1e-5


def test_cosine_similarity_means_normalised_vectors_and_what_is_saved_stands_alone(bert, tmp_path):
    folder = sentence_transformers_folder(tmp_path, bert, pooling="mean", normalize=False, similarity_fn_name="cosine")
    assert load_encoder(str(folder)).config.normalize
    ours = load_encoder(config(bert, pooling="cls", query_prefix="q: ", document_prefix="d: ", similarity="cosine"))
    ours.model.save_pretrained(str(tmp_path / "saved"))
    again = load_encoder(str(tmp_path / "saved"), options=EXACT)
    assert (again.config.similarity, again.config.max_length) == ("cosine", 48)
    assert np.array_equal(again.encode_queries(SENTENCES), ours.encode_queries(SENTENCES))
    assert np.array_equal(again.encode_documents(SENTENCES), ours.encode_documents(SENTENCES))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": None}, r"modules\.json"),
        ({"max_length": 65}, "at most 64"),
        ({"similarity": "cosine", "normalize": False}, "normalize: false"),
        ({"document_template": "{titel}"}, "document_template: unknown placeholder '{titel}'"),
        ({"options": EncodeOptions(devices=["tpu9"])}, "tpu9"),
    ],
)
def test_configurations_that_do_not_fit(bert, changes, message):
    with pytest.raises(InputError, match=message):
        load_encoder(config(bert, **changes))


def test_remote_code_is_refused_unless_it_is_trusted(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "remote")
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="trust_remote_code: true"):
        load_encoder(config(folder))


@pytest.mark.slow
def test_several_processes_give_the_same_vectors(bert, encoder):
    pooled = load_encoder(config(bert, options=EncodeOptions(devices=["cpu", "cpu"], precision="float32")))
    texts = [f"{sentence} {number}" for number in range(40) for sentence in SENTENCES]
    vectors = pooled.encode_documents([*texts, "a" * 100])
    assert np.abs(vectors[:-1] - encoder.encode_documents(texts)).max() < 1e-5
    assert pooled.truncated["documents"] >= 1
    assert pooled.encode_queries([]).shape == (0, 32)
    pooled.close()


class Doubled:
    """An encoder of another package: a factory from a configuration."""

    def __init__(self, config):
        self.config, self.dim = config, 2


def test_an_installed_package_adds_an_encoder(monkeypatch):
    from importlib.metadata import EntryPoint

    point = EntryPoint("doubled", f"{__name__}:Doubled", "expandr_ir.encoders")
    monkeypatch.setattr("expandr_ir.registry.entry_points", lambda group: [point] if group == point.group else [])
    assert encoder_config("doubled") == EncoderConfig("doubled", engine="doubled")
    assert load_encoder("doubled", options=EXACT).config.options == EXACT
    assert load_encoder(EncoderConfig("any-model", engine="doubled")).dim == 2
    with pytest.raises(InputError, match="unknown encoder 'dubled'"):
        load_encoder(EncoderConfig("any-model", engine="dubled"))
    with pytest.raises(InputError, match="Try: doubled"):
        encoder_config("doubld")
