"""Rounds with verbs that only pretend: the plan, the state, what is resumed, when it ends."""

import errno
import json
from pathlib import Path

import pytest
import yaml

from expandr_ir.config import names
from expandr_ir.errors import InputError
from expandr_ir.io.manifest import write_manifest
from expandr_ir.records import Decoding
from expandr_ir.train.rounds import run as running
from expandr_ir.train.rounds.config import RoundsOptions, block_options
from expandr_ir.train.rounds.plan import plan
from expandr_ir.train.rounds.run import StepFailedError, rounds

SMALL = {"corpus": "corpus.jsonl", "generator": "local:llm", "encoder": "all-MiniLM-L6-v2", "output": "out"}
TOKENS = Decoding().max_new_tokens


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Hundreds of manifests and states: without looking up versions, and without waiting for the disk."""
    monkeypatch.setattr("expandr_ir.io.manifest.installed_versions", dict)
    monkeypatch.setattr("expandr_ir.io.files.os.fsync", lambda _: None)


class Killed(BaseException):
    """What stands for kill -9: nothing of ours runs after it."""


class Verbs:
    """Runs commands by writing what their verbs would write; counts them.

    Args:
        pairs: preferences of each round; 0 fails as the verb does.
        fail: verb -> exit code and lines, once.
        kill: the number of the command, from 1, in which everything ends, and when: "before" it has written, "between"
            its output and the manifest, or "after" both.
    """

    def __init__(self, pairs=(), fail=None, kill=(0, "")):
        self.ran = []
        self.pairs, self.fail, self.kill = list(pairs), dict(fail or {}), kill

    def __call__(self, argv, folder):
        assert folder.is_dir()
        verb = [word for word in argv[3 : argv.index("--config")] if not word.startswith("/")]
        verb = "-".join(word for word in verb if word != "train")
        options = yaml.safe_load(Path(argv[-1]).read_text())
        self.ran.append((verb, options))
        self.die("before")
        result = self.fail.pop(verb) if verb in self.fail else self.write(verb, options)
        self.die("after")
        return result

    def die(self, moment):
        if self.kill == (len(self.ran), moment):
            raise Killed

    @property
    def names(self):
        return [verb for verb, _ in self.ran]

    def options(self, verb):
        """The options of each run of a verb."""
        return [options for name, options in self.ran if name == verb]

    def write(self, verb, options):
        pairs = (self.pairs.pop(0) if self.pairs else 50) if verb == "preferences" else None
        if pairs == 0:
            fault = "expandr: none of the 9 queries gives a preference: {'equal_rewards': 9}"
            return 2, [fault, "Expected: at least one"]
        weights = "model.safetensors" if options.get("lora", {}) is None else "adapter_model.safetensors"
        rewards = {"start": {"heldout_reward": 0.2}, "best": {"heldout_reward": 0.3, "rewards/accuracies": 0.75}}
        counts = {"preferences": pairs, "generated": 30, "stored": 10}
        expanded = {"generated": 7, "stored": 0, "failed": 0, "refused": 0}
        file, manifest = {
            "preferences": ("preferences.jsonl", {"counts": counts, "tokens": {"in": 400, "out": 800}}),
            "dpo": (weights, {"details": rewards}),
            "merge": ("model.safetensors", {}),
            "retriever": ("", {}),
            "synthesize": ("queries.jsonl", {"counts": {"topics_train": 60, "topics_dev": 7}}),
            "search": (None, {"tokens": {"in": 7, "out": 70}}),
            "expand": (None, {"counts": expanded, "tokens": {"in": 7, "out": 70}}),
        }.get(verb, (None, {}))
        output = Path(options["output"])
        if file is not None:
            output.mkdir(parents=True, exist_ok=True)
        if verb == "preferences":
            means = {name: {"mean": value} for name, value in (("all", 0.5), ("chosen", 0.9), ("rejected", 0.1))}
            summary = {"rewards": means, "queries": 60, "dropped": {"equal_rewards": 60 - pairs}}
            (output / "summary.json").write_text(json.dumps(summary | {"words": {"chosen_longer": 0.5}}))
        output = output / (file or "")
        if not output.is_dir():
            output.write_text(verb)
        self.die("between")
        write_manifest(output, **manifest)
        return 0, []


def scores(*hybrid):
    """A measure with one watched figure for each round, from before the first on."""

    def measure(step, target, split, name):
        assert (split, name) == ("dev", "nDCG@10")
        figures = dict.fromkeys(step.runs, 0.25) | {"hybrid+expansions": hybrid[step.round]}
        target.write_text(json.dumps({"scores": figures}))

    return measure


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs rounds with verbs that pretend, in tmp_path/out."""

    def run_rounds(verbs, measure=None, folder=tmp_path, **more):
        monkeypatch.setattr(running, "run_child", verbs)
        monkeypatch.setattr(running, "write_scores", measure or scores(0.1, 0.2, 0.3))
        return rounds(RoundsOptions(**(SMALL | {"output": str(folder / "out")} | more)))

    return run_rounds


