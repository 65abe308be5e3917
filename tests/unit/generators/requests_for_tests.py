"""Requests as the tests of all engines use them."""

from expandr_ir.records import Decoding, GenerationRequest, Message, SampleKey, Topic


def request(topic_id, text, *, samples=1, first=0, decoding=None, system=None):
    """A request whose sample keys are "TOPIC-SAMPLE" and whose seeds are 1000 x the topic's number + the sample."""
    keys = tuple(
        SampleKey(sample, f"{topic_id}-{sample}", 1000 * int(topic_id) + sample)
        for sample in range(first, first + samples)
    )
    messages = (Message("user", f"Question: {text}"),)
    if system:
        messages = (Message("system", system), *messages)
    return GenerationRequest(Topic(topic_id, text), messages, keys, decoding or Decoding(max_new_tokens=16))
