"""A server over the demo whose LLM is echo, or a generator that a test holds back."""

from __future__ import annotations

import threading

import pytest
from starlette.testclient import TestClient

from expandr_ir.collections import load_collection
from expandr_ir.generators.fakes import EchoGenerator
from expandr_ir.serve.app import create_app
from expandr_ir.serve.options import ServeOptions
from expandr_ir.serve.service import Service


class HeldEcho(EchoGenerator):
    """Echo that tells two words at a time and then waits until it is let go."""

    listener = None

    def __init__(self, config):
        super().__init__(config)
        self.may_go, self.has_begun = threading.Event(), threading.Event()
        self.texts = 0

    def generate(self, requests):
        for generation in super().generate(requests):
            words = generation.text.split()
            for end in range(2, len(words), 2):
                if self.listener:
                    self.listener(generation.key, " ".join(words[:end]))
                self.has_begun.set()
                self.may_go.wait(20)
            self.texts += 1
            yield generation


def ready(service):
    """The service, its indexes open."""
    service.open()
    assert all(index.is_ready for index in service.indexes.values())
    return service


@pytest.fixture(scope="session")
def make_service(tmp_path_factory):
    made = []

    def make(**options):
        store = str(tmp_path_factory.mktemp("serve") / "store.sqlite")
        service = Service(ServeOptions(generator=["echo"], store=store, **options), [load_collection("demo")])
        made.append(service)
        return service

    yield make
    for service in made:
        service.close()


@pytest.fixture(scope="session")
def client(make_service):
    service = ready(make_service())
    service.start = lambda: None
    with TestClient(create_app(service), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def held(make_service):
    """Makes a service for one search and one expansion at a time, and its generator that waits."""
    generators = []

    def make(**options):
        service = ready(make_service(searches=1, expansions=1, **options))
        generators.append(HeldEcho(service.writers.generators["echo"]))
        service.writers._loaded["echo"] = generators[-1], threading.Lock()
        return service, generators[-1]

    yield make
    for generator in generators:
        generator.may_go.set()
