"""How much 32 requests in flight gain over one, against a server that takes 100 ms: target 20 x.

`python tests/benchmarks/bench_api.py [REQUESTS]`; both are measured in one run, on one server in a process of its own,
and the connections are made anew for each. One request carries one sample.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from expandr_ir.config import ApiOptions, GeneratorConfig
from expandr_ir.generators import load_generator
from expandr_ir.records import Decoding, GenerationRequest, Message, SampleKey, Topic

SERVER = [sys.executable, str(Path(__file__).parents[1] / "fake_llm_server.py"), "--delay", "0.1"]


def throughput(url: str, number: int, in_flight: int) -> float:
    """Requests a second."""
    requests = [
        GenerationRequest(Topic(str(i), ""), (Message("user", f"topic {i}"),), (SampleKey(0, str(i), i),), Decoding())
        for i in range(number)
    ]
    options = ApiOptions(base_url=url, api_key_env=None, max_in_flight=in_flight)
    generator = load_generator(GeneratorConfig("api", "fake", api=options))
    started = time.perf_counter()
    assert all(generation.error is None for generation in generator.generate(requests))
    seconds = time.perf_counter() - started
    print(f"{in_flight:3d} in flight: {number} requests in {seconds:6.2f} s, {number / seconds:6.1f} a second")
    return number / seconds


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 640
    with subprocess.Popen(SERVER, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        url = server.stdout.readline().strip()
        throughput(url, 32, 32)  # imports and first connections are nobody's
        single = throughput(url, number // 16, 1)
        many = throughput(url, number, 32)
        server.terminate()
    print(f"ratio: {many / single:.1f} (32 would be perfect, 20 is the target)")


if __name__ == "__main__":
    main()
