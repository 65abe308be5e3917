"""Several servers of one model: shared out, and none missed when one is gone."""

import logging
from collections import Counter

import pytest
from fake_llm_server import FakeServer, Reply
from requests_for_tests import request

from expandr_ir.config import ApiOptions, GeneratorConfig
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.generators import load_generator, retry

QUICK_S = 0.01


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_WAIT_S", QUICK_S)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def api(*urls, **options):
    return load_generator(GeneratorConfig("api", "m", api=ApiOptions(base_urls=list(urls), **options)))


def topics(number, samples=1):
    return [request(str(place), f"t{place}", samples=samples) for place in range(number)]


def answered(generations):
    """How many samples ended how; each was answered once."""
    found = list(generations)
    assert max(Counter(one.key for one in found).values()) == 1
    return Counter(one.finish_reason for one in found)


def asked(server):
    return sorted(body["messages"][-1]["content"] for body in server.bodies)


def test_requests_are_shared_out_by_their_keys():
    with FakeServer() as one, FakeServer() as other:
        assert answered(api(one.url, other.url).generate(topics(60))) == {"stop": 60}
        first = asked(one)
        assert 15 < len(first) < 45  # 60 fair coins are outside with a probability of 2e-4, and the keys are fixed
        assert len(first) + len(other.bodies) == 60
        one.bodies.clear()
        assert answered(api(one.url, other.url, max_in_flight=3).generate(topics(60))) == {"stop": 60}
        assert asked(one) == first


def test_a_server_that_dies_in_the_middle(caplog):
    with FakeServer(lambda number, _: Reply(close=number > 5)) as dying, FakeServer() as other:
        assert answered(api(dying.url, other.url, max_in_flight=2).generate(topics(60, samples=2))) == {"stop": 120}
        assert len(other.bodies) == 55
        assert len(dying.bodies) <= 5 + 2 + 2  # two failures, and what was in flight with them
    assert "its requests go to the others for 30 s" in caplog.text


def test_a_server_that_is_stopped_in_the_middle(caplog):
    with FakeServer() as other:
        stopping = FakeServer()
        with stopping:
            generations = api(stopping.url, other.url, max_in_flight=1).generate(topics(40))
            first = [next(generations) for _ in range(10)]
        assert answered([*first, *generations]) == {"stop": 40}
    assert 0 < len(stopping.bodies) < 20
    assert sum("its requests go to the others" in record.message for record in caplog.records) == 1


def test_a_server_that_hangs(caplog):
    with FakeServer(lambda *_: Reply(delay_s=60)) as hanging, FakeServer() as other:
        generator = api(hanging.url, other.url, max_in_flight=2, timeout_s=0.5)
        assert answered(generator.generate(topics(40))) == {"stop": 40}
        assert len(hanging.bodies) <= 4
        assert len(other.bodies) == 40
    assert "did not answer within 0.5 s" in caplog.text


def test_a_server_that_was_never_there():
    with FakeServer() as other, FakeServer() as gone:
        pass
    with FakeServer() as other:
        assert answered(api(gone.url, other.url).generate(topics(10))) == {"stop": 10}


def test_no_server_at_all():
    with FakeServer() as one, FakeServer() as other:
        pass
    with pytest.raises(MissingResourceError, match=r"no server at .* and .*") as error:
        list(api(one.url, other.url, max_attempts=2).generate(topics(3)))
    assert error.value.exit_code == 4


def test_a_request_that_all_servers_fail_is_recorded_as_failed():
    def behave(_, body):
        return Reply(status=500 if body["messages"][-1]["content"].endswith("t3") else 200)

    with FakeServer(behave) as one, FakeServer(behave) as other:
        done = answered(api(one.url, other.url, max_attempts=4, max_in_flight=1).generate(topics(8)))
        assert done == {"stop": 7, "error": 1}
        assert len(one.bodies) + len(other.bodies) == 7 + 4


def test_a_server_that_refuses_the_key_is_left_out_and_all_of_them_are_an_error(caplog):
    refusing = Reply(status=401, body=b'{"error": {"message": "bad key"}}')
    with FakeServer(lambda *_: refusing) as one, FakeServer() as other:
        assert answered(api(one.url, other.url, max_in_flight=1).generate(topics(20))) == {"stop": 20}
        assert len(one.bodies) == 1
    assert "the other servers are asked in its place" in caplog.text
    with (
        FakeServer(lambda *_: refusing) as one,
        FakeServer(lambda *_: refusing) as other,
        pytest.raises(MissingResourceError, match="bad key"),
    ):
        list(api(one.url, other.url).generate(topics(4)))


def test_a_busy_server_is_given_the_time_it_asks_for():
    busy = Reply(status=429, headers={"Retry-After": "60"})
    with FakeServer(lambda *_: busy) as one, FakeServer() as other:
        assert answered(api(one.url, other.url, max_in_flight=1).generate(topics(20))) == {"stop": 20}
        assert len(one.bodies) == 1


def test_bad_requests_are_not_passed_on():
    with FakeServer(lambda *_: Reply(status=400)) as one, FakeServer(lambda *_: Reply(status=400)) as other:
        assert answered(api(one.url, other.url).generate(topics(6))) == {"error": 6}
        assert len(one.bodies) + len(other.bodies) == 6


def test_urls_that_do_not_fit():
    with pytest.raises(InputError, match="http://a/v1, http://a/v1"):
        api("http://a/v1", "http://a/v1/")
    with pytest.raises(InputError, match=r"both api\.base_url and api\.base_urls"):
        api("http://a/v1", base_url="http://b/v1")
    with pytest.raises(InputError, match="'nowhere'"):
        api("http://a/v1", "nowhere")


def test_the_servers_are_no_part_of_a_key(caplog):
    caplog.set_level(logging.ERROR)
    assert api("http://a/v1", "http://b/v1").id == api("http://c/v1").id
