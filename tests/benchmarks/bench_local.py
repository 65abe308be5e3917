"""Tokens per second, paired in one run: `local`, transformers' `generate`, vLLM and llama.cpp where they are installed.

    python tests/benchmarks/bench_local.py [--generator smollm2] [--topics 32] [--samples 4] [--batch 64] [--rounds 1]

All write passages for topics of the demo, with the generator's decoding and one seed a sample. `generate` gets the same
logits processors and noise, in batches of 32, longest prompts first, as `local` itself wrote until it had a loop of its
own. On a busy machine look at tokens per CPU second, with OMP_NUM_THREADS=1. llama.cpp's server (pip install xllamacpp)
computes in the GGUF file's own precision, with 16 slots.
"""

import argparse
import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch
from turns import take_turns

from expandr_ir.collections import load_collection
from expandr_ir.config import ApiOptions, LocalOptions, VllmOptions, generator_config
from expandr_ir.errors import ExpandrError
from expandr_ir.generators import load_generator
from expandr_ir.generators.gguf import find_gguf
from expandr_ir.prompts import load_prompt
from expandr_ir.records import GenerationRequest, SampleKey

sys.path.insert(0, str(Path(__file__).parents[1]))
from plain_generate import plain_generate

SLOTS = 16


def requests_of(config, topics, samples):
    prompt = load_prompt(config.prompt)
    return [
        GenerationRequest(
            topic,
            prompt.render(topic),
            tuple(SampleKey(sample, f"{topic.topic_id}-{sample}", 1000 * number + sample) for sample in range(samples)),
            config.decoding,
        )
        for number, topic in enumerate(list(load_collection("demo").topics().values())[:topics])
    ]


def ours(config):
    """How one of our engines writes: the number of tokens, and the texts by their keys."""
    generator = load_generator(config)

    def write(requests):
        generations = list(generator.generate(requests))
        assert not any(generation.error for generation in generations), generations
        return sum(generation.tokens_out for generation in generations), {g.key: g.text for g in generations}

    return write


def theirs(config):
    """The same by transformers' `generate`, with the model of a `local` generator."""
    generator = load_generator(config)

    def write(requests):
        model, tokenizer = generator._model, generator._tokenizer
        rows = [(generator._prompt_ids(request.messages), s) for request in requests for s in request.samples]
        rows.sort(key=lambda row: -len(row[0]))
        written = []
        for start in range(0, len(rows), 32):
            prompts, samples = zip(*rows[start : start + 32], strict=True)
            written += plain_generate(model, tokenizer, prompts, [s.seed for s in samples], requests[0].decoding)
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        return sum(map(len, written)), {sample.key: text for (_, sample), text in zip(rows, texts, strict=True)}

    return write


def llama_cpp(config):
    """llama.cpp's server in this process, asked by our `api` engine; None without it or without a GGUF file."""
    if find_spec("xllamacpp") is None:
        return None
    import xllamacpp

    try:
        path = find_gguf(config)
    except ExpandrError:
        return None
    options = xllamacpp.CommonParams()
    options.model.path, options.n_parallel, options.n_ctx, options.verbosity = str(path), SLOTS, SLOTS * 1024, 0
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = torch.get_num_threads()
    server = xllamacpp.Server(options)
    api = ApiOptions(
        base_url=f"{server.listening_address}/v1", api_key_env=None, max_in_flight=SLOTS, samples_per_request=1
    )
    write = ours(replace(config, engine="api", model="llama.cpp", api=api))
    return lambda requests, _=server: write(requests)  # the server lives as long


def contestants(config, arguments):
    exact = replace(config, local=LocalOptions(dtype=arguments.dtype, batch_size=arguments.batch))
    has_vllm = find_spec("vllm") is not None
    return {
        f"local, batch of {arguments.batch}": ours(exact),
        "generate, batches of 32": theirs(exact),
        "vLLM": ours(replace(config, engine="vllm", vllm=VllmOptions(dtype=arguments.dtype))) if has_vllm else None,
        f"llama.cpp, {SLOTS} slots": llama_cpp(config),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generator", default="smollm2")
    parser.add_argument("--topics", type=int, default=32)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--batch", type=int, default=LocalOptions.batch_size)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    config = generator_config(arguments.generator)
    config = replace(config, decoding=replace(config.decoding, max_new_tokens=arguments.max_new_tokens))
    requests = requests_of(config, arguments.topics, arguments.samples)
    runs = contestants(config, arguments)
    for run in filter(None, runs.values()):
        run(requests[:1])  # what is set up once
    present = {name: run for name, run in runs.items() if run}
    seconds, cpu, results = take_turns(present, arguments.rounds, requests)
    threads = os.environ.get("OMP_NUM_THREADS", f"at most {torch.get_num_threads()}")
    size = f"{arguments.topics} topics x {arguments.samples} samples, {arguments.dtype}"
    print(f"{size}, threads: {threads}; best of {arguments.rounds}")
    columns = f"{'tokens/s':>11}{'to generate':>13}{'per CPU s':>11}{'to generate':>13}"
    print(f"{'':26}{'tokens':>8}{columns}{'same texts':>12}")
    _, reference, *_ = present
    base, expected = results[reference]
    for name in runs:
        if name not in present:
            print(f"{name:26}not installed")
            continue
        tokens, texts = results[name]
        line = f"{name:26}{tokens:8d}"
        for spent in (seconds, cpu):
            rate = tokens / spent[name]
            line += f"{rate:11.1f}{f'{rate / base * spent[reference]:.2f} x':>13}"
        print(f"{line}{sum(texts[key] == expected[key] for key in expected):12d}")


if __name__ == "__main__":
    main()