def report(folder):
    """The data of the report."""
    return json.loads((folder / "out/rounds.json").read_text())


ROUND_1 = ["preferences", "dpo", "merge", "expand", "mine", "retriever"]
MEASURED = ["expand", "search", "search", "search", "fuse", "fuse"]


def test_every_step_in_reinforced_irs_order(run, tmp_path):
    verbs = Verbs()
    run(verbs, listwise={"negatives": 3})
    in_round = [*ROUND_1[:5], "order", "retriever", *MEASURED]
    assert verbs.names == ["synthesize", "expand", *["search"] * 4, "fuse", "fuse", *in_round, *in_round]
    assert report(tmp_path)["stopped"] is None
    out = tmp_path / "out"
    assert sorted(path.name for path in (out / "round-1").iterdir()) == [
        "01-preferences", "02-dpo", "03-merge", "04-expand", "05-mine", "06-order", "07-retriever", "08-measure",
    ]  # fmt: skip
    collection, retriever = str(out / "round-0/01-synthesize/collection"), str(out / "round-1/07-retriever/retriever-1")
    first, second = verbs.options("preferences")
    assert (first["rows"], first["split"]) == ([collection], "train")
    assert (first["encoder"], second["encoder"]) == ("all-MiniLM-L6-v2", retriever)
    assert (first["generator"], second["generator"]) == ("local:llm", str(out / "round-1/03-merge/generator.yaml"))
    dpo = verbs.options("dpo")[1]
    assert dpo["model"] == str(out / "round-1/03-merge/expander-1")
    assert dpo["heldout"] == {"rows": collection, "split": "dev", "encoder": retriever}
    trained = verbs.options("retriever")
    assert trained[1]["encoder"] == retriever
    assert trained[0]["data"]["rows"] == str(out / "round-1/06-order/rows.jsonl")
    assert trained[0]["dev"] == {"share": 0.1}
    block = yaml.safe_load((out / "round-2/03-merge/generator.yaml").read_text())
    assert block == {"engine": "local", "model": str(out / "round-2/03-merge/expander-2")}


def test_expandrs_order_trains_the_retriever_first(run):
    verbs = Verbs()
    run(verbs, phases=["retriever", "expander"], rounds=1, corpus=None, collection="c")
    assert verbs.names[7:] == [*ROUND_1[3:], *ROUND_1[:3], *MEASURED]
    (preferences,) = verbs.options("preferences")
    assert preferences["encoder"].endswith("round-1/03-retriever/retriever-1")


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_killed_anywhere_it_goes_on(run, tmp_path, moment):
    whole = Verbs()
    run(whole, folder=tmp_path / "whole", rounds=1)
    last = len(whole.ran)
    for place in range(last if moment == "after" else 1, last + 1):  # after one is before the next
        folder = tmp_path / f"{place}"
        first, second, third = Verbs(kill=(place, moment)), Verbs(), Verbs()
        with pytest.raises(Killed):
            run(first, folder=folder, rounds=1)
        run(second, folder=folder, rounds=1)
        done = first.names if moment == "after" else first.names[:-1]
        assert done + second.names == whole.names  # nothing twice, nothing left out
        assert report(folder)["best"]["round"] == 1
        run(third, folder=folder, rounds=1)
        assert third.ran == []


