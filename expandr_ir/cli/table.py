"""The verbs: each is one function of one dataclass of options, imported when it is asked for."""

from __future__ import annotations

from expandr_ir.cli.verb import Verb

GROUPS = {
    "export": "expanded topics and query vectors for stock Pyserini commands",
    "store": "what LLMs wrote: ls, show, export, import, verify, forget",
    "prompts": "the prompts: ls, show",
    "train": "align the expander and train the retriever: split, preferences, ...",
}
"""Words that have verbs of their own, such as `expandr store ls`."""

VERBS: dict[str, Verb] = {
    "expand": Verb(
        "Write expansions of topics with an LLM, into a JSONL with a manifest beside it.",
        "cli.expand:expand",
        """
expandr expand --collection demo --generator echo --output expansions.jsonl
expandr expand --collection beir/scifact --prompt passage-scientific-claim --generator openai --samples 4 --dry-run
expandr expand --topics topics.tsv --generator api:my-model --generator.api.base_url http://localhost:8000/v1 \\
    --generator.decoding.temperature 0.7 --generator.decoding.seed 1 --output mine.jsonl
""",
    ),
    "search": Verb(
        "Search topics, plain or with expansions, into a TREC run with a manifest beside it.",
        "cli.search:search",
        """
expandr search --collection demo --output bm25.run
expandr search --collection beir/scifact --expansions q2d.jsonl --aggregation repeat --repeats 5 --output q2d.run
expandr search --collection beir/scifact --topics q2d.jsonl --topics-field searched --output searched.run
expandr search --collection beir/scifact --retriever dense --encoder all-MiniLM-L6-v2 --expansions q2d.jsonl \\
    --aggregation mean --output expandr.run
expandr search --collection beir/scifact --retriever hybrid --encoder contriever --expansions q2d.jsonl --output h.run
expandr search --collection irds:msmarco-passage/dev/small --index msmarco-v1-passage --output dev.run
""",
    ),
    "run": Verb(
        "A named expander end to end: prompt, generate, search, run. Every step goes on where it was broken off.",
        "cli.expand:run",
        """
expandr run --expander query2doc --collection beir/scifact --output q2d.run
expandr run --expander hyde --collection beir/scifact --encoder contriever --generator local:my-model --output hyde.run
expandr run --expander lamer --collection demo --generator echo --limit 10 --output lamer.run --dry-run
""",
    ),
    "fuse": Verb(
        "Several runs of the same topics become one.",
        "cli.search:fuse_runs",
        """
expandr fuse bm25.run dense.run --output hybrid.run
expandr fuse bm25.run dense.run --method weighted --fuse.alpha 0.3 --fuse.normalization z-score --output hybrid.run
expandr fuse bm25.run q2d.run dense.run --method exp4fuse --output exp4fuse.run
""",
        positional="runs",
    ),
    "evaluate": Verb(
        "Measures of runs over all judged topics, as trec_eval -c computes them.",
        "cli.evaluate:evaluate",
        """
expandr evaluate --collection demo bm25.run
expandr evaluate --collection beir/scifact -m nDCG@10 -m R@100 --format json bm25.run q2d.run
expandr evaluate --qrels qrels.txt -m 'P(rel=2)@10' my.run
""",
        positional="runs",
    ),
    "compare": Verb(
        "Runs against a baseline: differences, paired tests with Holm's correction, the topics helped and hurt most.",
        "cli.evaluate:compare",
        """
expandr compare --collection demo --baseline bm25.run q2d.run
expandr compare --collection beir/scifact --baseline bm25.run -m nDCG@10 -m R@100 --format latex q2d.run mugi.run
expandr compare --collection beir/scifact --baseline bm25.run --format html --output page.html q2d.run mugi.run
""",
        positional="runs",
    ),
    "regress": Verb(
        "Published and recorded figures: run what gives them, and say which still hold.",
        "regress.run:regress",
        """
expandr regress --collection demo
expandr regress --collection scifact --data beir --expansions expansions
expandr regress --list --collection scifact
expandr regress --dry-run
expandr regress --collection scifact --condition bm25-flat --data beir --commands
expandr regress --tier training
""",
        elsewhere={"generator.decoding.seed": "seed"}
        | {
            f"generator.decoding.{name}": "expandr run --expander NAME, which takes it; here, what the YAML file of "
            "a --generator says holds where the condition's expander is silent"
            for name in ("temperature", "top_p", "max_new_tokens", "stop", "repetition_penalty")
        },
    ),
    "report": Verb(
        "A folder of regressions as one self-contained page, Markdown, LaTeX or CSV.",
        "report:report",
        """
expandr report runs/regress --output report.html
expandr report runs/regress --collection scifact --output table.tex
expandr report runs/regress --format md --output docs/reproductions
expandr report runs/regress --output README.md
""",
        positional="run_dirs",
    ),
    "export topics": Verb(
        "Expanded topics as the JSON that stock Pyserini reads without loss.",
        "cli.export:export_topics",
        """
expandr export topics --collection demo --expansions expansions.jsonl --output topics.json
python -m expandr_ir.pyserini search.lucene --index INDEX --topics topics.json --batch-size 64 --output run.txt
""",
    ),
    "export encoded-queries": Verb(
        "The query vectors of topics and expansions, as stock Pyserini reads them.",
        "cli.export:export_encoded_queries",
        """
expandr export encoded-queries --collection demo --encoder all-MiniLM-L6-v2 --expansions e.jsonl --output queries
python -m expandr_ir.pyserini search.faiss --index FAISS --encoded-queries queries --topics topics.json --output run.txt
""",
    ),
    "demo": Verb(
        "The whole path on an embedded collection: questions about the Python standard library.",
        "cli.demo:demo",
        """
expandr demo
expandr demo --dense false
expandr demo --ask "keep only the last n lines of a log while reading it"
expandr demo --ask "merge two sorted lists" --generator openai
""",
    ),
    "serve": Verb(
        "Search collections with expansions from a browser, a program or an agent.",
        "serve.server:serve",
        """
expandr serve
expandr serve --collection beir/scifact --collection demo --generator smollm2 --encoder all-MiniLM-L6-v2 --port 8000
expandr serve --generator openai --expander query2doc-zs --expander hyde --host 0.0.0.0
expandr serve --collection beir/scifact --transport stdio
""",
    ),
    "doctor": Verb(
        "What is installed here, and what to type for what is missing.",
        "doctor:doctor",
        "expandr doctor\nexpandr doctor --format json",
    ),
    "cite": Verb(
        "BibTeX of the papers of methods, trainers, encoders and fusion.",
        "cli.cite:cite",
        "expandr cite hyde expandr\nexpandr cite dpo-expandr dpo bm25 rrf > papers.bib",
        positional="names",
    ),
    "completion": Verb(
        "The script by which bash, zsh or fish completes verbs, options and names.",
        "cli.completion:completion",
        """
expandr completion bash > ~/.local/share/bash-completion/completions/expandr
expandr completion zsh > ~/.expandr.zsh    # and in ~/.zshrc: source ~/.expandr.zsh
expandr completion fish > ~/.config/fish/completions/expandr.fish
""",
        positional="shells",
    ),
    "download": Verb(
        "Fetch collections and recorded expansions into a folder, checked and unpacked.",
        "regress.downloads:download",
        """
expandr download --list
expandr download beir/scifact
expandr search --collection beir/scifact --output bm25.run
expandr download 'querygym/scifact/*' --output /data
""",
        positional="names",
    ),
    "index": Verb(
        "Build a collection's Lucene index, or find it in the cache; prints its folder and statistics.",
        "retrievers.lucene.indexing:index",
        "expandr index --collection demo\nexpandr index --collection beir/scifact --fields multifield",
    ),
    "encode": Verb(
        "Encode a collection's documents, or find their vectors in the cache; prints the folder.",
        "retrievers.encode:encode",
        """
expandr encode --collection demo --encoder all-MiniLM-L6-v2
expandr encode --collection beir/scifact --encoder contriever --output vectors/scifact
expandr encode --collection beir/scifact --encoder contriever --faiss faiss/scifact --jsonl jsonl/scifact
""",
    ),
    "prompts ls": Verb(
        "The prompts, and what each needs besides the topic.", "prompts:list_prompts", "expandr prompts ls"
    ),
    "prompts show": Verb(
        "One prompt as it is written.",
        "prompts:show_prompts",
        "expandr prompts show passage\nexpandr prompts show mine.yaml",
        positional="names",
    ),
    "store ls": Verb(
        "The stored texts, counted by generator, prompt and decoding.",
        "store.archive:list_store",
        "expandr store ls\nexpandr store ls --format json",
    ),
    "store show": Verb(
        "One stored text with its prompt.",
        "store.archive:show_generations",
        "expandr store show 3fa9c2",
        positional="keys",
    ),
    "store export": Verb(
        "Everything stored as JSON lines, which `expandr store import` reads back.",
        "store.archive:export_store",
        "expandr store export --output store.jsonl.gz\nexpandr store export --model my-model --output mine.jsonl",
    ),
    "store import": Verb(
        "Add what another store exported.",
        "store.archive:import_store",
        "expandr store import store.jsonl.gz",
        positional="files",
    ),
    "store verify": Verb(
        "Check the file, recompute every key, and find what looks like a server's key.",
        "store.verify:verify_store",
        "expandr store verify\nexpandr store verify --redact",
    ),
    "store forget": Verb(
        "Remove stored texts that are no longer trusted; --dry-run first.",
        "expanders.forget:forget",
        """
expandr store forget --reason empty --reason truncated --dry-run
expandr store forget --model my-model --prompt passage@1 --before 2026-01-31
expandr store forget 3fa9c2
""",
        positional="keys",
    ),
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
