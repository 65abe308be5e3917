"""The transformers engine on a random Llama of 0.3 M parameters."""

import shutil
import sys
import time
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from plain_generate import plain_generate
from requests_for_tests import request
from tiny_models import BOS, CHAT_TEMPLATE, END_OF_TURN, EOS, tiny_adapter, tiny_llama

from expandr_ir.config import GeneratorConfig, LocalOptions
from expandr_ir.errors import InputError, MissingResourceError, NotInstalledError
from expandr_ir.generators import batch_cache, chat, load_generator
from expandr_ir.generators.batch_cache import LastLogits
from expandr_ir.generators.decoding_loop import DecodingLoop
from expandr_ir.generators.replies import cut_at_stop
from expandr_ir.generators.sampling import Sampler
from expandr_ir.records import Decoding, Message
from expandr_ir.runtime import pick_dtype

QUESTIONS = ["flea", "how long is the life cycle of a flea", "aspirin " * 30, "log", "keep only the last lines"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def adapter(model, tmp_path_factory):
    return tiny_adapter(model, tmp_path_factory.mktemp("lora"))


def local(model, *, adapter=None, **options):
    options = {"dtype": "float32", "device": "cpu", **options}
    return load_generator(
        GeneratorConfig("local", str(model), adapter=adapter and str(adapter), local=LocalOptions(**options))
    )


def questions(samples=3, **decoding):
    asked = Decoding(**{"max_new_tokens": 24, **decoding})
    return [request(str(place), text, samples=samples, decoding=asked) for place, text in enumerate(QUESTIONS)]


def texts(generator, requests):
    return {generation.key: generation.text for generation in generator.generate(requests)}


def greedy(network, ids, steps, ends):
    """Greedy decoding by hand: the whole sequence again for each token."""
    ids = list(ids)
    new = []
    for _ in range(steps):
        with torch.inference_mode():
            token = network(torch.tensor([ids + new])).logits[0, -1].argmax().item()
        new.append(token)
        if token in ends:
            break
    return new


def test_a_sample_is_the_same_alone_and_in_any_batch(model):
    requests = questions()
    alone = texts(local(model, batch_size=1), requests)
    assert len(set(alone.values())) == 15
    assert texts(local(model, batch_size=15), requests) == alone
    assert texts(local(model, batch_size=4), requests[::-1]) == alone
    assert texts(local(model), requests[2:3]) == {key: alone[key] for key in ("2-0", "2-1", "2-2")}
    penalized = texts(local(model, batch_size=1), questions(repetition_penalty=1.5))
    assert texts(local(model, batch_size=15), questions(repetition_penalty=1.5)) == penalized  # padding is not seen
    assert penalized != alone
    assert texts(local(model), [request("1", "flea")])["1-0"] != texts(local(model), [request("2", "flea")])["2-0"]


@pytest.mark.parametrize("adapted", [False, True])
def test_temperature_0_is_greedy_with_an_adapter_and_without(model, adapter, adapted):
    """The checkpoint's own sampling is forgotten, and an adapter writes what its merged weights write."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    if adapted:
        network = PeftModel.from_pretrained(network, adapter).merge_and_unload()
    ends = tokenizer.convert_tokens_to_ids([EOS, END_OF_TURN])
    requests = questions(samples=1, temperature=0.0)
    generator = local(model, adapter=adapter if adapted else None)
    done = {generation.key: generation for generation in generator.generate(requests)}
    for asked in requests:
        written = greedy(network, chat.prompt_ids(tokenizer, asked.messages), 24, ends)
        assert done[asked.samples[0].key].text == tokenizer.decode(written, skip_special_tokens=True)
        assert done[asked.samples[0].key].tokens_out == len(written)
    assert (generator.id.adapter or "").startswith(f"{adapter.name}@" if adapted else "")


def test_an_adapter_that_cannot_be_used(model, adapter, tmp_path, monkeypatch):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"no adapter_model\.safetensors"):
        next(local(model, adapter=tmp_path).generate(questions()))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(NotInstalledError, match="pip install 'peft"):
        next(local(model, adapter=adapter).generate(questions()))


def test_bos_stands_once(model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = chat.prompt_ids(tokenizer, (Message("system", "be brief"), Message("user", "why")))
    bos = tokenizer.convert_tokens_to_ids(BOS)
    assert ids.count(bos) == 1
    assert ids[0] == bos
    expected = f"{BOS}<|role|>system\nbe brief{END_OF_TURN}<|role|>user\nwhy{END_OF_TURN}<|role|>assistant\n"
    assert tokenizer.decode(ids) == expected
    assert tokenizer(expected)["input_ids"].count(bos) == 2  # what encoding the templated text again would do


CLOSES = "{% if enable_thinking is defined and not enable_thinking %}</think>\n{% endif %}"
THINKING_TEMPLATE = CHAT_TEMPLATE.replace("assistant\n", f"assistant\n<think>\n{CLOSES}")


@pytest.fixture
def thinker(model, tmp_path):
    """The model with a chat template that opens a block of reasoning, as DeepSeek-R1's does."""
    template = tmp_path / "thinks.jinja"
    template.write_text(THINKING_TEMPLATE)
    return GeneratorConfig("local", str(model), local=LocalOptions(dtype="float32", chat_template=str(template)))


def test_a_prompt_that_ends_within_reasoning_needs_its_end(thinker, monkeypatch):
    written = iter(["Should I mention dogs?", "Should I?</think>Fleas jump."])
    monkeypatch.setattr(chat, "read_back", lambda *_: [next(written)])
    cut, text = load_generator(thinker).generate(questions(samples=2)[:1])
    assert (cut.text, cut.finish_reason) == ("", "error")
    assert "reasoning" in cut.error
    assert cut.tokens_out == 24  # it was paid for
    assert text.text == "Should I?</think>Fleas jump."


def test_arguments_of_the_chat_template_close_the_reasoning(thinker):
    plain = load_generator(thinker)
    assert {generation.finish_reason for generation in plain.generate(questions())} == {"error"}
    closed = load_generator(replace(thinker, chat_template_kwargs={"enable_thinking": False}))
    done = list(closed.generate(questions()))
    assert "error" not in {generation.finish_reason for generation in done}
    assert closed.id.revision != plain.id.revision
    assert done[0].tokens_in > next(plain.generate(questions()[:1])).tokens_in


def test_special_tokens_that_mark_reasoning_are_read_back(model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("[THINK]a flea[/THINK]the egg", "a log")]
    assert chat.read_back(tokenizer, [[*ids[0], tokenizer.eos_token_id], ids[1]]) == [
        "[THINK]a flea[/THINK]the egg",
        "a log",
    ]


def test_tokens_are_counted_without_the_model(model):
    generator = local(model)
    asked = questions()[0]
    expected = len(chat.prompt_ids(chat.load_tokenizer(GeneratorConfig("local", str(model))), asked.messages))
    assert generator.count_tokens(asked.messages) == expected
    assert "_model" not in vars(generator)
    assert {generation.tokens_in for generation in generator.generate([asked])} == {expected}
    generator.close()
    assert "_model" not in vars(generator)


def test_ends_lengths_and_stop_texts(model):
    generator = local(model)
    free = {generation.key: generation for generation in generator.generate(questions(samples=6))}
    assert {generation.finish_reason for generation in free.values()} == {"stop", "length"}
    for generation in free.values():
        assert generation.tokens_out == 24 or generation.finish_reason == "stop"
        assert generation.seconds > 0
        assert generation.engine_version.startswith("transformers 5")
        assert EOS not in generation.text
    longest = max(free.values(), key=lambda generation: generation.tokens_out)
    stop = longest.text[8:11]
    for generation in generator.generate(questions(samples=6, stop=(stop,))):  # each ends its own sample alone
        before = free[generation.key]
        assert generation.text == before.text.split(stop)[0]
        assert generation.tokens_out < longest.tokens_out or generation.key != longest.key
        if stop in before.text:
            assert generation.finish_reason == "stop"
            assert generation.tokens_out <= before.tokens_out
        else:
            assert (generation.finish_reason, generation.tokens_out) == (before.finish_reason, before.tokens_out)


def test_a_prompt_that_does_not_fit_is_an_error_of_its_own(model):
    long = request("9", "flea " * 600, samples=2, decoding=Decoding(max_new_tokens=24))
    done = {generation.key: generation for generation in local(model).generate([*questions(samples=1), long])}
    assert len(done) == 7
    assert {key for key, generation in done.items() if generation.error} == {"9-0", "9-1"}
    assert "do not fit the model's context of 512" in done["9-0"].error
    assert done["9-0"].tokens_in > 512


@pytest.mark.parametrize("writer", ["DecodingLoop", "WholeBatches"])
@pytest.mark.parametrize(
    "decoding",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 0.0, "repetition_penalty": 1.3},
        {"temperature": 2.0, "top_p": 1.0},
        {"temperature": 0.7, "top_p": 0.5, "repetition_penalty": 1.2, "max_new_tokens": 40},
        {"stop": ("e", " the"), "max_new_tokens": 64},
        {"max_new_tokens": 1},
    ],
)
def test_texts_are_those_of_generate(model, monkeypatch, writer, decoding):
    if writer == "WholeBatches":
        monkeypatch.setattr(batch_cache, "can_drive", lambda _: False)
    generator, asked = local(model, batch_size=4), questions(**decoding)
    done = {generation.key: generation for generation in generator.generate(asked)}
    rows = [(question, sample) for question in asked for sample in question.samples]
    prompts = [chat.prompt_ids(generator._tokenizer, question.messages) for question, _ in rows]
    seeds = [sample.seed for _, sample in rows]
    expected = plain_generate(generator._model, generator._tokenizer, prompts, seeds, asked[0].decoding)
    for (_, sample), prompt, ids in zip(rows, prompts, expected, strict=True):
        generation = done[sample.key]
        text = chat.read_back(generator._tokenizer, [ids])[0]
        assert generation.text == cut_at_stop(text, asked[0].decoding.stop)
        assert (generation.tokens_in, generation.tokens_out) == (len(prompt), len(ids))
        has_end = ids[-1] in generator._model.generation_config.eos_token_id or generation.text != text
        assert generation.finish_reason == ("stop" if has_end else "length")


