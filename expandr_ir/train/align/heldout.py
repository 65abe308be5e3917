"""The texts that an expander in training writes for held-out topics, and how well they find these topics' documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from expandr_ir.cleaning import clean
from expandr_ir.config import GeneratorConfig, LocalOptions
from expandr_ir.errors import InputError
from expandr_ir.generators.local import LocalGenerator, greedy
from expandr_ir.records import GenerationRequest, SampleKey, Topic
from expandr_ir.store.keys import messages_hash, sample_key, sample_seed
from expandr_ir.train.align.options import HeldoutOptions
from expandr_ir.train.data.rows import TrainingRow, distinct_queries, query_hash, read_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from expandr_ir.prompts import Prompt


@dataclass(frozen=True)
class Scores:
    """The figures of the held-out topics.

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
    """The local engine around a transformers model in memory, which every call of `texts` puts back as it was."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int) -> None:
        super().__init__(GeneratorConfig("local", "in memory", local=LocalOptions(batch_size=batch_size)))
        self._model, self._tokenizer, self._device, self._version = model, tokenizer, model.device, "in memory"

    def texts(self, requests: Sequence[GenerationRequest]) -> dict[str, str]:
        """The raw text of every sample by its key, "" for nothing but reasoning.

        A prompt that does not fit the model's context is an error.
        """
        model = self._model
        config, was_training = model.generation_config, model.training
        model.generation_config = greedy(config, self._tokenizer)
        model.eval()
        try:
            generations = list(self.generate(requests))
        finally:
            model.generation_config = config
            model.train(was_training)
        if error := next((g.error for g in generations if g.error and g.tokens_out is None), None):
            raise InputError(f"held-out topics: {error}", remedy="a lower heldout.decoding.max_new_tokens")
        return {generation.key: generation.text for generation in generations}


class Heldout:
    """The held-out topics with everything about them that does not change, encoded once."""

    def __init__(self, options: HeldoutOptions, prompt: Prompt) -> None:
        from expandr_ir.encoders import load_encoder

        assert options.rows is not None
        rows, _ = distinct_queries(read_rows(options.rows, options.split))
        self.rows = sorted(rows, key=lambda row: query_hash(row.query))[: options.topics]
        if not self.rows:
            raise InputError(f"{options.rows} holds no row", expected="held-out topics with their positives")
        self.options = options
        self._encoder = load_encoder(options.encoder, options=options.encode)
        self._requests = [self._request(row, prompt) for row in self.rows]
        pool = sorted({text for row in self.rows for text in (*row.positives, *row.negatives)})
        self._topics = self._encoder.encode_queries([row.query for row in self.rows])
        self._documents = self._encoder.encode_documents(pool)
        place = {text: index for index, text in enumerate(pool)}
        self._relevant = [[place[text] for text in row.positives] for row in self.rows]

    def _request(self, row: TrainingRow, prompt: Prompt) -> GenerationRequest:
        topic, decoding = Topic(row.row_id, row.query), self.options.decoding
        messages = prompt.render(topic)
        keys = [sample_key(messages_hash(messages), f"heldout {decoding.seed}", n) for n in range(self.options.samples)]
        samples = tuple(SampleKey(number, key, sample_seed(key)) for number, key in enumerate(keys))
        return GenerationRequest(topic, messages, samples, decoding)

    def texts(self, model: Any, tokenizer: Any) -> list[list[str]]:
        """The cleaned expansions that a model writes, by row and sample."""
        texts = LiveGenerator(model, tokenizer, self.options.batch_size).texts(self._requests)
        return [
            [clean(texts[sample.key], request.messages[-1].content).text for sample in request.samples]
            for request in self._requests
        ]

    def scores(self, texts: Sequence[Sequence[str]]) -> Scores:
        """The figures of expansions, as `texts` gives them."""
        flat = [text for samples in texts for text in samples]
        vectors = self._encoder.encode_expansions(flat).reshape(len(self.rows), self.options.samples, -1)
        rewards, ranks = np.zeros(vectors.shape[:2]), np.zeros(vectors.shape[:2])
        for row, samples in enumerate(texts):
            topic, relevant = self._topics[row], self._documents[self._relevant[row]]
            for sample, (text, vector) in enumerate(zip(samples, vectors[row], strict=True)):
                rewards[row, sample] = (relevant @ vector).max() if text else 0.0
                ranks[row, sample] = self._reciprocal_rank(row, (topic + vector) / 2 if text else topic)
        return Scores(
            reward=float(rewards.mean()),
            mrr=float(ranks.mean()),
            mrr_topic=float(np.mean([self._reciprocal_rank(row, topic) for row, topic in enumerate(self._topics)])),
            spread=float(rewards.std(axis=1).mean()),
            empty=flat.count(""),
        )

    def _reciprocal_rank(self, row: int, vector: NDArray[np.float32]) -> float:
        """1 / rank of the row's best positive; a tie counts against it."""
        scores, relevant = self._documents @ vector, self._relevant[row]
        return 1.0 / (1 + int((np.delete(scores, relevant) >= scores[relevant].max()).sum()))


class HeldoutScores(TrainerCallback):  # type: ignore[misc]
    """Adds eval_heldout_* and eval_gate to an evaluation's metrics; only the first process holds the topics."""

    def __init__(self, trainer: Any, heldout: Heldout | None) -> None:
        self._trainer, self._heldout = trainer, heldout

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:  # noqa: ARG002
        """Computes them in the first process and shares them, so that all processes keep the same checkpoint."""
        figures = [self._figures(metrics) if self._trainer.accelerator.is_main_process else {}]
        broadcast_object_list(figures)
        metrics.update(figures[0])
        if state.is_world_process_zero:
            self._trainer.log(figures[0])

    def _figures(self, metrics: Mapping[str, float]) -> dict[str, float]:
        heldout, accelerator = self._heldout, self._trainer.accelerator
        if heldout is None:
            return {"eval_gate": gate(metrics, None, "reward")}
        with accelerator.autocast():
            texts = heldout.texts(accelerator.unwrap_model(self._trainer.model), self._trainer.processing_class)
        scores = heldout.scores(texts)
        figures = {f"eval_heldout_{name}": value for name, value in asdict(scores).items()}
        return figures | {"eval_gate": gate(metrics, scores, heldout.options.score)}


def gate(metrics: Mapping[str, float], scores: Scores | None, score: Literal["reward", "mrr"]) -> float:
    """The figure that the best checkpoint is best by: the held-out score, or -1 where the held-out margin is negative.

    Margins go on growing while the texts get worse, so they only open the gate: a checkpoint that prefers the rejected
    answers on held-out preferences counts as -1. (Before training the margin is 0.) Without held-out topics the gate is
    the margin itself, GRPO's mean reward on held-out rows, or else the negative loss.
    """
    margin = metrics.get("eval_rewards/margins")
    if scores is None:
        figure = margin if margin is not None else metrics.get("eval_reward")
        return figure if figure is not None else -metrics["eval_loss"]
    if margin is not None and margin < 0:
        return -1.0
    return scores.reward if score == "reward" else scores.mrr
