"""The api engine against servers that answer, and some that misbehave."""

import asyncio
import json
import sys
import threading
import time
from collections import Counter

import pytest
from fake_llm_server import FakeServer, Reply, completion, without_fields
from requests_for_tests import request

from expandr_ir.config import ApiOptions, GeneratorConfig
from expandr_ir.errors import InputError, MissingResourceError, NotInstalledError, PartlyDoneError
from expandr_ir.generators import completions, load_generator
from expandr_ir.generators.api import iterate
from expandr_ir.generators.base import GeneratorChangedError
from expandr_ir.records import Decoding, Message


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(completions, "FIRST_WAIT_S", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


def api(*servers, **options):
    """The engine for one server or several, each a FakeServer or a URL."""
    urls = [server if isinstance(server, str) else server.url for server in servers]
    where = {"base_url": urls[0]} if len(urls) == 1 else {"base_urls": urls}
    return load_generator(GeneratorConfig("api", "m", api=ApiOptions(**where | options)))


def topics(number, samples=1, **more):
    return [request(str(place), f"t{place}", samples=samples, **more) for place in range(number)]


def by_key(generations):
    answers = list(generations)
    assert max(Counter(generation.key for generation in answers).values()) == 1
    return {generation.key: generation for generation in answers}


def reasons(generations):
    return Counter(generation.finish_reason for generation in by_key(generations).values())


def first(reply, then=None):
    """A server whose first answer is `reply` and every other one `then`."""
    return FakeServer(lambda number, _: reply if number == 1 else then or Reply())


def stopped():
    """A server that is no longer there."""
    with FakeServer() as server:
        return server


def test_every_sample_of_every_request_is_answered_once():
    with FakeServer() as server:
        done = by_key(api(server, samples_per_request=3).generate(topics(5, samples=4)))
    assert len(done) == 20
    assert len(server.bodies) == 10  # 3 + 1 samples each
    assert (done["2-1"].text, done["2-3"].text) == ("text t2 2001", "text t2 2003")
    assert (done["2-1"].finish_reason, done["2-1"].tokens_in, done["2-1"].tokens_out) == ("stop", 10, 5)
    assert done["2-1"].engine_version.endswith(", m")
    assert 0 < done["2-1"].seconds < 10


def test_seconds_of_all_samples_are_the_wall_time():
    with FakeServer(lambda number, _: Reply(delay_s=0.02 * (number % 5), status=500 if number == 3 else 200)) as server:
        start = time.perf_counter()
        done = by_key(api(server, max_in_flight=8, samples_per_request=2).generate(topics(24, samples=3)))
        wall = time.perf_counter() - start
    assert len(done) == 72
    assert 0.2 < sum(generation.seconds for generation in done.values()) <= wall  # 48 requests of .04 s, 8 at once


def test_no_more_than_max_in_flight():
    with FakeServer(lambda *_: Reply(delay_s=0.02)) as server:
        assert len(by_key(api(server, max_in_flight=4).generate(topics(20)))) == 20
    assert server.most_in_flight == 4


def test_a_server_that_ignores_n_is_asked_one_at_a_time(caplog):
    with FakeServer(lambda _, body: Reply(texts=(f"seed {body['seed']}",))) as server:
        generator = api(server, max_in_flight=2)
        done = by_key(generator.generate(topics(4, samples=4)))
        assert len({generation.text for generation in done.values()}) == 16  # each sample with its own seed
        assert Counter(body.get("n", 1) for body in server.bodies) == {4: 1, 1: 15}
        assert len(by_key(generator.generate(topics(1, samples=4)))) == 4
    assert {body.get("n", 1) for body in server.bodies[16:]} == {1}
    warning = f"{server.url} was asked for 4 texts and wrote 1: it is asked for one at a time from here on"
    assert caplog.messages.count(warning) == 1


def test_equal_samples_at_a_temperature_are_reported(caplog):
    with FakeServer(lambda *_: Reply(texts=("same",))) as server:
        list(api(server).generate(topics(2, samples=2)))
        assert "all samples of each prompt are equal" in caplog.text
        caplog.clear()
        list(api(server).generate(topics(2, samples=2, decoding=Decoding(temperature=0.0))))
        list(api(server).generate(topics(2, samples=1)))
    assert "equal" not in caplog.text


# Faults of one server


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=500, body=b"oops"),
        Reply(status=503, body=b'{"error": {"message": "loading"}}'),
        Reply(status=408),
        Reply(status=409),
        Reply(status=429, body=b'{"error": {"message": "slow down"}}'),
        Reply(body=b'{"choices": [{"message": {"content": "cut'),
        Reply(body=b"<html>proxy</html>", headers={"Content-Type": "text/html"}),
        Reply(body=b"{}"),
        Reply(cut=20),
        Reply(close=True),
        Reply(delay_s=30),
    ],
)
def test_a_passing_fault_is_tried_again(reply):
    with first(reply) as server:
        (done,) = api(server, timeout_s=1 if reply.delay_s else 60).generate(topics(1))
    assert (done.finish_reason, done.text) == ("stop", "text t0 0")
    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(status=500, body=b"oops"), "answered 500: oops"),
        (Reply(body=b"{}"), "is no chat completion"),
        (Reply(close=True), "connection to"),
        (Reply(delay_s=30), "did not answer within 0.5 s"),
    ],
)
def test_a_lasting_fault_is_an_error_of_its_request(reply, error):
    def behave(_, body):
        return reply if body["messages"][-1]["content"].endswith("t1") else Reply()

    with FakeServer(behave) as server:
        generator = api(server, max_attempts=3, timeout_s=0.5 if reply.delay_s else 60)
        done = by_key(generator.generate(topics(3, samples=2)))
    assert len(server.bodies) == 2 + 3
    assert {key for key, generation in done.items() if generation.error} == {"1-0", "1-1"}
    assert error in done["1-0"].error
    assert (done["1-0"].text, done["1-0"].finish_reason) == ("", "error")