def test_rows_come_as_they_end(model, monkeypatch):
    """Their seconds add up to the time that all took, and closing the iterator ends the others."""
    steps, step = [], DecodingLoop.step
    monkeypatch.setattr(DecodingLoop, "step", lambda *given: steps.append(1) or step(*given))
    generations = local(model).generate(questions(max_new_tokens=64))
    began = time.perf_counter()
    done = [next(generations)]
    assert len(steps) == done[0].tokens_out < 64
    done += generations
    assert [generation.tokens_out for generation in done] == sorted(generation.tokens_out for generation in done)
    assert 0 < sum(generation.seconds for generation in done) < time.perf_counter() - began
    steps.clear()
    generations = local(model).generate(questions(max_new_tokens=64))
    next(generations)
    generations.close()
    assert len(steps) == done[0].tokens_out


def test_threads_are_those_of_the_options_while_texts_are_written(model):
    before = torch.get_num_threads()
    generations = local(model, threads=before + 1).generate(questions())
    next(generations)
    assert torch.get_num_threads() == before + 1
    generations.close()
    assert torch.get_num_threads() == before


def test_a_listener_is_told_each_text_as_it_grows(model):
    generator, told = local(model), []
    generator.listener = lambda key, text: told.append((key, text))
    requests = questions(samples=2)[:2]
    written = texts(generator, requests)
    for key, text in written.items():
        parts = [part for name, part in told if name == key]
        assert parts[-1] == text
        assert len(parts) > 1
        assert all(later.startswith(part.rstrip("\ufffd")) for part, later in pairwise(parts))


