"""What an expander in training writes for topics that it never saw, and how well that finds their documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from expandr_ir.clean import clean
from expandr_ir.config import EncodeOptions, GeneratorConfig, LocalOptions
from expandr_ir.errors import InputError
from expandr_ir.generators.identity import identify
from expandr_ir.generators.local import LocalGenerator
from expandr_ir.records import Decoding, GenerationRequest, Message, SampleKey, Topic
from expandr_ir.store.keys import messages_hash, sample_key, sample_seed
from expandr_ir.train.rows import TrainingRow, distinct_queries, query_hash, read_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from expandr_ir.prompts import Prompt

    Vectors: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class HeldoutOptions:
    """Topics that are held out, and how the expander is tried on them.

    Args:
        rows: training rows that nothing else trains on (a file, or a collection with `split`); None measures no
            generated text, and the gate is then the held-out preferences' margin alone.
        split: of a collection.
        topics: how many of the rows, chosen by a hash of their queries.
        samples: expansions of each topic.
        encoder: a name of conf/encoders, a YAML file, a folder or a hub id.
        encode: how it runs.
        decoding: how the expander samples; the same seeds at every evaluation.
        batch_size: samples decoded together.
        score: what the gate looks at: the mean reward, or the mean reciprocal rank.
    """

    rows: str | None = None
    split: str | None = None
    topics: int = 64
    samples: int = 2
    encoder: str = "all-MiniLM-L6-v2"
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    decoding: Decoding = field(default_factory=lambda: Decoding(max_new_tokens=160))
    batch_size: int = 32
    score: Literal["reward", "mrr"] = "reward"

    def __post_init__(self) -> None:
        for name in ("topics", "samples", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"heldout.{name} is {getattr(self, name)}", expected="1 or more")


@dataclass(frozen=True)
class Scores:
    """What the held-out topics gave.

    Args:
        reward: mean over all samples of the similarity of expansion and positive; the best positive counts, and an
            empty expansion has 0.
        mrr: mean reciprocal rank of a topic's best positive, searched with (f(q) + f(d)) / 2 among all positives and
            negatives of the held-out rows; an empty expansion leaves the topic alone.
        mrr_topic: the same of the topics alone.
        spread: mean over topics of the standard deviation of the reward among its samples; 0 for one sample.
        empty: samples that are empty once cleaned.
    """

    reward: float
    mrr: float
    mrr_topic: float
    spread: float
    empty: int


class LiveGenerator(LocalGenerator):
    """The local engine around a model that is in memory already.

    Args:
        model: a transformers model; it is put back as it was after every call of `texts`.
        tokenizer: with a chat template.
        batch_size: samples decoded together.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_size: int) -> None:
        config = GeneratorConfig(engine="local", model="in memory", local=LocalOptions(batch_size=batch_size))
        self.id = identify(config)
        self._config, self._batch_size = config, batch_size
        self._model, self._tokenizer, self._device = model, tokenizer, model.device
        self._version = "in memory"

    def texts(self, requests: Sequence[GenerationRequest]) -> dict[str, str]:
        """The raw text of every sample by its key.

        Raises:
            InputError: a prompt that does not fit the model's context.
        """
        import transformers

        own, was_training = self._model.generation_config, self._model.training
        ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
        ends = sorted({*ends, self._tokenizer.eos_token_id} - {None})
        self._model.generation_config = transformers.GenerationConfig(eos_token_id=ends, pad_token_id=ends[0])
        self._model.eval()
        try:
            written = list(self.generate(requests))
        finally:
            self._model.generation_config = own
            self._model.train(was_training)
        for one in written:
            if one.error:
                raise InputError(f"held-out topics: {one.error}", remedy="a lower heldout.decoding.max_new_tokens")
        return {one.key: one.text for one in written}