def test_retry_after_is_honoured_up_to_five_minutes():
    with first(Reply(status=429, body=b"", headers={"Retry-After": "0.6"})) as server:
        assert reasons(api(server).generate(topics(1))) == {"stop": 1}
    assert server.arrived_s[1] - server.arrived_s[0] >= 0.6
    with FakeServer(lambda *_: Reply(status=429, body=b"tomorrow", headers={"Retry-After": "86400"})) as server:
        (done,) = api(server).generate(topics(1))
    assert (done.finish_reason, len(server.bodies)) == ("error", 1)
    assert done.error == f"{server.url} answered 429: tomorrow"


@pytest.mark.parametrize(
    ("status", "body", "reason", "error"),
    [
        (400, b'{"error": {"message": "too long"}}', "error", "too long"),
        (422, b'{"error": {"message": "no", "code": "content_filter"}}', "refused", "no"),
        (400, b"plain words", "error", "plain words"),
        (422, b'{"detail": "unexpected field"}', "error", "unexpected field"),
        (400, b'{"error": "short"}', "error", "short"),
        (400, b'{"object": "error", "message": "vllm"}', "error", "vllm"),
        (400, b"[1]", "error", "[1]"),
        (422, b"x" * 999, "error", "x" * 300),
        (200, None, "refused", None),
    ],
)
def test_a_bad_or_refused_request_is_not_repeated(status, body, reason, error):
    reply = Reply(status=status, body=body) if body else Reply(finish_reason="content_filter")
    with first(reply) as server:
        bad, *others = api(server, max_in_flight=1).generate(topics(3))
    assert (bad.text, bad.finish_reason) == ("", reason)
    assert bad.error == (f"{server.url} answered {status}: {error}" if error else "content filter")
    assert [generation.finish_reason for generation in others] == ["stop", "stop"]
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (401, "bad", "api_key_env"),
        (403, "bad", "api_key_env"),
        (400, "invalid_api_key", "api_key_env"),
        (402, "bad", "balance"),
        (429, "insufficient_quota", "billing"),
        (400, "Insufficient Balance", "billing"),
        (404, "bad", "/v1/models"),
        (405, "bad", "/v1/models"),
        (400, "model_not_found", "/v1/models"),
        (407, "bad", "proxy"),
    ],
)
def test_a_fault_of_all_requests_is_raised_after_the_answers(status, code, remedy):
    def behave(number, _):
        fault = json.dumps({"error": {"message": "no", "code": code}}).encode()
        return Reply() if number < 3 else Reply(status=status, body=fault)

    came = []
    with FakeServer(behave) as server, pytest.raises(MissingResourceError, match=f"answered {status}: no") as caught:
        came.extend(api(server, max_in_flight=1).generate(topics(9)))
    assert remedy in caught.value.remedy
    assert (len(came), len(server.bodies)) == (2, 3)


