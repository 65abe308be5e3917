"""Whatever the model's attention, and whoever stands beside it, a row is written as `generate` writes it alone."""

from collections import deque
from functools import cache

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_generate import plain_generate
from tiny_models import tiny_tokenizer

from expandr_ir.generators import batch_cache, decoding_loop
from expandr_ir.generators.batch_cache import can_drive
from expandr_ir.generators.chat import Row
from expandr_ir.generators.decoding_loop import DecodingLoop, Endings
from expandr_ir.generators.sampling import Sampler
from expandr_ir.generators.whole_batches import WholeBatches
from expandr_ir.records import Decoding, SampleKey

CPU, ENDS, TOKENIZER = torch.device("cpu"), [1, 2], tiny_tokenizer()
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
WINDOW = {"sliding_window": 5}


def network(kind, **options):
    """A random model of two layers over the tiny tokenizer."""
    torch.manual_seed(0)
    sizes = {"vocab_size": len(TOKENIZER), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = getattr(transformers, f"{kind}Config")(**sizes, initializer_range=0.3, **options)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    model.generation_config = transformers.GenerationConfig(eos_token_id=ENDS, pad_token_id=ENDS[0])
    return model


LLAMA = network("Llama", **HEADS)
PROMPTS = [torch.randint(4, 400, (length,)).tolist() for length in (1, 2, 9, 9, 20, 33)]
DECODING = Decoding(max_new_tokens=20)


def rows_of(prompts, decoding=DECODING):
    return [Row(ids, SampleKey(0, str(place), place), decoding) for place, ids in enumerate(prompts)]


def write(writer, model, rows, size):
    """New token ids by the row's key, and the writer."""
    decoding = rows[0].decoding
    writer = writer(model, Sampler(decoding, CPU), Endings(decoding, TOKENIZER, ENDS), size)
    waiting, written = deque(sorted(rows, key=lambda row: -len(row.ids))), {}
    while waiting or writer.started:
        written |= {draft.row.sample.key: draft.ids for draft in writer.step(waiting)}
    return written


def alone(model, row):
    return plain_generate(model, TOKENIZER, [row.ids], [row.sample.seed], row.decoding)[0]


@pytest.mark.parametrize(
    ("kind", "options", "is_driven"),
    [
        ("Mistral", {**HEADS, **WINDOW}, True),  # every layer sees five tokens
        ("Gemma3Text", {**HEADS, **WINDOW, "layer_types": ["sliding_attention", "full_attention"]}, True),
        ("Bloom", {"n_head": 4, "n_layer": 2}, True),  # distances in place of positions
        ("GPT2", {"n_head": 4, "n_positions": 60}, True),
        ("Mamba", {"state_size": 4}, False),
    ],
)
def test_models_of_every_kind_of_memory(kind, options, is_driven):
    model = network(kind, **options)
    rows = rows_of([PROMPTS[place] for place in (5, 5, 2, 2, 1, 0, 4)])
    expected = {row.sample.key: alone(model, row) for row in rows}
    assert can_drive(model) is is_driven
    assert write(DecodingLoop if is_driven else WholeBatches, model, rows, 3) == expected


@cache
def alone_on_llama(place, seed):
    return alone(LLAMA, Row(PROMPTS[place], SampleKey(0, "", seed), DECODING))


@settings(max_examples=25, deadline=None)
@given(
    places=st.lists(st.integers(0, len(PROMPTS) - 1), min_size=1, max_size=8),
    size=st.integers(1, 8),
    most=st.integers(1, 20),
    prompt_tokens=st.integers(1, 100),
    cpu_tokens=st.integers(1, 400),
    columns=st.integers(1, 8),
)
def test_a_row_depends_on_no_other(places, size, most, prompt_tokens, cpu_tokens, columns):
    """Nor on the size of the batch, on the prompts that are read with its own, or on the room for columns."""
    rows = rows_of([PROMPTS[place] for place in places], Decoding(max_new_tokens=most))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding_loop, "PROMPT_TOKENS", prompt_tokens)
        patch.setattr(decoding_loop, "CPU_TOKENS", cpu_tokens)
        patch.setattr(batch_cache, "COLUMNS_AHEAD", columns)
        written = write(DecodingLoop, LLAMA, rows, size)
    assert written == {str(seed): alone_on_llama(place, seed)[:most] for seed, place in enumerate(places)}


def test_a_cpu_holds_no_more_tokens_than_its_memory(monkeypatch):
    """Prompts of 33, 20 and 9 tokens and 20 new ones: 53, 40 and 29 each; 2, 2 and 4 of them are 120 at most."""
    sizes, pick = [], Sampler.pick
    monkeypatch.setattr(Sampler, "pick", lambda self, logits: sizes.append(len(logits)) or pick(self, logits))
    monkeypatch.setattr(decoding_loop, "CPU_TOKENS", 120)
    rows = rows_of([PROMPTS[5]] * 3 + [PROMPTS[4]] * 2 + [PROMPTS[3]] * 9, Decoding(max_new_tokens=20, top_p=0.5))
    assert len(write(DecodingLoop, LLAMA, rows, 8)) == 14
    assert (sizes[0], max(sizes)) == (2, 4)


def test_prompt_tuning_is_left_to_generate():
    from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

    for kind in (PrefixTuningConfig, PromptTuningConfig):
        model = get_peft_model(network("Llama", **HEADS), kind(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
        assert not can_drive(model)
        expected = plain_generate(model, TOKENIZER, PROMPTS, range(len(PROMPTS)), DECODING)
        written = write(WholeBatches, model, rows_of(PROMPTS)[::-1], 6)
        assert written == {str(place): ids for place, ids in enumerate(expected)}