def test_another_configuration_is_refused_and_the_difference_shown(run):
    run(Verbs(), rounds=1)
    with pytest.raises(InputError) as error:
        run(Verbs(), rounds=1, encoder="contriever", dpo={"dpo": {"beta": 0.2}})
    assert 'encoder: "all-MiniLM-L6-v2", now "contriever"' in str(error.value)
    assert "dpo.dpo.beta: null, now 0.2" in str(error.value)


def test_more_rounds_go_on_where_it_ended(run, tmp_path):
    run(Verbs(), rounds=1)
    verbs = Verbs()
    run(verbs, rounds=2)
    assert verbs.names == [*ROUND_1, *MEASURED]
    assert report(tmp_path)["best"]["round"] == 2


def test_it_ends_when_dev_does_not_get_better_and_keeps_the_best(run, tmp_path):
    dev = scores(0.3, 0.31, 0.305, 0.4)
    assert run(Verbs(), dev, rounds=3).exit_code == 0
    before, again = report(tmp_path), Verbs()
    assert before["stopped"] == (
        "dev hybrid+expansions (nDCG@10) did not get better for 1 rounds: 0.3000, 0.3100, 0.3050"
    )
    assert before["best"]["round"] == 1
    assert before["best"]["generator"].endswith("round-1/03-merge/generator.yaml")
    run(again, scores(), rounds=3)
    assert (report(tmp_path), again.ran) == (before, [])
    run(Verbs(), dev, rounds=3, patience=2)
    assert report(tmp_path)["stopped"] is None
    assert report(tmp_path)["best"]["round"] == 3


@pytest.mark.parametrize(
    ("pairs", "reason"), [([50, 0], "round 2 gave no usable pair: none of the 9 queries"), ([50, 7], "7 of 60 queries")]
)
def test_a_round_without_usable_pairs_ends_it(run, tmp_path, pairs, reason):
    verbs = Verbs(pairs=pairs)
    result = run(verbs, rounds=3)
    assert result.exit_code == 7
    assert reason in report(tmp_path)["stopped"]
    assert verbs.names[-1] == "preferences"
    assert report(tmp_path)["best"]["round"] == 1
    assert "Stopped: round 2" in str(result)


def test_pairs_are_what_the_verb_calls_them():
    package = Path(running.__file__).parents[2]
    sources = {path for path in package.rglob("pref*.py") if running.NO_PAIR in path.read_text(encoding="utf-8")}
    assert sources


@pytest.mark.parametrize(("code", "expected"), [(6, 6), (3, 3), (4, 4), (-9, 6), (1, 6), (130, 6)])
def test_a_step_that_fails_is_named_with_its_error_and_goes_on(run, code, expected):
    lines = ["something", "expandr: a warning", "expandr: /x/y: the disk is full", "Try: make room there"]
    with pytest.raises(StepFailedError) as error:
        run(Verbs(fail={"dpo": (code, lines)}), rounds=1)
    how = "killed by signal 9" if code == -9 else f"exit code {code}"
    assert f"round-1/02-dpo failed ({how}): /x/y: the disk is full\nTry: make room there" in str(error.value)
    assert error.value.exit_code == expected
    verbs = Verbs()
    run(verbs, rounds=1)
    assert verbs.names[0] == "dpo"


def test_a_model_that_the_gate_calls_no_better_is_measured(run, tmp_path):
    class Gated(Verbs):
        def write(self, verb, options):
            code, lines = super().write(verb, options)
            return (1 if verb == "dpo" else code), lines

    assert run(Gated(), rounds=1).exit_code == 0


