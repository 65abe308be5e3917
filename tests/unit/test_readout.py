"""The first decoder token of transformers' own T5."""

import numpy as np
import pytest
import torch
from tiny_encoders import SENTENCES, tiny_t5

from expandr_ir.config import EncodeOptions, EncoderConfig
from expandr_ir.encoders import load_encoder

EXACT = EncodeOptions(devices=["cpu"], precision="float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_t5(tmp_path_factory.mktemp("t5"))


@pytest.mark.parametrize("normalize", [True, False])
def test_it_is_the_last_hidden_state_of_the_first_decoder_token(folder, normalize):
    from transformers import AutoTokenizer, T5Model

    tokenizer, network = AutoTokenizer.from_pretrained(folder), T5Model.from_pretrained(folder).eval()
    config = EncoderConfig(
        str(folder), pooling="first-decoder-token", normalize=normalize, max_length=40, options=EXACT
    )
    found = load_encoder(config).encode_documents(SENTENCES)
    for text, vector in zip(SENTENCES, found, strict=True):
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=40)
        with torch.inference_mode():
            state = network(**inputs, decoder_input_ids=torch.zeros(1, 1, dtype=torch.long)).last_hidden_state[0, 0]
        expected = torch.nn.functional.normalize(state, dim=0) if normalize else state
        assert np.abs(vector - expected.numpy()).max() < 1e-5


def test_a_saved_one_reloads_without_remote_code(folder, tmp_path):
    config = EncoderConfig(str(folder), pooling="first-decoder-token", normalize=False, max_length=40, options=EXACT)
    ours = load_encoder(config)
    ours.model.save_pretrained(str(tmp_path))
    again = load_encoder(str(tmp_path), options=EXACT)
    assert (again.config.max_length, again.config.normalize) == (40, False)
    assert np.array_equal(again.encode_documents(SENTENCES), ours.encode_documents(SENTENCES))
    assert again.dim == 32
