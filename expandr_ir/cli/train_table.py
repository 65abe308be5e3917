"""The verbs of `expandr train`."""

from __future__ import annotations

from expandr_ir.cli.verb import Verb

TRAIN_VERBS: dict[str, Verb] = {
    "train split": Verb(
        "Cut training rows into parts by their queries: for the expander, for the retriever, to hold out.",
        "train.data.split:split",
        """
expandr train split --rows rows.jsonl.gz --output split dpo=.5 retriever=.4 dev=.1
expandr train split --rows beir/scifact --split train --output split dpo=.5 retriever=.5
expandr train split --rows echo/nq.jsonl --rows echo/squad.jsonl --seed 7 --output split dpo=.12 retriever=.8 dev=.08
""",
        positional="parts",
    ),
    "train mine": Verb(
        "Hard negatives of a collection's topics as training rows; what was killed goes on.",
        "train.data.mine:mine",
        """
expandr train mine --collection beir/scifact --output rows.jsonl
expandr train mine --collection beir/scifact --sources dense --encoder contriever --output rows.jsonl
expandr train mine --collection beir/scifact --sources bm25 --sources dense --encoder contriever --output rows.jsonl
""",
    ),
    "train synthesize": Verb(
        "Queries from a corpus: an LLM, or the documents' own words, ask for documents; a collection of the fit ones.",
        "train.data.synthesize:synthesize",
        """
expandr train synthesize --corpus corpus.jsonl --generator openai --prompts synthetic-web --output synthetic
expandr train synthesize --corpus beir/scifact --generator vllm-server --prompts synthetic-claim --quality \\
    --queries 2 --output synthetic
expandr train synthesize --corpus beir/scifact --without-llm --documents 2000 --queries 2 --output synthetic
""",
    ),
    "train rounds": Verb(
        "Align the expander and train the retriever in turns, every step resumable, every round measured on dev.",
        "train.rounds.run:rounds",
        """
expandr train rounds --config rounds-reinforced-ir --corpus corpus.jsonl --output rounds --dry-run
expandr train rounds --config rounds-expandr --collection beir/scifact --output rounds
expandr train rounds --config rounds-small --corpus beir/scifact --generator local:MODEL --output rounds
""",
    ),
    "train sft": Verb(
        "Warm an LLM up: it learns to write each query's positive.",
        "train.align.sft:train_sft",
        """
expandr train sft --config sft --model Qwen/Qwen2.5-0.5B-Instruct --rows rows/train.jsonl --output warm
expandr train sft --config sft --model Qwen/Qwen2.5-0.5B-Instruct --rows beir/scifact --dev-share .1 --output warm
""",
    ),
    "train dpo": Verb(
        "Align an LLM by DPO: it learns to write what was chosen, and not what was rejected.",
        "train.align.dpo:train_dpo",
        """
expandr train dpo --config dpo-expandr --model meta-llama/Meta-Llama-3-8B-Instruct --preferences prefs --output aligned
expandr train dpo --config dpo-expandr --model small --preferences prefs --dpo.learning_rate 1e-3 --lora.r 16 \\
    --dpo.loss_type '["sigmoid", "sft"]' --heldout.rows rows/heldout.jsonl --output aligned
accelerate launch --config_file conf/accelerate/zero2.yaml -m expandr_ir train dpo --config dpo-expandr ...
""",
    ),
    "train grpo": Verb(
        "Align an LLM by GRPO: it learns from rewards, such as a search's, of the texts that it writes itself.",
        "train.align.grpo:train_grpo",
        """
expandr train grpo --config grpo-opqe --model Qwen/Qwen2.5-3B-Instruct --rows beir/scifact \\
    --corpus.collection beir/scifact --output aligned
expandr train grpo --config grpo-small --model small --rows rows.jsonl --corpus.collection beir/scifact --output aligned
expandr train grpo --config grpo-small --model small --rows beir/scifact --encoder all-MiniLM-L6-v2 \\
    --rewards '{"search": 1, "retriever": 0.2}' --corpus.collection beir/scifact --output aligned
""",
    ),
    "train merge": Verb(
        "Merge an adapter into its base: a whole model, with tokenizer, generation configuration and model card.",
        "train.align.merge:merge",
        """
expandr train merge --adapter aligned --output merged
expandr train merge --adapter aligned --output merged --push-to-hub me/my-expander --private
expandr expand --collection beir/scifact --generator local:merged --output expansions.jsonl
""",
    ),
    "train trajectory": Verb(
        "Hold the losses and gradient norms of a tiny model's training against a recorded reference.",
        "train.align.trajectory:check_trajectories",
        """
expandr train trajectory dpo-tiny
expandr train trajectory dpo-tiny --way 2x4 --output /tmp/trajectory
expandr train trajectory dpo-tiny --way 1x8 --record
""",
        positional="names",
    ),
    "train preferences": Verb(
        "Candidates, rewards, and pairs of a chosen and a rejected expansion, for DPO; a broken run goes on.",
        "train.align.preferences:preferences",
        """
expandr train preferences --config preferences-expandr --rows split/dpo.jsonl --queries 30000 --output preferences
expandr train preferences --rows split/dpo.jsonl --generator local:my-model --encoder all-MiniLM-L6-v2 \\
    --temperatures 1.0 --samples 8 --threshold quantile:.25 --output preferences
expandr train preferences --rows beir/scifact --generator echo --encoder all-MiniLM-L6-v2 --output tried --dry-run
expandr train preferences --rows beir/scifact --generator local:my-model --rewards '{"corpus": 1}' --threshold none \\
    --corpus.collection beir/scifact --output preferences
""",
        elsewhere={
            "generator.decoding.temperature": "temperatures",
            **{f"generator.decoding.{name}": name for name in ("top_p", "max_new_tokens", "repetition_penalty")},
        },
    ),
    "train order": Verb(
        "An LLM orders each row's positive and hard negatives, for the listwise objective of `train retriever`.",
        "train.align.order:order",
        """
expandr train order --rows rows.jsonl --generator vllm-server --output ordered.jsonl
expandr train order --rows rows.jsonl --generator local:my-model --negatives 7 --max-words 60 --output ordered.jsonl
""",
        elsewhere={"generator.decoding.temperature": "nothing: passages are ordered at temperature 0"},
    ),
    "train retriever": Verb(
        "Train an encoder to read expansions; what was killed goes on from its last checkpoint.",
        "train.retriever.train:train_retriever",
        """
expandr train retriever --config retriever-expandr --data.rows rows.jsonl --data.expansions q2d.jsonl --output DIR
expandr train retriever --config retriever-llm-qe --encoder all-MiniLM-L6-v2 --data.rows ROWS ... --output DIR
expandr train retriever --config retriever-expandr ... --dev.share .1 --dev.patience 3 --output DIR
expandr train retriever --config retriever-expandr ... --cached --training.per_device_train_batch_size 1024 --output DIR
torchrun --nproc-per-node 2 -m expandr_ir train retriever --config retriever-expandr ... --output DIR
""",
    ),
}