@pytest.mark.parametrize(("lines", "message"), [("abcdefg", "c\nd\ne\nf\ng"), ("", "it said nothing")])
def test_a_failure_without_error_has_its_last_lines(tmp_path, lines, message):
    assert StepFailedError(tmp_path, 1, lines).message == message


def test_a_full_disk_loses_one_command_at_most(run, monkeypatch):
    real = running.write_text
    writes = []

    def full(path, text):
        writes.append(path)
        if len(writes) == 10:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, text)

    monkeypatch.setattr(running, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        run(Verbs())
    assert writes[-1].name == "train-dpo-adapter_model.safetensors.yaml"
    monkeypatch.setattr(running, "write_text", real)
    verbs = Verbs()
    run(verbs)
    assert verbs.names[0] == "dpo"


def test_a_verb_that_leaves_no_manifest_is_an_error(run):
    with pytest.raises(InputError, match=r"wrote no .*queries\.jsonl with its manifest"):
        run(lambda *_: (0, []))


def test_the_report_by_hand(run, tmp_path):
    text = str(run(Verbs(), rounds=1))
    assert text.startswith((tmp_path / "out/rounds.md").read_text())
    for line in (
        "|  | before | round 1 |",
        "| dev nDCG@10, sparse | 0.2500 | 0.2500 |",
        "| dev nDCG@10, hybrid+expansions | 0.1000 | 0.2000 |",
        "| preferences |  | 50 |",
        "| mean reward of chosen |  | 0.9000 |",
        "| held-out reward before DPO |  | 0.2000 |",
        "| held-out reward after DPO |  | 0.3000 |",
        "| preference accuracy after DPO |  | 0.7500 |",
        "| tokens written | 70 | 740 |",  # 800 x 30 / 40, and twice 70
    ):
        assert line in text
    assert [row["round"] for row in report(tmp_path)["rounds"]] == [0, 1]


def forecast(run, folder, **more):
    """New tokens, seconds and "done", by step."""
    table = str(run(Verbs(), folder=folder, dry_run=True, **more)).splitlines()
    rows = [line.split() for line in table if line.startswith("round-")]
    return {name: (int(tokens.replace(",", "")), seconds, *done) for name, tokens, seconds, *done in rows}


@pytest.mark.parametrize("kind", [int, str])  # what is typed is text
def test_estimates_are_counts_first_and_measured_later(run, tmp_path, kind):
    few = {"synthesize": {"documents": kind(100), "without_llm": True}, "preferences": {"samples": kind(4)}}
    steps = forecast(run, tmp_path / "few", **few, listwise={})
    assert not (tmp_path / "few").exists()
    assert steps["round-0/01-synthesize"] == steps["round-1/02-dpo"] == (0, "?")
    assert steps["round-0/02-measure"] == (10 * TOKENS, "?")
    assert steps["round-1/01-preferences"] == (90 * (4 * 4 + 1) * TOKENS, "?")
    assert steps["round-1/04-expand"] == steps["round-1/06-order"] == (90 * TOKENS, "?")
    run(Verbs(), rounds=1)
    later = forecast(run, tmp_path, rounds=2)
    assert later["round-1/01-preferences"] == (600, "0", "done")
    assert later["round-2/02-dpo"] == (0, "0")
    assert later["round-2/04-expand"] == (60 * TOKENS, "0")


def test_blocks_are_laid_over_the_named_file_key_by_key():
    options = block_options({"config": "dpo-expandr", "dpo": {"beta": 0.3}, "lora": None}, {"output": "x"})
    assert (options["dpo"]["beta"], options["dpo"]["max_length"]) == (0.3, 612)
    assert (options["lora"], options["output"]) == (None, "x")
    assert "config" not in options
    with pytest.raises(InputError, match="dpo-expandr"):
        block_options({"config": "dpo-expander"}, {})


@pytest.mark.parametrize("name", [name for name in names("train") if name.startswith("rounds-")])
def test_every_configuration_can_be_planned(name, tmp_path):
    given = block_options({"config": name}, {"corpus": "corpus.jsonl", "generator": "local:llm"})
    steps = plan(RoundsOptions(**given, output=str(tmp_path)))
    assert steps[-1].kind == "measure"
    assert len({step.name for step in steps}) == len(steps)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"collection": "c"}, "both collection and corpus"),
        ({"corpus": None}, "neither collection nor corpus"),
        ({"phases": []}, "phases are"),
        ({"phases": ["expander", "expander"]}, "phases are"),
        ({"rounds": 0}, "rounds is 0"),
        ({"watch": "recall"}, "watch is 'recall'"),
        ({"after_merge": ["serve", "{fold}"]}, "after_merge: unknown placeholder '{fold}'"),
    ],
)
def test_options_that_do_not_fit(more, fault):
    with pytest.raises(InputError, match=fault):
        RoundsOptions(**(SMALL | more))