@pytest.mark.parametrize("servers", [1, 2])
def test_no_server_is_raised_with_its_address(servers):
    gone = [stopped().url for _ in range(servers)]
    with pytest.raises(MissingResourceError, match=f"no server at {' and '.join(gone)} after 2 attempts") as caught:
        list(api(*gone, max_attempts=2).generate(topics(40)))
    assert caught.value.exit_code == 4


def test_nothing_after_the_first_request_is_sent_to_a_server_that_refuses_all():
    no_money = Reply(status=402, body=b'{"error": {"message": "Insufficient Balance"}}')
    with FakeServer(lambda *_: no_money) as server, pytest.raises(MissingResourceError, match="answered 402"):
        list(api(server).generate(topics(40, samples=20)))
    assert len(server.bodies) == 1


def test_the_others_wait_for_the_first_answer_for_a_while_only(monkeypatch):
    monkeypatch.setattr("expandr_ir.generators.api.FIRST_ANSWER_S", 0.2)
    with FakeServer(lambda number, _: Reply(delay_s=2 if number == 1 else 0)) as server:
        generator = api(server)
        assert reasons(generator.generate(topics(5))) == {"stop": 5}
        assert server.arrived_s[1] - server.arrived_s[0] == pytest.approx(0.2, abs=0.15)
        assert server.most_in_flight > 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{}", "http://127.0.0.1:{}/api", "http://127.0.0.1:{}/v1/chat/completions"]
)
def test_an_address_without_v1_or_with_the_endpoint_is_told_so(url):
    with FakeServer(lambda *_: Reply(status=404, body=b'{"detail": "Not Found"}')) as server:
        address = url.format(server.port)
        with pytest.raises(MissingResourceError, match="answered 404: Not Found") as caught:
            list(api(address).generate(topics(1)))
    better = f"{address}/v1" if "/v1" not in address else server.url
    assert caught.value.remedy == f"--generator.api.base_url {better}"


def choices(body, *finish_reasons):
    """An answer to a request for several texts that ends each in its own way."""
    texts = completion(body, Reply())
    for choice, reason in zip(texts["choices"], finish_reasons, strict=True):
        choice["finish_reason"] = reason
    return Reply(body=json.dumps(texts).encode())


def test_a_broken_text_is_asked_again_and_its_neighbours_stay():
    def behave(number, body):
        endings = {1: ("stop", "abort", "length"), 2: ("error", "stop", "stop")}
        return choices(body, *endings.get(number, ("stop", "stop", "stop")))

    with FakeServer(behave) as server:
        done = by_key(api(server).generate(topics(1, samples=3)))
    assert [done[f"0-{sample}"].finish_reason for sample in range(3)] == ["stop", "stop", "length"]
    assert [done[f"0-{sample}"].text for sample in range(3)] == ["text t0 0", "text t0 1", "text t0 2"]
    assert len(server.bodies) == 3
    assert all(body == server.bodies[0] for body in server.bodies)  # the seed, too


def test_texts_beside_one_that_stays_broken_are_kept():
    with FakeServer(lambda _, body: choices(body, "stop", "abort", "stop")) as server:
        done = by_key(api(server, max_attempts=2).generate(topics(1, samples=3)))
    assert [done[f"0-{sample}"].finish_reason for sample in range(3)] == ["stop", "error", "stop"]
    assert "'abort'" in done["0-1"].error


# Fields that a server refuses


def test_fields_that_leave_the_text_as_it_is_are_renamed_or_emulated(caplog):
    decoding = Decoding(stop=(" t1 ",), max_new_tokens=7)
    with without_fields("max_tokens", "n", "seed", "stop") as server:
        generator = api(server)
        before = generator.id
        done = by_key(generator.generate(topics(3, samples=2, decoding=decoding)))
    assert generator.id == before
    assert [done[f"1-{sample}"].text for sample in range(2)] == ["text", "text"]
    assert Counter(generation.finish_reason for generation in done.values()) == {"stop": 6}
    assert server.bodies[-1].keys() == {"model", "messages", "temperature", "top_p", "max_completion_tokens"}
    assert server.bodies[-1]["max_completion_tokens"] == 7
    assert len(server.bodies) == 4 + 6
    warnings = [message for message in caplog.messages if " refuses " in message]
    assert len(warnings) == 4
    assert warnings[0].endswith("refuses max_tokens: it gets max_completion_tokens from here on")


