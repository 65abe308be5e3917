"""A T5's first decoder token: transformers' own, and AnchorDR's tokenizer and network against the public source."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_encoders import SENTENCES, tiny_anchordr, tiny_bert, tiny_sentencepiece, tiny_t5

from expandr_ir.config import EncodeOptions, EncoderConfig
from expandr_ir.encoders import load_encoder
from expandr_ir.encoders.anchordr import FairseqT5, FairseqTokenizer, bucket, set_apart
from expandr_ir.errors import InputError

EXACT = EncodeOptions(devices=["cpu"], precision="float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_anchordr(tmp_path_factory.mktemp("anchordr"))


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("Hello, world.", "Hello , world ."),
        ("(see it).", "( see it )."),
        ("state-of-the-art...", "state-of-the-art ..."),
        ("  a \t b\n", "a b"),
        ("“quoted” – ‘so’ it’s", "\" quoted \" - ' so ' it's"),
        ("``old'' style´s", '" old " style\'s'),
        ("dogs' s ' ll ' VE-x", "dogs 's 'll 'VE -x"),
        ("...", "..."),
        ("x", "x"),
        ("", ""),
    ],
)
def test_punctuation_is_set_apart(text, apart):
    assert set_apart(text, lower=False) == apart
    assert set_apart(text, lower=True) == apart.lower()


@given(st.text(max_size=40))
def test_setting_apart_loses_no_letter(text):
    def bare(value):
        return [char for char in value if char.isalnum()]

    assert bare(set_apart(text, lower=False)) == bare(text)


def test_ids_are_the_dictionarys_from_four_on(tmp_path):
    pieces = tiny_sentencepiece(tmp_path)
    (tmp_path / "dict.txt").write_text("[MASK] 1\n" + "".join(f"{piece} 1\n" for piece in pieces), encoding="utf-8")
    tokenizer = FairseqTokenizer.of_folder(tmp_path)
    assert tokenizer.vocab_size == 4 + 1 + len(pieces) + 512
    assert [getattr(tokenizer, f"{role}_token_id") for role in ("bos", "pad", "eos", "unk")] == [0, 1, 2, 3]
    expected = tokenizer._pieces.encode("a deque !", out_type=str)
    assert tokenizer("A Deque!")["input_ids"] == [0, *(5 + pieces.index(piece) for piece in expected), 2]
    assert tokenizer.convert_ids_to_tokens(4) == "[MASK]"
    assert tokenizer.convert_tokens_to_ids("<sen000>") == 4 + 1 + len(pieces)
    assert tokenizer("漢")["input_ids"][-2:] == [3, 2]
    assert tokenizer("")["input_ids"] == [0, 2]
    assert tokenizer("  ")["input_ids"] == [0, 3, 2]
    assert tokenizer("a </s> b")["input_ids"].count(2) == 2
    assert tokenizer("a deque " * 40, truncation=True, max_length=10)["input_ids"][-1] == 2
    (tmp_path / "dict.txt").write_text("a 1\nb\n")
    with pytest.raises(InputError, match="line 2: 'b'"):
        FairseqTokenizer.of_folder(tmp_path)


def test_buckets_by_hand():
    # 32 buckets: 16 a side, 8 of them one distance each, then ceil(8 + 7 ln(d/8) / ln(127/8)), at most 15; 0 is 15
    distances = torch.tensor([0, 1, 7, 8, 9, 12, 40, 127, 500, -1, -8, -500])
    grown = [8 + math.ceil(7 * math.log(far / 8) / math.log(127 / 8)) for far in (9, 12, 40)]
    assert grown == [9, 10, 13]
    assert bucket(distances, 32).tolist() == [15, 16, 22, 23, 24, 25, 28, 30, 30, 14, 7, 0]


def reference(state, ids, heads, pad, start):
    """One text through the network, head by head, in float64."""
    weights = {name: value.double().numpy() for name, value in state.items()}

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, x):
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attend(name, x, memory, relative):
        q, k, v = linear(f"{name}.q", x), linear(f"{name}.k", memory), linear(f"{name}.v", memory)
        width = q.shape[1] // heads
        mixed = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = q[:, part] @ k[:, part].T / math.sqrt(x.shape[1] // heads)
            if relative:
                table = weights[f"{name}.relative_attention_bias.weight"]
                for row in range(len(x)):
                    for column in range(len(x)):
                        scores[row, column] += table[int(bucket(torch.tensor(column - row), len(table))), head]
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(scores / scores.sum(-1, keepdims=True) @ v[:, part])
        return linear(f"{name}.o", np.concatenate(mixed, axis=1))

    def embed(stack, tokens):
        places = [pad + 1 + place for place in range(len(tokens))]
        return norm(
            f"{stack}.first_layer_norm", weights["shared.weight"][tokens] + weights[f"{stack}.pos_embed.weight"][places]
        )

    def feed(name, x):
        return linear(f"{name}.wo", np.maximum(linear(f"{name}.wi", x), 0))

    x = embed("encoder", ids)
    for layer in range(2):
        name = f"encoder.block.{layer}.layer"
        x = norm(f"{name}.0.layer_norm", x + attend(f"{name}.0.SelfAttention", x, x, True))
        x = norm(f"{name}.1.layer_norm", x + feed(f"{name}.1.DenseReluDense", x))
    y = embed("decoder", [start])
    for layer in range(2):
        name = f"decoder.block.{layer}.layer"
        y = norm(f"{name}.0.layer_norm", y + attend(f"{name}.0.SelfAttention", y, y, False))
        y = norm(f"{name}.1.layer_norm", y + attend(f"{name}.1.EncDecAttention", y, x, False))
        y = norm(f"{name}.2.layer_norm", y + feed(f"{name}.2.DenseReluDense", y))
    return y[0]


def test_the_network_is_what_the_source_says_padded_or_not(folder):
    network = FairseqT5.of_folder(folder).eval()
    texts = [[0, 9, 12, 40, 7, 2], [0, 5, 2], [0, *range(4, 34), 2]]
    width = max(map(len, texts))
    ids = torch.tensor([text + [1] * (width - len(text)) for text in texts])
    with torch.inference_mode():
        start = torch.zeros(len(ids), 1, dtype=torch.long)
        vectors = network(ids, ids.ne(1).long(), start).last_hidden_state[:, 0].numpy()
    for text, vector in zip(texts, vectors, strict=True):
        assert np.abs(vector - reference(network.state_dict(), text, heads=4, pad=1, start=0)).max() < 1e-5


def saved_and_loaded(encoder, path):
    """The encoder from a folder that it was saved to, which has its settings and gives its vectors."""
    encoder.model.save_pretrained(str(path / "saved"))
    again = load_encoder(str(path / "saved"), options=EXACT)
    for name in ("max_length", "normalize"):
        assert getattr(again.config, name) == getattr(encoder.config, name)
    assert np.array_equal(again.encode_documents(SENTENCES), encoder.encode_documents(SENTENCES))
    return again


def test_an_encoder_of_it_saves_reloads_and_trains(folder, tmp_path):
    config = EncoderConfig(
        str(folder), pooling="first-decoder-token", normalize=True, max_length=100, options=EXACT, query_prefix="q: "
    )
    ours = load_encoder(config)
    vectors = ours.encode_documents([*SENTENCES, "a deque " * 40])
    assert ours.truncated["documents"] == 1
    alone = np.concatenate([ours.encode_documents([text]) for text in SENTENCES])
    assert np.abs(vectors[:-1] - alone).max() < 1e-5
    again = saved_and_loaded(ours, tmp_path)
    assert again.config.query_prefix == "q: "
    features = again.model.preprocess(SENTENCES)
    again.model(features)["sentence_embedding"].sum().backward()
    assert all(value.grad is not None for value in again.model.parameters())


def test_it_is_never_loaded_as_another_network(folder, tmp_path):
    with pytest.raises(InputError, match="first-decoder-token"):
        load_encoder(EncoderConfig(str(folder), pooling="mean", max_length=32))
    bert = tiny_bert(tmp_path)
    with pytest.raises(InputError):
        load_encoder(EncoderConfig(str(bert), pooling="first-decoder-token", max_length=32))


@pytest.mark.parametrize("normalize", [True, False])
def test_it_is_the_last_hidden_state_of_the_first_decoder_token(tmp_path, normalize):
    from transformers import AutoTokenizer, T5Model

    t5 = tiny_t5(tmp_path)
    tokenizer, network = AutoTokenizer.from_pretrained(t5), T5Model.from_pretrained(t5).eval()
    config = EncoderConfig(str(t5), pooling="first-decoder-token", normalize=normalize, max_length=40, options=EXACT)
    ours = load_encoder(config)
    for text, vector in zip(SENTENCES, ours.encode_documents(SENTENCES), strict=True):
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=40)
        with torch.inference_mode():
            state = network(**inputs, decoder_input_ids=torch.zeros(1, 1, dtype=torch.long)).last_hidden_state[0, 0]
        expected = torch.nn.functional.normalize(state, dim=0) if normalize else state
        assert np.abs(vector - expected.numpy()).max() < 1e-5
    saved_and_loaded(ours, tmp_path)