def test_a_server_needs_a_command_that_exchanges_its_model(run, tmp_path):
    given = SMALL | {"generator": "vllm-server"}
    with pytest.raises(InputError, match="is a server, which cannot load"):
        plan(RoundsOptions(**given))
    with pytest.raises(InputError, match="weights behind the server"):
        plan(RoundsOptions(**given, after_merge=["x"]))
    with pytest.raises(InputError, match="echo has no weights"):
        plan(RoundsOptions(**(given | {"generator": "echo"})))
    assert plan(RoundsOptions(**given, phases=["retriever"]))
    verbs = Verbs()
    words = []

    def runner(argv, folder):
        if argv[0] == "serve":
            words.append(argv)
            return 0, []
        return verbs(argv, folder)

    run(runner, generator="vllm-server", model="base", after_merge=["serve", "{name}={folder}"], rounds=1)
    folder = tmp_path / "out/round-1/03-merge"
    assert words == [["serve", f"expander-1={folder}/expander-1"]]
    block = yaml.safe_load((folder / "generator.yaml").read_text())
    assert (block["engine"], block["model"]) == ("api", "expander-1")
    assert block["api"]["base_url"] == "http://localhost:8000/v1"


def test_whole_models_need_no_merge(run, tmp_path):
    verbs = Verbs()
    run(verbs, rounds=1, dpo={"lora": None})
    assert "merge" not in verbs.names
    block = yaml.safe_load((tmp_path / "out/round-1/03-merge/generator.yaml").read_text())
    assert block["model"] == str(tmp_path / "out/round-1/02-dpo/run")


class PartialVerbs(Verbs):
    """`expand` leaves a topic without expansion, and tells so, the first time or always."""

    def __init__(self, times=99):
        super().__init__()
        self.times = times

    def write(self, verb, options):
        result = super().write(verb, options)
        if verb == "expand" and self.times:
            self.times -= 1
            write_manifest(Path(options["output"]), counts={"generated": 6, "stored": 0, "failed": 0, "refused": 1})
            return 7, ["expandr: 1 samples have no text"]
        return result


def test_topics_without_expansion_end_it_until_they_have_one(run):
    with pytest.raises(StepFailedError, match="--skip-missing") as error:
        run(PartialVerbs(), rounds=1)
    assert error.value.exit_code == 7
    verbs = PartialVerbs(times=1)
    with pytest.raises(StepFailedError):
        run(verbs, rounds=1)
    run(verbs, rounds=1)
    assert verbs.names[:3] == ["expand", "expand", "search"]


def test_topics_without_expansion_may_be_left_out(run):
    verbs = PartialVerbs()
    run(verbs, skip_missing=True, rounds=1)
    (trained,) = verbs.options("retriever")
    assert trained["data"]["without_expansion"] == "alone"
    for options in verbs.options("search"):
        assert options.get("skip_missing", False) == ("expansions" in options)