def test_a_prompt_is_read_once_for_all_its_samples(model, monkeypatch):
    """Two places for five prompts of three samples: rows join when others end."""
    calls, call = [], LastLogits.__call__

    def count(self, rows, lengths, cache):
        calls.append((rows, sum(map(len, rows))))
        return call(self, rows, lengths, cache)

    monkeypatch.setattr(LastLogits, "__call__", count)
    done = list(local(model, batch_size=2).generate(questions()))
    prompts = {tuple(row) for rows, _ in calls for row in rows if len(row) > 1}
    assert len(prompts) == 5
    assert sum(tokens for _, tokens in calls) == sum(map(len, prompts)) + sum(g.tokens_out - 1 for g in done)


@pytest.mark.parametrize("writer", ["DecodingLoop", "WholeBatches"])
def test_a_batch_that_does_not_fit_the_memory_is_halved(model, monkeypatch, caplog, writer):
    expected = texts(local(model), questions())
    if writer == "WholeBatches":
        monkeypatch.setattr(batch_cache, "can_drive", lambda _: False)
    generator, sizes, room, pick = local(model, batch_size=8), [], 3, Sampler.pick

    def small_memory(self, logits):
        sizes.append(len(logits))
        if len(logits) > room:
            raise torch.OutOfMemoryError
        return pick(self, logits)

    monkeypatch.setattr(Sampler, "pick", small_memory)
    assert texts(generator, questions()) == expected
    assert [size for size in dict.fromkeys(sizes) if size > 1] == [8, 4, 2]
    assert "batches of 2 samples from here on" in caplog.text
    room = 0
    done = list(generator.generate(questions(samples=1)))  # an error of each sample's own
    assert [generation.error for generation in done] == ["CUDA is out of memory"] * 5


def test_a_chat_template_is_needed_or_named(model, tmp_path):
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="has no chat template") as caught:
        local(bare).count_tokens([Message("user", "why")])
    assert "local.chat_template" in caught.value.remedy
    template = tmp_path / "short.jinja"
    template.write_text("{{ messages[-1]['content'] }}!")
    named = local(bare, chat_template=str(template))
    assert named.count_tokens([Message("user", "y")]) == 2  # "y" and "!"
    assert named.id.revision != local(bare).id.revision
    with pytest.raises(MissingResourceError, match=r"none\.jinja is not there"):
        local(bare, chat_template="none.jinja")
    template.write_text("{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}x")
    with pytest.raises(InputError, match="refuses the prompt: no system here"):
        local(bare, chat_template=str(template)).count_tokens([Message("system", "be brief"), Message("user", "why")])


def test_models_that_cannot_be_used(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    with pytest.raises((MissingResourceError, InputError), match="empty can"):
        local(tmp_path / "empty").count_tokens([Message("user", "why")])
    pickled = shutil.copytree(model, tmp_path / "pickled")
    torch.save({}, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(MissingResourceError, match="safetensors"):
        next(local(pickled).generate(questions()))


def test_bfloat16_runs_and_is_taken_where_the_cpu_multiplies_in_it(model, monkeypatch):
    done = list(local(model, dtype="bfloat16").generate(questions(samples=1)))
    assert all(generation.error is None for generation in done)
    assert done[0].engine_version.endswith("bfloat16")
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda supported=supported: supported)
        assert pick_dtype("auto", torch.device("cpu")) == dtype
    assert pick_dtype("float16", torch.device("cpu")) == torch.float16
