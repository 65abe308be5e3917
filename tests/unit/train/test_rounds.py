"""Rounds with verbs that only pretend: the plan, the state, what is resumed, when it ends."""

import errno
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from expandr_ir.config import names
from expandr_ir.errors import InputError
from expandr_ir.manifest import write_manifest
from expandr_ir.train.rounds import run as running
from expandr_ir.train.rounds import state as keeping
from expandr_ir.train.rounds.child import Ended
from expandr_ir.train.rounds.config import RoundsOptions, block_options
from expandr_ir.train.rounds.estimate import estimates
from expandr_ir.train.rounds.plan import plan
from expandr_ir.train.rounds.run import StepFailedError, run_rounds, said, write_generator
from expandr_ir.train.rounds.state import State, differing

SMALL = {"corpus": "corpus.jsonl", "small_expander": {"passage_words": 10}, "encoder": "all-MiniLM-L6-v2"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Hundreds of manifests and states: without looking up versions, and without waiting for the disk."""
    monkeypatch.setattr("expandr_ir.manifest.installed_versions", dict)
    monkeypatch.setattr("expandr_ir.files.os.fsync", lambda _: None)


class Killed(BaseException):
    """What stands for kill -9: nothing of ours runs after it."""


class Verbs:
    """Runs commands by writing what their verbs would write; counts them.

    Args:
        pairs: preferences of each round; 0 fails as the verb does.
        fail: verb -> exit code and lines, once.
        kill: the number of the command, from 1, before or after which everything ends.
    """

    def __init__(self, pairs=(), fail=None, kill=None, after=False):
        self.ran = []
        self.pairs, self.fail, self.kill, self.after = list(pairs), dict(fail or {}), kill, after

    def __call__(self, argv, folder, show):
        assert folder.is_dir()
        verb = [word for word in argv[3 : argv.index("--config")] if not word.startswith("/")]
        verb = "-".join(word for word in verb if word != "train")
        options = yaml.safe_load(Path(argv[-1]).read_text())
        self.ran.append((verb, options))
        if self.kill == len(self.ran) and not self.after:
            raise Killed
        if verb in self.fail:
            return Ended(*self.fail.pop(verb))
        code = self.write(verb, options)
        show(f"did {verb}")
        if self.kill == len(self.ran) and self.after:
            raise Killed
        return code

    def write(self, verb, options):
        output = Path(options["output"])
        counts, details, tokens = {}, {}, {}
        if verb == "preferences":
            pairs = self.pairs.pop(0) if self.pairs else 50
            if not pairs:
                lines = (
                    "expandr: none of the 9 queries gives a preference: {'equal_rewards': 9}",
                    "Expected: at least one",
                )
                return Ended(2, lines)
            output.mkdir(parents=True, exist_ok=True)
            means = {name: {"mean": value} for name, value in (("all", 0.5), ("chosen", 0.9), ("rejected", 0.1))}
            summary = {"rewards": means, "queries": 60, "dropped": {"equal_rewards": 60 - pairs}}
            (output / "summary.json").write_text(json.dumps(summary | {"words": {"chosen_longer": 0.5}}))
            output, counts = output / "preferences.jsonl", {"preferences": pairs, "generated": 30, "stored": 10}
            tokens = {"in": 400, "out": 800}
        elif verb == "dpo":
            output.mkdir(parents=True, exist_ok=True)
            whole = options.get("lora", {}) is None
            output = output / ("model.safetensors" if whole else "adapter_model.safetensors")
            details = {"start": {"heldout_reward": 0.2}, "best": {"heldout_reward": 0.3, "rewards/accuracies": 0.75}}
        elif verb in {"merge", "small-expander"}:
            output.mkdir(parents=True, exist_ok=True)
            if verb == "small-expander":
                (output / "generator.yaml").write_text(
                    yaml.safe_dump({"engine": "local", "model": str(output), "notes": "n", "revision": "r"})
                )
            output = output / "model.safetensors"
        elif verb == "synthesize":
            output.mkdir(parents=True, exist_ok=True)
            output, counts = output / "queries.jsonl", {"topics_train": 60, "topics_dev": 7}
        elif verb == "search":
            tokens = {"in": 7, "out": 70}
        elif verb == "expand":
            counts, tokens = {"generated": 7, "stored": 0}, {"in": 7, "out": 70}
        if verb == "retriever":
            output.mkdir(parents=True, exist_ok=True)
        else:
            output.write_text(verb)
        write_manifest(output, command=[verb], started=datetime.now(UTC), counts=counts, details=details, tokens=tokens)
        return Ended(0, ())


def scores(*hybrid):
    """A measure with one watched figure for each round, from before the first on."""
    values = list(hybrid)

    def measure(step, split, name):
        assert (split, name) == ("dev", "nDCG@10")
        figures = dict.fromkeys(step.runs, 0.25)
        return figures | {"hybrid+expansions": values[step.round]}

    return measure


def run(tmp_path, verbs, measure=None, **more):
    options = RoundsOptions(**(SMALL | more))
    return run_rounds(options, tmp_path / "out", lambda _: None, run=verbs, measure=measure or scores(0.1, 0.2, 0.3))


ROUND_1 = ["preferences", "dpo", "merge", "expand", "mine", "retriever"]
MEASURED = ["expand", "search", "search", "search", "fuse", "fuse"]


def test_every_step_in_reinforced_irs_order(tmp_path):
    verbs = Verbs()
    outcome = run(tmp_path, verbs, listwise={"negatives": 3})
    own = [*ROUND_1[:5], "order", "retriever", *MEASURED]
    assert [verb for verb, _ in verbs.ran] == [
        "synthesize", "small-expander", "expand", *["search"] * 4, "fuse", "fuse", *own, *own,
    ]  # fmt: skip
    assert outcome.stopped is None
    out = tmp_path / "out"
    assert sorted(path.name for path in (out / "round-1").iterdir()) == [
        "01-preferences", "02-dpo", "03-merge", "04-expand", "05-mine", "06-order", "07-retriever", "08-measure",
    ]  # fmt: skip
    by_round = [options for verb, options in verbs.ran if verb == "preferences"]
    assert by_round[0]["encoder"] == "all-MiniLM-L6-v2"
    assert by_round[1]["encoder"] == str(out / "round-1/07-retriever/retriever-1")
    assert by_round[0]["rows"] == [str(out / "round-0/02-small-expander/expander-0/rows/kept.jsonl")]
    assert by_round[1]["generator"] == str(out / "round-1/03-merge/generator.yaml")
    dpo = [options for verb, options in verbs.ran if verb == "dpo"]
    assert dpo[1]["model"] == str(out / "round-1/03-merge/expander-1")
    assert dpo[1]["heldout"] == {
        "rows": str(out / "round-0/01-synthesize/collection"),
        "split": "dev",
        "encoder": by_round[1]["encoder"],
    }
    trained = [options for verb, options in verbs.ran if verb == "retriever"]
    assert trained[1]["encoder"] == str(out / "round-1/07-retriever/retriever-1")
    assert trained[0]["data"]["rows"] == str(out / "round-1/06-order/rows.jsonl")
    assert trained[0]["dev"] == {"share": 0.1}
    block = yaml.safe_load((out / "round-2/03-merge/generator.yaml").read_text())
    assert block == {"engine": "local", "model": str(out / "round-2/03-merge/expander-2")}


def test_expandrs_order_trains_the_retriever_first(tmp_path):
    verbs = Verbs()
    run(tmp_path, verbs, phases=["retriever", "expander"], rounds=1, corpus=None, collection="c")
    assert [verb for verb, _ in verbs.ran][8:] == [*ROUND_1[3:], *ROUND_1[:3], *MEASURED]
    (preferences,) = [options for verb, options in verbs.ran if verb == "preferences"]
    assert preferences["encoder"].endswith("round-1/03-retriever/retriever-1")


@pytest.mark.parametrize("after", [False, True])
def test_killed_anywhere_it_goes_on(tmp_path, after):
    whole = Verbs()
    run(tmp_path / "whole", whole, rounds=1)
    for place in range(1, len(whole.ran) + 1):
        folder = tmp_path / f"{place}"
        first, second = Verbs(kill=place, after=after), Verbs()
        with pytest.raises(Killed):
            run(folder, first, rounds=1)
        outcome = run(folder, second, rounds=1)
        done = [verb for verb, _ in first.ran][: place - (not after)] + [verb for verb, _ in second.ran]
        assert done == [verb for verb, _ in whole.ran]  # nothing twice, nothing left out
        assert outcome.best["round"] == 1
        third = Verbs()
        run(folder, third, rounds=1)
        assert third.ran == []


def test_another_configuration_is_refused_and_the_difference_shown(tmp_path):
    run(tmp_path, Verbs(), rounds=1)
    with pytest.raises(InputError) as error:
        run(tmp_path, Verbs(), rounds=1, encoder="contriever", dpo={"dpo": {"beta": 0.2}})
    assert 'encoder: "all-MiniLM-L6-v2", now "contriever"' in str(error.value)
    assert 'dpo.dpo: null, now {"beta": 0.2}' in str(error.value)
    assert error.value.exit_code == 2


def test_more_rounds_go_on_where_it_ended(tmp_path):
    run(tmp_path, Verbs(), rounds=1)
    verbs = Verbs()
    outcome = run(tmp_path, verbs, rounds=2)
    assert [verb for verb, _ in verbs.ran] == [*ROUND_1, *MEASURED]
    assert outcome.best["round"] == 2


def test_it_ends_when_dev_does_not_get_better_and_keeps_the_best(tmp_path):
    outcome = run(tmp_path, Verbs(), scores(0.3, 0.31, 0.305, 0.4), rounds=3)
    assert outcome.stopped == (
        "dev hybrid+expansions (nDCG@10) did not get better for 1 rounds: 0.3000, 0.3100, 0.3050"
    )
    assert not outcome.partly
    assert outcome.best["round"] == 1
    assert outcome.best["generator"].endswith("round-1/03-merge/generator.yaml")
    again = Verbs()
    assert run(tmp_path, again, scores(), rounds=3).stopped == outcome.stopped
    assert again.ran == []
    on = run(tmp_path, Verbs(), scores(0.3, 0.31, 0.305, 0.4), rounds=3, patience=2)
    assert on.stopped is None
    assert on.best["round"] == 3


@pytest.mark.parametrize(
    ("pairs", "said_"), [([50, 0], "round 2 gave no usable pair: none of the 9 queries"), ([50, 7], "7 of 60 queries")]
)
def test_a_round_without_usable_pairs_ends_it(tmp_path, pairs, said_):
    verbs = Verbs(pairs=pairs)
    outcome = run(tmp_path, verbs, rounds=3)
    assert outcome.partly
    assert said_ in outcome.stopped
    assert [verb for verb, _ in verbs.ran][-1] == "preferences"
    assert outcome.best["round"] == 1
    report = outcome.report.read_text()
    assert "Stopped: round 2" in report
    assert Path(outcome.best["encoder"]).is_dir()


def test_pairs_are_what_the_verb_calls_them():
    source = Path(running.__file__).parents[2] / "cli" / "train" / "preferences.py"
    assert running.NO_PAIR in source.read_text(encoding="utf-8")


def test_a_step_that_fails_is_named_with_its_error_and_goes_on(tmp_path):
    lines = ("something", "expandr: /x/y: the disk is full", "Try: make room there")
    with pytest.raises(StepFailedError) as error:
        run(tmp_path, Verbs(fail={"dpo": (6, lines)}))
    text = str(error.value)
    assert "round-1/02-dpo failed (exit code 6): /x/y: the disk is full\nTry: make room there" in text
    assert error.value.exit_code == 6
    verbs = Verbs()
    assert run(tmp_path, verbs).stopped is None
    assert verbs.ran[0][0] == "dpo"


def test_exit_codes_of_verbs_are_kept_and_signals_are_failures(tmp_path):
    for code, expected in ((3, 3), (4, 4), (-9, 6), (1, 6), (130, 6)):
        with pytest.raises(StepFailedError) as error:
            run(tmp_path, Verbs(fail={"synthesize": (code, ())}))
        assert error.value.exit_code == expected
    assert "exit code 130" in str(error.value)


def test_a_full_disk_while_the_state_is_written_loses_one_step_at_most(tmp_path, monkeypatch):
    real = keeping.atomic_write
    writes = []

    def full(path, *more):
        writes.append(path)
        if len(writes) == 5:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, *more)

    monkeypatch.setattr(keeping, "atomic_write", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, Verbs())
    monkeypatch.setattr(keeping, "atomic_write", real)
    done = json.loads((tmp_path / "out/state.json").read_text())["done"]
    assert list(done) == ["round-0/01-synthesize", "round-0/02-small-expander", "round-0/03-measure"]
    verbs = Verbs()
    run(tmp_path, verbs)
    assert verbs.ran[0][0] == "dpo"  # the preferences stand there with their manifest


def test_a_verb_that_leaves_no_manifest_is_an_error(tmp_path):
    def silent(*_):
        return Ended(0, ())

    with pytest.raises(InputError, match=r"wrote no .*queries\.jsonl with its manifest"):
        run(tmp_path, silent)


def test_the_report_by_hand(tmp_path):
    outcome = run(tmp_path, Verbs(), rounds=1)
    text = outcome.report.read_text()
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
    data = json.loads((tmp_path / "out/rounds.json").read_text())
    assert data["best"] == outcome.best
    assert [one["round"] for one in data["rounds"]] == [0, 1]


def test_estimates_are_counts_first_and_measured_later(tmp_path):
    options = RoundsOptions(**SMALL, synthesize={"documents": 100, "without_llm": True}, preferences={"samples": 4})
    steps = plan(options, tmp_path / "out")
    found = {one.step.name: one for one in estimates(steps, options, State(tmp_path / "x", {}))}
    assert found["round-0/03-measure"].new_tokens == 10 * 20
    assert found["round-1/01-preferences"].new_tokens == 90 * (4 * 4 + 1) * 20
    assert found["round-1/04-expand"].new_tokens == 90 * 20
    assert all(one.seconds is None for one in found.values())
    run(tmp_path, Verbs(), rounds=1)
    state = State.open(tmp_path / "out", json.loads((tmp_path / "out/state.json").read_text())["options"])
    options = RoundsOptions(**SMALL, rounds=2)
    later = {one.step.name: one for one in estimates(plan(options, tmp_path / "out"), options, state)}
    assert later["round-1/02-dpo"].is_done
    assert not later["round-2/02-dpo"].is_done
    assert later["round-2/02-dpo"].seconds == state.done["round-1/02-dpo"].seconds
    assert later["round-2/04-expand"].new_tokens == 60 * 20


def test_blocks_are_laid_over_the_named_file_key_by_key():
    found = block_options({"config": "dpo-expandr", "dpo": {"beta": 0.3}, "lora": None}, {"output": "x"})
    assert found["dpo"]["beta"] == 0.3
    assert found["dpo"]["max_length"] == 612
    assert found["lora"] is None
    assert found["output"] == "x"
    assert "config" not in found
    with pytest.raises(InputError, match="dpo-expandr"):
        block_options({"config": "dpo-expander"}, {})


@pytest.mark.parametrize("name", [name for name in names("train") if name.startswith("rounds-")])
def test_every_configuration_can_be_planned(name, tmp_path):
    given = block_options({"config": name}, {"corpus": "corpus.jsonl"})
    steps = plan(RoundsOptions(**given), tmp_path)
    assert steps[-1].kind == "measure"
    assert len({step.name for step in steps}) == len(steps)


@pytest.mark.parametrize(
    ("more", "said_"),
    [
        ({"collection": "c"}, "both collection and corpus"),
        ({"corpus": None}, "neither collection nor corpus"),
        ({"generator": "echo"}, "both generator and small_expander"),
        ({"small_expander": None}, "neither generator nor small_expander"),
        ({"phases": []}, "phases are"),
        ({"phases": ["expander", "expander"]}, "phases are"),
        ({"rounds": 0}, "rounds is 0"),
        ({"watch": "recall"}, "watch is 'recall'"),
    ],
)
def test_options_that_do_not_fit(more, said_):
    with pytest.raises(InputError, match=said_):
        RoundsOptions(**(SMALL | more))


def test_a_server_needs_a_command_that_exchanges_its_model(tmp_path):
    given = SMALL | {"small_expander": None, "generator": "vllm-server"}
    with pytest.raises(InputError, match="is a server, which cannot load"):
        plan(RoundsOptions(**given), tmp_path)
    with pytest.raises(InputError, match="weights behind the server"):
        plan(RoundsOptions(**given, after_merge=["x"]), tmp_path)
    with pytest.raises(InputError, match="echo has no weights"):
        plan(RoundsOptions(**(given | {"generator": "echo"})), tmp_path)
    assert plan(RoundsOptions(**given, phases=["retriever"]), tmp_path)
    verbs = Verbs()
    words = []

    def runner(argv, folder, show):
        if argv[0] == "serve":
            words.append(argv)
            return Ended(0, ())
        return verbs(argv, folder, show)

    options = RoundsOptions(**given, model="base", after_merge=["serve", "{name}={folder}"], rounds=1)
    run_rounds(options, tmp_path / "out", lambda _: None, run=runner, measure=scores(0.1, 0.2))
    folder = tmp_path / "out/round-1/03-merge"
    assert words == [["serve", f"expander-1={folder}/expander-1"]]
    block = yaml.safe_load((folder / "generator.yaml").read_text())
    assert (block["engine"], block["model"]) == ("api", "expander-1")
    assert block["api"]["base_url"] == "http://localhost:8000/v1"


def test_whole_models_need_no_merge(tmp_path):
    verbs = Verbs()
    run(tmp_path, verbs, rounds=1, dpo={"lora": None})
    assert "merge" not in [verb for verb, _ in verbs.ran]
    block = yaml.safe_load((tmp_path / "out/round-1/03-merge/generator.yaml").read_text())
    assert block["model"] == str(tmp_path / "out/round-1/02-dpo/run")


def test_small_parts(tmp_path):
    assert said(("a", "expandr: one", "b", "expandr: two", "Try: x")) == "two\nTry: x"
    assert said(tuple("abcdefg")) == "c\nd\ne\nf\ng"
    assert said(()) == "it said nothing"
    assert list(differing({"a": {"b": 1, "c": 2}, "d": 1}, {"a": {"b": 1, "c": 3}, "e": 0})) == [
        ("a.c", 2, 3),
        ("d", 1, None),
        ("e", None, 0),
    ]
    write_generator("local:m", tmp_path / "g.yaml", folder="f", name="n")
    assert yaml.safe_load((tmp_path / "g.yaml").read_text()) == {"engine": "local", "model": "f"}


def test_topics_without_expansion_end_it_unless_they_may_be_left_out(tmp_path):
    with pytest.raises(StepFailedError, match="--skip-missing") as error:
        run(tmp_path / "strict", Verbs(fail={"expand": (7, ("expandr: 1 samples have no text",))}))
    assert error.value.exit_code == 7
    verbs = Verbs()
    code = verbs.write

    def partly(verb, options):
        return Ended(7, ()) if code(verb, options).code == 0 and verb == "expand" else Ended(0, ())

    verbs.write = partly
    run(tmp_path / "lenient", verbs, skip_missing=True, rounds=1)
    (trained,) = [options for verb, options in verbs.ran if verb == "retriever"]
    assert trained["data"]["without_expansion"] == "alone"
    searched = [options for verb, options in verbs.ran if verb == "search"]
    assert [options.get("skip_missing", False) for options in searched] == ["expansions" in one for one in searched]