class Heldout:
    """The held-out topics with everything about them that does not change, encoded once.

    Args:
        options: which topics, and how.
        prompt: what the expander is asked.

    Raises:
        InputError: rows that do not fit, or an unknown encoder.
        MissingResourceError: rows or encoder are not there.
    """

    def __init__(self, options: HeldoutOptions, prompt: Prompt) -> None:
        from expandr_ir.encoders import load_encoder

        assert options.rows is not None
        rows, _ = distinct_queries(read_rows(options.rows, options.split))
        self.rows = sorted(rows, key=lambda row: query_hash(row.query))[: options.topics]
        if not self.rows:
            raise InputError(f"{options.rows} holds no row", expected="held-out topics with their positives")
        self.options = options
        self._encoder = load_encoder(options.encoder, options=options.encode)
        self._requests = {row.row_id: self._request(row, prompt) for row in self.rows}
        self._pool = sorted({text for row in self.rows for text in (*row.positives, *row.negatives)})
        self._topics = self._encoder.encode_queries([row.query for row in self.rows])
        self._documents = self._encoder.encode_documents(self._pool)
        place = {text: index for index, text in enumerate(self._pool)}
        self._relevant = [[place[text] for text in row.positives] for row in self.rows]

    def texts(self, model: Any, tokenizer: Any) -> list[list[str]]:
        """The cleaned expansions that a model writes, by row and sample."""
        written = LiveGenerator(model, tokenizer, self.options.batch_size).texts(list(self._requests.values()))
        return [
            [clean(written[sample.key], self._asked(row)).text for sample in self._requests[row.row_id].samples]
            for row in self.rows
        ]

    def scores(self, texts: Sequence[Sequence[str]]) -> Scores:
        """What expansions are worth, as `texts` gives them."""
        flat = [text for row in texts for text in row]
        vectors = self._encoder.encode_expansions(flat).reshape(len(self.rows), self.options.samples, -1)
        rewards, ranks = [], []
        for row, (samples, of_row) in enumerate(zip(texts, vectors, strict=True)):
            relevant = self._documents[self._relevant[row]]
            rewards.append(
                [float((relevant @ one).max()) if text else 0.0 for text, one in zip(samples, of_row, strict=True)]
            )
            ranks += [
                self._reciprocal_rank(row, (self._topics[row] + one) / 2 if text else self._topics[row])
                for text, one in zip(samples, of_row, strict=True)
            ]
        alone = [self._reciprocal_rank(row, vector) for row, vector in enumerate(self._topics)]
        return Scores(
            reward=_mean([_mean(one) for one in rewards]),
            mrr=_mean(ranks),
            mrr_topic=_mean(alone),
            spread=_mean([_deviation(one) for one in rewards]),
            empty=sum(not text for text in flat),
        )

    def _reciprocal_rank(self, row: int, vector: Vectors) -> float:
        """1 / rank of the row's best positive; a tie counts against it."""
        scores = self._documents @ vector
        best = float(scores[self._relevant[row]].max())
        others = [index for index in range(len(self._pool)) if index not in set(self._relevant[row])]
        return 1.0 / (1 + int((scores[others] >= best).sum()))

    def _request(self, row: TrainingRow, prompt: Prompt) -> GenerationRequest:
        messages = prompt.render(Topic(row.row_id, row.query))
        digest = messages_hash(messages)
        keys = [sample_key(digest, f"heldout {self.options.decoding.seed}", n) for n in range(self.options.samples)]
        samples = tuple(SampleKey(number, key, sample_seed(key)) for number, key in enumerate(keys))
        return GenerationRequest(Topic(row.row_id, row.query), messages, samples, self.options.decoding)

    def _asked(self, row: TrainingRow) -> str:
        user: Message = self._requests[row.row_id].messages[-1]
        return user.content


def gate(metrics: Mapping[str, float], scores: Scores | None, score: Literal["reward", "mrr"]) -> float:
    """What the best checkpoint is best by: the held-out score, or -1 where the held-out margin is negative.

    Margins go on growing while the texts get worse, so they only open the gate: a checkpoint that prefers the rejected
    answers on held-out preferences counts as -1. (Before training the margin is 0.) Without held-out topics the gate is
    the margin itself, or the negative loss where there are no preferences.

    Args:
        metrics: of an evaluation.
        scores: of the held-out topics, if there are any.
        score: which of them.
    """
    margin = metrics.get("eval_rewards/margins")
    if scores is None:
        return margin if margin is not None else -metrics["eval_loss"]
    if margin is not None and margin < 0:
        return -1.0
    return scores.reward if score == "reward" else scores.mrr


Evaluate: TypeAlias = Callable[[Any], Scores]
"""From the model in training to the held-out scores."""


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _deviation(values: Sequence[float]) -> float:
    middle = _mean(values)
    return float(_mean([(value - middle) ** 2 for value in values]) ** 0.5)
