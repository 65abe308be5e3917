"""The api engine against real servers on loopback, and vLLM's own engine, all with a tiny random model.

`transformers serve` needs nothing but the test extra. vLLM lives in an environment of its own (its CPU build pins other
versions of torch and transformers): EXPANDR_VLLM_PYTHON names that environment's interpreter, and
`pytest -m vllm_server -s tests/integration/test_api_servers.py` runs these tests.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tiny_models import tiny_adapter, tiny_llama

from expandr_ir.blocks import load_block
from expandr_ir.config import ApiOptions, GeneratorConfig, LocalOptions, conf_path
from expandr_ir.generators import load_generator
from expandr_ir.generators.base import GeneratorChangedError
from expandr_ir.records import Decoding, GenerationRequest, Message, SampleKey, Topic

QUESTIONS = ["how long is the life cycle of a flea", "does aspirin help", "keep the last lines of a log"]
GREEDY = Decoding(temperature=0.0, max_new_tokens=24)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return tiny_adapter(tiny_llama(folder / "model"), folder / "adapter").parent


def requests(samples=1, decoding=None):
    decoding = decoding or Decoding(temperature=1.0, top_p=0.9, max_new_tokens=24)
    return [
        GenerationRequest(
            Topic(str(place), text),
            (Message("user", f"Question: {text}"),),
            tuple(SampleKey(sample, f"{place}-{sample}", 1000 * place + sample) for sample in range(samples)),
            decoding,
        )
        for place, text in enumerate(QUESTIONS)
    ]


def texts(generator, asked):
    done = {generation.key: generation for generation in generator.generate(asked)}
    assert [generation.error for generation in done.values()] == [None] * len(done)
    assert len(done) == sum(len(request.samples) for request in asked)
    return {key: whole_characters(generation.text) for key, generation in done.items()}


def whole_characters(text):
    """The text without the half of a character at its end, where max_new_tokens cut one: vLLM keeps it back."""
    return text.rstrip("\N{REPLACEMENT CHARACTER}")


def local_texts(models, asked, *, adapter=None):
    options = LocalOptions(device="cpu", dtype="float32")
    config = GeneratorConfig("local", str(models / "model"), adapter=adapter and str(adapter), local=options)
    return texts(load_generator(config), asked)


@contextmanager
def serving(command, port, log, *, patience_s, **environment):
    """Runs a server until the block ends; yields its base URL once it says that it is well."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env={**os.environ, **environment})
        try:
            deadline = time.monotonic() + patience_s
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None, log.read_text(errors="replace")[-3000:]
                    assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def transformers_serve(models, tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("serve"), free_port()
    (folder / "home" / "hub").mkdir(parents=True)
    command = [Path(sys.executable).parent / "transformers", "serve", models / "model", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
    home = {"HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    with serving(command, port, folder / "log", patience_s=120, **home) as url:
        config = load_block(GeneratorConfig, conf_path("generators", "transformers-serve"))
        yield replace(config, model=str(models / "model"), api=replace(config.api, base_url=url))


@pytest.mark.slow
def test_transformers_serve_writes_what_the_local_engine_writes(transformers_serve, models):
    assert texts(load_generator(transformers_serve), requests(decoding=GREEDY)) == local_texts(
        models, requests(decoding=GREEDY)
    )


@pytest.mark.slow
def test_transformers_serve_samples_by_seed_and_ignores_n(transformers_serve, caplog):
    first = texts(load_generator(transformers_serve), requests(samples=3))
    assert len(set(first.values())) == 9
    assert texts(load_generator(transformers_serve), requests(samples=3)) == first
    api = replace(transformers_serve.api, samples_per_request=3, max_in_flight=8)
    assert len(set(texts(load_generator(replace(transformers_serve, api=api)), requests(samples=3)).values())) == 9
    assert caplog.text.count("was asked for 3 texts and wrote 1") == 1
    stop = first["0-0"][6:8]
    decoding = Decoding(temperature=1.0, top_p=0.9, max_new_tokens=24, stop=(stop,))
    done = next(g for g in load_generator(transformers_serve).generate(requests(decoding=decoding)) if g.key == "0-0")
    assert (done.text, done.finish_reason) == (
        first["0-0"].split(stop)[0],
        "stop",
    )  # the server leaves the stop text in
    api = replace(api, extra_body={"generation_config": '{"do_sample": false}'})
    greedy = texts(load_generator(replace(transformers_serve, api=api)), requests(samples=2))
    assert greedy["0-0"] == greedy["0-1"]
    assert "the server ignores the temperature or the seed" in caplog.text


@pytest.mark.slow
def test_without_a_field_that_transformers_serve_refuses_texts_have_other_keys(transformers_serve):
    penalised = requests(decoding=Decoding(max_new_tokens=8, repetition_penalty=1.2))
    generator = load_generator(transformers_serve)
    identity = generator.id
    with pytest.raises(GeneratorChangedError, match="refuses repetition_penalty"):
        list(generator.generate(penalised))
    assert generator.id != identity
    assert len(texts(generator, penalised)) == 3


@pytest.fixture(scope="module")
def vllm_python():
    python = os.environ.get("EXPANDR_VLLM_PYTHON")
    if not python:
        pytest.skip("EXPANDR_VLLM_PYTHON is not set")
    return python


@pytest.fixture(scope="module")
def vllm_serve(vllm_python, models, tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("vllm"), free_port()
    command = [vllm_python, "-m", "vllm.entrypoints.openai.api_server", "--model", models / "model"]
    command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", "512", "--enforce-eager", "--gpu-memory-utilization", "0.2"]
    command += ["--no-enable-chunked-prefill"]  # on a CPU, splitting a seeded request's prompt kills vLLM 0.32's worker
    command += ["--generation-config", "vllm", "--enable-lora", "--lora-modules", f"aligned={models / 'adapter'}"]
    with serving(command, port, folder / "log", patience_s=280, VLLM_CPU_KVCACHE_SPACE="1") as url:
        yield GeneratorConfig("api", "tiny", api=ApiOptions(base_url=url, api_key_env=None))


@pytest.mark.vllm_server
@pytest.mark.timeout(600)
def test_vllm_answers_n_samples_by_seed(vllm_serve):
    first = texts(load_generator(vllm_serve), requests(samples=8))
    assert len(set(first.values())) == 24
    assert texts(load_generator(vllm_serve), requests(samples=8)) == first
    one_each = replace(vllm_serve, api=replace(vllm_serve.api, samples_per_request=1))
    assert texts(load_generator(one_each), requests(samples=8)) == first  # seed + i is the i-th sample's here


@pytest.mark.vllm_server
@pytest.mark.timeout(600)
@pytest.mark.parametrize("adapted", [False, True])
def test_vllm_writes_what_the_local_engine_writes(vllm_serve, models, adapted):
    config = replace(vllm_serve, model="aligned") if adapted else vllm_serve
    expected = local_texts(models, requests(decoding=GREEDY), adapter=models / "adapter" if adapted else None)
    assert texts(load_generator(config), requests(decoding=GREEDY)) == expected


@pytest.mark.vllm_server
@pytest.mark.timeout(600)
def test_vllm_s_speed_and_its_unknown_models(vllm_serve):
    started = time.monotonic()
    done = list(load_generator(vllm_serve).generate(requests(samples=64, decoding=Decoding(max_new_tokens=64))))
    seconds = time.monotonic() - started
    written = sum(generation.tokens_out for generation in done)
    print(
        f"\nvLLM server: {written} tokens of {len(done)} samples in {seconds:.2f} s: {written / seconds:.0f} tokens/s"
    )
    assert all(generation.error is None for generation in done)
    with pytest.raises(Exception, match="answered 404"):
        list(load_generator(replace(vllm_serve, model="nobody")).generate(requests()))


OFFLINE = """
import json, sys
from expandr_ir.config import GeneratorConfig, VllmOptions
from expandr_ir.generators import load_generator
from expandr_ir.records import Decoding, GenerationRequest, Message, SampleKey, Topic

def read(row):
    decoding = Decoding(**{**row["decoding"], "stop": tuple(row["decoding"]["stop"])})
    messages = tuple(Message(**message) for message in row["messages"])
    return GenerationRequest(Topic(**row["topic"]), messages, tuple(SampleKey(**s) for s in row["samples"]), decoding)

if __name__ == "__main__":
    task = json.load(open(sys.argv[1]))
    options = VllmOptions(dtype="float32", gpu_memory_utilization=0.2, enforce_eager=True, max_model_len=512)
    generator = load_generator(GeneratorConfig("vllm", task["model"], adapter=task["adapter"], vllm=options))
    asked = [[read(row) for row in rows] for rows in task["requests"]]
    answers = [{g.key: [g.text, g.error] for g in generator.generate(rows)} for rows in asked]
    generator.close()
    json.dump(answers, open(sys.argv[2], "w"))
"""


@pytest.mark.vllm_server
@pytest.mark.timeout(600)
@pytest.mark.parametrize("adapted", [False, True])
def test_vllm_offline_writes_what_the_local_engine_writes(vllm_python, models, tmp_path, adapted):
    adapter = models / "adapter" if adapted else None
    asked = [requests(decoding=GREEDY), requests(samples=3), requests(samples=3)[::-1]]
    task = {"model": str(models / "model"), "adapter": adapter and str(adapter)}
    task["requests"] = [[asdict(request) for request in rows] for rows in asked]
    (tmp_path / "task.json").write_text(json.dumps(task))
    (tmp_path / "offline.py").write_text(OFFLINE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1"}
    command = [vllm_python, tmp_path / "offline.py", tmp_path / "task.json", tmp_path / "answers.json"]
    subprocess.run(command, env=environment, check=True, timeout=500)
    greedy, sampled, reversed_order = json.loads((tmp_path / "answers.json").read_text())
    written = {key: whole_characters(text) for key, (text, _) in greedy.items()}
    assert written == local_texts(models, asked[0], adapter=adapter)
    assert len({text for text, _ in sampled.values()}) == 9
    assert reversed_order == sampled
