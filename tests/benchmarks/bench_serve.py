"""Searches a second and their latency, `expandr serve` over the demo, alone and while a slow LLM writes.

    python tests/benchmarks/bench_serve.py --rate 200 --seconds 30

Requests are sent at a fixed rate over kept connections, whether or not earlier ones are answered, and each latency
counts from the time at which its request was due.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import quote

import uvicorn

from expandr_ir.collections import load_collection
from expandr_ir.config import generator_config
from expandr_ir.generators.fakes import EchoGenerator
from expandr_ir.serve.app import create_app
from expandr_ir.serve.options import ServeOptions
from expandr_ir.serve.server import listen
from expandr_ir.serve.service import Service


class SlowEcho(EchoGenerator):
    """Echo that takes an hour, or until nobody waits for it."""

    listener = None

    def generate(self, requests):
        for generation in super().generate(requests):
            for _ in range(36_000):
                self.listener(generation.key, generation.text)
                time.sleep(0.1)
            yield generation


@contextmanager
def served():
    """The port of a server in this process whose LLM is slow."""
    service = Service(ServeOptions(generator=["echo"]), [load_collection("demo")])
    service.writers._loaded["echo"] = SlowEcho(generator_config("echo")), threading.Lock()
    service.open()
    service.start = lambda: None
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


def measure(port, rate, seconds):
    """The sorted latencies in ms, and the number of answers other than 200."""
    queries = itertools.cycle(quote(topic.text) for topic in load_collection("demo").topics().values())
    local, refused = threading.local(), []

    def ask(due, query):
        time.sleep(max(0.0, due - time.perf_counter()))
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        local.connection.request("GET", f"/v1/demo/search?hits=10&query={query}")
        answer = local.connection.getresponse()
        answer.read()
        if answer.status != 200:
            refused.append(answer.status)
        return 1000 * (time.perf_counter() - due)

    start = time.perf_counter() + 0.1
    with ThreadPoolExecutor(16) as pool:
        dues = [start + number / rate for number in range(int(rate * seconds))]
        return sorted(pool.map(ask, dues, queries)), len(refused)


def show(name, latencies, refused):
    """One line of figures."""
    p50, p99 = statistics.median(latencies), latencies[int(0.99 * len(latencies))]
    print(f"{name}: {len(latencies)} searches, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {refused} refused")


def main():
    """Prints the figures of both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    with served() as port:
        measure(port, options.rate / 4, 2)  # Java compiles what runs often
        show("alone", *measure(port, options.rate, options.seconds))
        writing = http.client.HTTPConnection("127.0.0.1", port)
        body = json.dumps({"query": f"slow {time.time()}", "expander": "query2e"})
        writing.request("POST", "/v1/expand", body, {"Content-Type": "application/json"})
        writing.getresponse().readline()
        show("while an LLM writes", *measure(port, options.rate, options.seconds))
        writing.close()


if __name__ == "__main__":
    main()