def test_a_field_that_changes_the_text_changes_the_id_as_if_the_user_took_it_away(caplog):
    with without_fields("temperature", "top_p") as server:
        generator = api(server)
        for _ in range(2):
            with pytest.raises(GeneratorChangedError):
                list(generator.generate(topics(3)))
        assert reasons(generator.generate(topics(3))) == {"stop": 3}
        assert generator.id == api(server, extra_body={"temperature": None, "top_p": None}).id
    assert len([message for message in caplog.messages if " refuses " in message]) == 2


def test_a_field_that_the_user_sets_is_not_taken_away():
    with without_fields("temperature") as server:
        (done,) = api(server, extra_body={"temperature": 0.2}).generate(topics(1))
    assert "Unsupported parameter: 'temperature'" in done.error
    assert len(server.bodies) == 1


# Proxies


@pytest.mark.parametrize(
    ("proxy", "kind", "message"),
    [
        ("socks5://u:pass-7f3b@127.0.0.1:9", NotInstalledError, r"pip install 'httpx\[socks\]'"),
        ("socks://127.0.0.1:9", InputError, r"the proxy socks://127\.0\.0\.1:9 cannot be used"),
        ("http://u:pass-7f3b@127.0.0.1:9", MissingResourceError, r"through the proxy http://\*\*\*@127\.0\.0\.1:9"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch, proxy, kind, message):
    monkeypatch.setenv("ALL_PROXY", proxy)
    if proxy.startswith("socks5"):
        monkeypatch.setitem(sys.modules, "socksio", None)
    with FakeServer() as server, pytest.raises(kind, match=message) as caught:
        list(api(server, max_attempts=1).generate(topics(1)))
    assert "7f3b" not in str(caught.value)


# The budget of tokens


def test_the_budget_stops_requests_that_are_not_sent_yet():
    came = []
    with FakeServer() as server:
        generator = api(server, max_total_tokens=60, max_in_flight=1)
        with pytest.raises(PartlyDoneError, match=r"budget of 60 tokens is spent \(60 used\): 12 samples") as caught:
            came.extend(generator.generate(topics(5, samples=4)))
        with pytest.raises(PartlyDoneError, match="4 samples"):
            list(generator.generate(topics(1, samples=4)))
    assert (len(came), len(server.bodies)) == (8, 2)  # a request costs 10 + 4 x 5 tokens
    assert "max_total_tokens" in caught.value.remedy


def test_tokens_are_estimated_for_a_server_that_does_not_count():
    body = json.dumps({"choices": [{"message": {"content": "x" * 400}, "finish_reason": "stop"}]}).encode()
    with FakeServer(lambda *_: Reply(body=body)) as server, pytest.raises(PartlyDoneError, match=r"107 used\): 1 sam"):
        for generation in api(server, max_total_tokens=100, max_in_flight=1).generate(topics(2)):
            assert (generation.tokens_in, generation.tokens_out) == (None, None)
    assert api(server).count_tokens([Message("system", "x" * 40), Message("user", "y" * 7)]) == 4 + 10 + 4 + 1


# Keys and addresses


def test_only_openai_needs_a_key(monkeypatch):
    with FakeServer() as server:
        list(api(server).generate(topics(1)))
        monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
        list(api(server, api_key_env=None).generate(topics(1)))
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(MissingResourceError, match="OPENAI_API_KEY is not set") as caught:
            list(load_generator("api:gpt").generate(topics(1)))
        assert "export OPENAI_API_KEY" in caught.value.remedy
        with pytest.raises(MissingResourceError, match="api_key_env names no variable"):
            list(load_generator(GeneratorConfig("api", "gpt", api=ApiOptions(api_key_env=None))).generate(topics(1)))
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
        list(load_generator("api:m").generate(topics(1)))
    assert [headers["authorization"] for headers in server.headers] == ["Bearer none"] * 3


@pytest.mark.parametrize(
    ("urls", "options", "message"),
    [
        (["localhost:8000/v1"], {}, r"api\.base_url"),
        (["ftp://h/v1"], {}, r"api\.base_url"),
        *(([url], {}, r"api\.base_url") for url in ("http:///v1", "http://[a", "http://a:b/v1", "http://a:99999/v1")),
        (["http://a/v1", "http://a/v1/"], {}, "http://a/v1 and http://a/v1"),
        (["http://a/v1", "http://c/v1"], {"base_url": "http://b/v1"}, r"both api\.base_url and api\.base_urls"),
        (["http://a/v1", "nowhere"], {}, "'nowhere'"),
    ],
)
def test_unusable_addresses(urls, options, message):
    with pytest.raises(InputError, match=message):
        api(*urls, **options)


def test_extra_fields_are_part_of_the_identity_and_addresses_are_not():
    with FakeServer() as server:
        plain, more = api(server), api(server, extra_body={"top_k": 5})
        list(more.generate(topics(1)))
    assert plain.id == api("http://a/v1", "http://b/v1").id
    assert plain.id.revision is None
    assert more.id.revision
    assert server.bodies[0]["top_k"] == 5


# Several servers of one model


def test_requests_are_shared_out_by_their_keys():
    def questions(server):
        return sorted(body["messages"][-1]["content"] for body in server.bodies)

    with FakeServer() as one, FakeServer() as other:
        assert reasons(api(one, other).generate(topics(60))) == {"stop": 60}
        before = questions(one)
        assert 15 < len(before) < 45  # 60 fair coins are outside with a probability of 2e-4, and the keys are fixed
        assert len(before) + len(other.bodies) == 60
        one.bodies.clear()
        assert reasons(api(one, other, max_in_flight=3).generate(topics(60))) == {"stop": 60}
        assert questions(one) == before


@pytest.mark.parametrize(
    "behaviour",
    [
        lambda number, _: Reply(close=number > 5),
        lambda *_: Reply(delay_s=60),
        lambda *_: Reply(status=429, headers={"Retry-After": "600"}),
        None,
    ],
    ids=["dies", "hangs", "is busy", "is gone"],
)
def test_a_failed_request_goes_to_the_next_server_at_once(behaviour):
    with FakeServer(behaviour) as bad, FakeServer() as other:
        addresses = bad if behaviour else stopped(), other
        assert reasons(api(*addresses, timeout_s=1).generate(topics(40, samples=2))) == {"stop": 80}
        assert len(other.bodies) > 30


def test_a_request_that_all_servers_fail_is_recorded_as_failed():
    def behave(_, body):
        return Reply(status=500 if body["messages"][-1]["content"].endswith("t3") else 200)

    with FakeServer(behave) as one, FakeServer(behave) as other:
        assert reasons(api(one, other, max_attempts=4).generate(topics(8))) == {"stop": 7, "error": 1}
        assert len(one.bodies) + len(other.bodies) == 7 + 4


# A coroutine's items as a plain iterator


def test_closing_early_cancels_requests_in_flight():
    with FakeServer(lambda number, _: Reply(delay_s=0 if number == 1 else 30)) as server:
        generations = api(server).generate(topics(50))
        next(generations)
        started = time.monotonic()
        generations.close()
        assert time.monotonic() - started < 5
        assert not any(thread.name == "expandr-generator" for thread in threading.enumerate())
    assert len(server.bodies) < 50


def test_a_running_event_loop_is_no_hindrance():
    async def cell():
        with FakeServer() as server:
            return list(api(server).generate(topics(3)))

    assert len(asyncio.run(cell())) == 3


def test_items_come_as_they_are_emitted_and_the_error_after_them():
    async def fails(emit):
        for number in range(3):
            await asyncio.sleep(0)
            emit(number)
        raise ValueError("no more")

    items = iterate(fails)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="no more"):
        next(items)


def test_an_iterator_that_is_closed_early_cancels_and_cleans_up():
    ended = []

    async def endless(emit):
        emit(await asyncio.to_thread(threading.get_ident))  # threads of the executor end too
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    before = threading.active_count()
    items = iterate(endless)
    assert next(items) != threading.get_ident()
    items.close()
    assert ended == [True]
    assert threading.active_count() == before
