"""The contrast set: written by a chat model on loopback, parsed, checked; nothing lost, nothing paid for twice."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from chat_server import KEY, ChatServer, answer, edits

from Safety_Contrast import build_data, quality
from Safety_Contrast.task import TASK
from Safety_Contrast.writing import answers, batch, generate, journal, order
from Safety_Contrast.writing.template import OWN_FILE, template_of
from Safety_Taxonomy.task import FORMAT as ORIGINALS
from utils import config
from utils.data import catalogue, loading
from utils.schema import InputError

FIVE = [f"an original {i}" for i in range(5)]


@pytest.fixture(autouse=True)
def own_words(monkeypatch):
    """No test of anything else asks for the paper's template, which would be downloaded."""
    monkeypatch.setenv("TEMPLATE", "own")


@pytest.fixture
def server(monkeypatch):
    started = []

    def start(**more):
        started.append(ChatServer(**more))
        monkeypatch.setenv("OPENAI_BASE_URL", started[-1].url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        return started[-1]

    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.02)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.2)
    monkeypatch.setattr(generate, "SECONDS_TO_ANSWER", 1.0)
    monkeypatch.setattr(batch, "SECONDS_BETWEEN_LOOKS", 0.01)
    yield start
    for one in started:
        one.shutdown()


@pytest.fixture
def many(tmp_path):
    """939 originals in Do-Not-Answer's format."""
    path = tmp_path / "originals.csv"
    names = list(catalogue.CATEGORIES)
    rows = [f'{i},"{names[i % 12]}",may i do thing number {i}?' for i in range(939)]
    path.write_text("id,types_of_harm,question\n" + "\n".join(rows) + "\n")
    return path


def made(folder):
    return {name: (folder / name).read_bytes() for name in ("contrast_origin.jsonl", "contrast_parsed.jsonl")}


def write_set(path, out, *more):
    return build_data.generate(["--data", str(path), "--out", str(out), "--quiet", *more])


@pytest.mark.parametrize(
    "content",
    [
        answer(FIVE),
        f"```json\n{answer(FIVE)}\n```",
        json.dumps(FIVE),
        json.dumps({f"prompt_#{i}": {"prompt": text, "reason": "safe"} for i, text in enumerate(FIVE, 1)}),
        f"<think>First {answer(FIVE[::-1])}, or [1] rather\u2026</think>\n{answer(FIVE)}",
        f'```text\nnot these: ["a", "b"]\n```\n```json\n{answer(FIVE)}\n```',
        f"A draft: {answer(FIVE[:3])} The five: {answer(FIVE)} The first three again: {answer(FIVE[:3])}",
        f"{answer(FIVE)} {'[' * 100_000}",
        answer(FIVE).replace("}}", "} }\u2028"),
    ],
)
def test_an_answer_is_read_however_it_is_wrapped(content):
    assert answers.edits_of(content) == FIVE
    assert answers.problem_with(FIVE, "an original") is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("no", "no JSON"),
        ('{"prompt_#1": ', "broken"),
        ('{"a": 1, "b": 2}', "no key prompt_#1"),
        ("[" * 100_000, "nested too deeply"),
        (f"<think>{answer(FIVE)}", "no JSON"),
    ],
)
def test_an_answer_that_is_none_says_why(content, problem):
    with pytest.raises(ValueError, match=problem):
        answers.edits_of(content)


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        (FIVE[:4], "4 prompts"),
        ([*FIVE[:4], " "], "prompt 5 has no text"),
        ([*FIVE[:4], "half \ud800"], "prompt 5 holds half a character"),
        ([*FIVE[:4], " AN  Original  0"], "two prompts are the same"),
        ([*FIVE[:4], "The  Original"], "prompt 5 is the original"),
        (["Unfortunately, I can\u2019t help with that.", *FIVE[1:]], "prompt 1 is a refusal"),
        (["As an AI language model, I have no opinion.", *FIVE[1:]], "prompt 1 is a refusal"),
        (["This request violates a policy.", *FIVE[1:]], "prompt 1 is a refusal"),
        ([*FIVE[:4], "[Safe version 5]"], "prompt 5 is only a placeholder"),
        ([f"Lo siento, {what}" for what in "abcde"], "begin alike and share no word with the original"),
        ([*FIVE[:4], "x" * 81], "prompt 5 is more than 4 times"),
    ],
)
def test_five_edits_that_will_not_do(items, problem):
    assert problem in answers.problem_with(items, "the original")


def test_no_edit_of_the_papers_set_is_taken_for_a_refusal(paper_data):
    lines = (paper_data / "contrast_parsed.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = [answers.problem_with([row[f"prompt_#{i}"] for i in range(1, 6)], row["original_prompt"]) for row in rows]
    assert found == [None] * 939


def test_every_original_is_answered_and_the_files_are_in_the_papers_format(server, many, tmp_path, capsys):
    running = server()
    out = tmp_path / "set"
    assert write_set(many, out, "--limit", "30") == 0
    raw = [json.loads(line) for line in (out / "contrast_origin.jsonl").read_text().splitlines()]
    parsed = [json.loads(line) for line in (out / "contrast_parsed.jsonl").read_text().splitlines()]
    assert [list(row) for row in raw] == [["id", "category", "question", "contrasts"]] * 30
    assert [row["id"] for row in parsed] == list(range(30))
    for row in parsed:
        assert [row[f"prompt_#{i}"] for i in range(1, 6)] == edits(row["original_prompt"])
    entries = [json.loads(line) for line in (out / "contrast_answers.jsonl").read_text().splitlines()]
    assert entries[1]["model"] == "gpt-4o-2024-05-13-as-served" and entries[1]["request_id"] == "req"
    assert entries[1]["usage"] == {"prompt_tokens": 100, "completion_tokens": 50}
    printed = capsys.readouterr().out
    # 30 x (100 x $5 + 50 x $15) / 1e6 = 30 x $0.00125 = $0.0375
    assert "3000 in, 1500 out, $0.0375" in printed and "30 of 30 originals" in printed
    assert running.keys == {f"Bearer {KEY}"}
    before = len(running.requests)
    assert write_set(many, out, "--limit", "30") == 0 and len(running.requests) == before, "nothing is asked again"
    assert build_data.parse([str(out / "contrast_origin.jsonl"), "--out", str(tmp_path / "again.jsonl")]) == 0
    assert (tmp_path / "again.jsonl").read_bytes() == made(out)["contrast_parsed.jsonl"]


def test_thirty_per_cent_faults_give_the_set_of_none(server, many, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OPENAI_LOG", "debug")
    server()
    flags = ["--concurrency", "32", "--limit", "200"]
    assert write_set(many, tmp_path / "plain", *flags) == 0
    running = server(seed=1, share=0.3)
    assert write_set(many, tmp_path / "faulty", *flags, "--attempts", "12") == 0
    assert running.most <= 32
    assert made(tmp_path / "faulty") == made(tmp_path / "plain")
    # What was charged for is in the journal, all of it; no original that had its five edits was asked again.
    entries = [json.loads(line) for line in (tmp_path / "faulty" / "contrast_answers.jsonl").read_text().splitlines()]
    assert len(entries) - 1 == len(running.charged)
    assert Counter(running.good).most_common(1)[0][1] == 1 and len(running.good) == 200
    assert len(running.charged) > 200 + 10, "the faults were there"
    written = [path.read_text() for path in (tmp_path / "faulty").iterdir()]
    assert KEY not in "".join([*capfd.readouterr(), *written])


def test_killed_at_any_moment_it_pays_for_no_answer_that_it_has(many, tmp_path):
    running = ChatServer(seed=2, share=0.2, seconds=0.01)
    environment = {**os.environ, "OPENAI_BASE_URL": running.url, "OPENAI_API_KEY": KEY}
    out, concurrency, moments, kills = tmp_path / "set", 8, random.Random(3), 0
    command = [sys.executable, "-m", "Safety_Contrast.build_data", "generate", "--data", str(many), "--quiet"]
    command += ["--out", str(out), "--concurrency", str(concurrency), "--attempts", "12", "--limit", "100"]
    while kills < 3:
        before = len(running.good)
        process = subprocess.Popen(command, cwd=config.ROOT, env=environment, stdout=subprocess.DEVNULL)
        while len(running.good) == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.1))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
        with (out / "contrast_answers.jsonl").open("ab") as stream:
            stream.write(b'{"id": "half')  # as if the machine had stopped in the middle of a line
    run = subprocess.run(command, cwd=config.ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert kills
    twice = sum(number - 1 for number in Counter(running.good).values())
    assert twice <= kills * concurrency, "only what was under way when it was killed"
    parsed = [json.loads(line) for line in (out / "contrast_parsed.jsonl").read_text().splitlines()]
    assert [row["id"] for row in parsed] == list(range(100))
    running.shutdown()


def generating(server, many, out):
    """A process that writes a set with the answers of `server`."""
    return subprocess.Popen(
        [sys.executable, "-m", "Safety_Contrast.build_data", "generate", "--data", str(many), "--out", str(out)],
        cwd=config.ROOT,
        env={**os.environ, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_ctrl_c_waits_for_what_is_under_way(many, tmp_path):
    running = ChatServer(seconds=0.4)
    out = tmp_path / "set"
    process = generating(running, many, out)
    while not running.good and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "waiting for the answers under way" in error and "Traceback" not in error
    entries = (out / "contrast_answers.jsonl").read_text().splitlines()
    assert len(entries) - 1 == len(running.charged) < 939
    running.shutdown()


def test_what_still_fails_is_counted_and_named(server, many, tmp_path, capsys):
    running = server()
    running.content = lambda request, fault: (answer(FIVE[:4]), "stop")
    assert write_set(many, tmp_path / "set", "--limit", "3", "--attempts", "2") == 3
    printed = capsys.readouterr().out
    assert "0 of 3 originals have five edits" in printed
    assert "missing  id 0: there are 4 prompts, 5 are needed" in printed
    failed = [json.loads(line) for line in (tmp_path / "set" / "contrast_failed.jsonl").read_text().splitlines()]
    assert [row["id"] for row in failed] == ["0", "1", "2"]
    assert len(running.charged) == 6
    second = next(r for r in running.requests if len(r["messages"]) > 2)
    assert second["messages"][-1]["content"].startswith("That does not do: there are 4 prompts, 5 are needed")
    del running.content
    assert write_set(many, tmp_path / "set", "--limit", "3", "--attempts", "3") == 0
    assert not (tmp_path / "set" / "contrast_failed.jsonl").exists()


def test_structured_output_is_used_where_the_server_has_it(server, many, tmp_path):
    running = server()
    write_set(many, tmp_path / "a", "--limit", "2")
    assert not any("response_format" in request for request in running.requests), "gpt-4o-2024-05-13 has none"
    write_set(many, tmp_path / "b", "--limit", "2", "--gpt-model", "newer", "--price", "1,1")
    assert running.requests[-1]["response_format"]["json_schema"]["strict"]
    running = server()
    running.schema = False
    assert write_set(many, tmp_path / "c", "--limit", "9", "--gpt-model", "newer", "--concurrency", "1") == 0
    assert ["response_format" in request for request in running.requests] == [True] + [False] * 9


@pytest.mark.parametrize("choices", [None, [], [{"message": None}]])
def test_an_answer_without_a_message_is_kept_and_asked_again(server, many, tmp_path, capsys, choices):
    started = server()
    started.reshape = lambda completion: completion | {"choices": choices}
    assert write_set(many, tmp_path / "set", "--limit", "1", "--attempts", "2") == 3
    assert "missing  id 0: there is no JSON in it" in (said := capsys.readouterr().out)
    # Two answers of 100 and 50 tokens were paid for.
    assert len(started.requests) == 2 and "tokens   200 in, 100 out" in said


def test_a_set_that_no_run_made_is_left_alone(server, many, tmp_path, capsys):
    started = server()
    started.refuse = (401, {"code": "invalid_api_key"})
    out = tmp_path / "set"
    out.mkdir()
    (out / "contrast_parsed.jsonl").write_text("939 rows\n")
    assert write_set(many, out, "--limit", "1") == 2
    assert "has a contrast_parsed.jsonl that no run of this program made" in capsys.readouterr().err
    assert not started.requests and [path.name for path in out.iterdir()] == ["contrast_parsed.jsonl"]
    assert write_set(many, tmp_path / "other", "--limit", "1") == 2
    names = [path.name for path in (tmp_path / "other").iterdir()]
    assert names == ["contrast_answers.jsonl"], "no empty set where nothing was answered"


def test_a_timeout_is_tried_three_times(server, many, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(generate, "SECONDS_TO_ANSWER", 0.2)
    started = server(seconds=1.0)
    assert write_set(many, tmp_path / "set", "--limit", "1") == 3
    assert "missing  id 0: no answer in time" in capsys.readouterr().out and len(started.requests) == 3


def test_dry_run_sends_nothing_and_shows_the_first_request(server, many, tmp_path, capsys):
    running = server()
    arguments = ["--data", str(many), "--out", str(tmp_path / "set"), "--limit", "5"]
    assert build_data.generate([*arguments, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert build_data.generate([*arguments, "--dry-run", "--max-cost", "1"]) == 0
    assert '"max_completion_tokens": ' in capsys.readouterr().out
    document = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])
    assert not running.requests and not (tmp_path / "set").exists()
    assert build_data.generate([*arguments, "--concurrency", "1"]) == 0
    assert running.requests[0] == document, "the very request"
    assert "5 calls of gpt-4o-2024-05-13" in shown


def test_a_run_that_would_cost_too_much_is_not_begun_and_one_that_does_is_stopped(server, many, tmp_path, capsys):
    running = server()
    assert write_set(many, tmp_path / "set", "--max-cost", "0.01") == 2
    assert "--max-cost 0.01: 939 calls would cost about $" in capsys.readouterr().err and not running.requests
    assert write_set(many, tmp_path / "set", "--max-cost", "0.006", "--limit", "1") == 3
    assert "missing  id 0: stopped at --max-cost 0.006: $0.0000 spent, and the next" in capsys.readouterr().out
    assert not running.requests, "no request fits this limit"
    # Each answer costs a hundred times what was thought.
    real = running.completion

    def dear(request, fault=None):
        return real(request, fault) | {"usage": {"prompt_tokens": 20000, "completion_tokens": 0}}

    running.completion = dear
    assert write_set(many, tmp_path / "set", "--max-cost", "1", "--limit", "200", "--concurrency", "4") == 3
    assert 0.5 < len(running.charged) * 0.1 <= 1.0, "at ten cents an answer, ten answers at the most"


def dollars(running, share=1.0):
    """What the server charged for: 100 tokens read at $5 and 50 written at $15 a million, $0.00125 an answer."""
    return len(running.charged) * 0.00125 * share


def test_no_attempt_is_paid_for_beyond_the_limit(server, many, tmp_path, capsys):
    running = server()
    running.content = lambda request, fault: (answer(FIVE[:4]), "stop")
    flags = ["--limit", "16", "--attempts", "50", "--concurrency", "16", "--max-cost", "0.16"]
    assert build_data.generate(["--data", str(many), "--out", str(tmp_path / "set"), *flags]) == 3
    # 16 originals of 50 attempts would have cost $1.00. The last request that is not sent may cost $0.02 at the most.
    assert 0.14 <= dollars(running) <= 0.16
    said = capsys.readouterr().err
    assert re.search(
        r"^stopped at --max-cost 0.16: \$0.1\d+ spent, and the next request may cost \$0.0\d+; run", said, re.M
    )
    # An answer may have no more tokens than were taken into account. An original has 24 bytes: 10 x (24/3 + 20) = 280.
    assert all(280 <= one["max_completion_tokens"] <= order.MOST_ANSWERED for one in running.requests)


def test_no_batch_is_sent_beyond_the_limit(server, many, tmp_path, capsys):
    running = server()
    running.content = lambda request, fault: (answer(FIVE[:4]), "stop")
    flags = ["--limit", "20", "--attempts", "50", "--batch", "--max-cost", "0.06"]
    assert build_data.generate(["--data", str(many), "--out", str(tmp_path / "set"), *flags]) == 3
    assert 0.05 <= dollars(running, 0.5) <= 0.06, "at half the price, and 20 times 50 would have cost $0.625"
    said = capsys.readouterr().err
    assert "stopped at --max-cost 0.06: $0.05" in said and " of 20, the most that --max-cost can cover, sent" in said


def test_an_answer_of_unknown_cost_counts_as_the_most_that_it_can(server, many, tmp_path):
    running = server()
    running.reshape = lambda completion: completion | {"usage": {"prompt_tokens": 100}}
    # Each request can cost more than $0.006: 400 tokens of answer at $15 a million.
    assert write_set(many, tmp_path / "set", "--limit", "10", "--max-cost", "0.06", "--concurrency", "1") == 3
    assert 1 <= len(running.charged) < 10


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "model_not_found", "has no model nothing-of-this-name"),
        (429, "insufficient_quota", "has no credit left"),
    ],
)
def test_an_error_that_all_would_meet_ends_the_run(server, many, tmp_path, capsys, status, code, message):
    """tests/encoders/test_openai.py has the words for every such error."""
    running = server()
    running.refuse = (status, {"message": f"about {KEY}", "code": code})
    assert write_set(many, tmp_path / "set", "--gpt-model", "nothing-of-this-name", "--concurrency", "2") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: --gpt-model nothing-of-this-name: ") and message in captured.err
    assert len(running.requests) <= 4 * (generate.RETRIES + 1)
    assert KEY not in captured.out + captured.err


def test_a_server_that_is_down_ends_the_run(server, many, tmp_path, capsys, monkeypatch):
    server().server_close()
    monkeypatch.setattr(generate, "RETRIES", 1)
    assert write_set(many, tmp_path / "set") == 2
    assert "20 requests in a row failed (no connection)" in capsys.readouterr().err


def test_without_a_key_there_are_three_ways_on(monkeypatch, capsys):
    assert build_data.get([]) == 2
    line = capsys.readouterr().err
    assert all(way in line for way in ("OPENAI_API_KEY", ".env", "SOURCE=paper", "DATA=sample"))
    assert line.count("\n") == 1
    assert build_data.get(["--source", "sample"]) == 0 and "sample.jsonl" in capsys.readouterr().out
    monkeypatch.setenv("SOURCE", "sample")
    assert build_data.get([]) == 0 and "sample.jsonl" in capsys.readouterr().out


def test_another_model_or_template_never_mixes(server, many, tmp_path, capsys):
    server()
    out = tmp_path / "set"
    assert write_set(many, out, "--limit", "2") == 0
    before = (out / "contrast_answers.jsonl").read_bytes()
    assert write_set(many, out, "--limit", "2", "--gpt-model", "other") == 2
    assert "holds answers asked for with another model; give another --out" in capsys.readouterr().err
    changed = tmp_path / "template.yaml"
    changed.write_text(OWN_FILE.read_text() + "\n# changed\n")
    assert write_set(many, out, "--limit", "2", "--template", str(changed)) == 2
    assert "another template" in capsys.readouterr().err
    assert (out / "contrast_answers.jsonl").read_bytes() == before
    template = template_of("own", print)
    _, found = order.originals(str(many))
    cold, warm = (order.Order("m", temperature, 1, 1, 1, None, None, None) for temperature in (0, 0.5))
    folders = [order.folder_of(one, order.order_settings(one, template, found)) for one in (cold, warm)]
    assert folders[0] != folders[1]


PAPERS_FORM = r"""
contrast_templates:
  - {id: 1, content: "prompt: {sentence}\n({category}, as {category_explanation}): {{'prompt_#n': ...}}"}
  - {id: 2, content: 'never used'}
Do_not_answer_policies:
  - {id: 1, category: Assisting illegal activities, explanation: a crime}
"""


def test_a_template_in_the_papers_form_is_asked_as_the_official_code_does(server, many, tmp_path, capsys):
    # The official code sends the first template as the only message, filled in with the question, the long name of its
    # category and that category's explanation, at temperature 0, and nothing else.
    running = server()
    words = tmp_path / "words.yaml"
    words.write_text(PAPERS_FORM)
    flags = ["--template", str(words), "--categories", "Illegal Activities", "--limit", "1"]
    assert build_data.generate(["--data", str(many), "--out", str(tmp_path / "set"), *flags]) == 0
    [row] = [row for row in order.originals(str(many))[0] if row.shown == "Illegal Activities"][:1]
    content = f"prompt: {row.text}\n(Assisting illegal activities, as a crime): {{'prompt_#n': ...}}"
    [body] = running.requests
    assert body == {
        "model": "gpt-4o-2024-05-13",
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
    }
    assert "words    the template words.yaml" in capsys.readouterr().out
    assert "the template words.yaml" in (tmp_path / "set" / "contrast_card.md").read_text()


def test_the_papers_own_words_are_sent_where_they_can_be_had(paper_data, monkeypatch, capsys):
    import yaml

    monkeypatch.setenv("TEMPLATE", "auto")
    assert build_data.generate(["--dry-run", "--limit", "1", "--data", "paper"]) == 0
    body = json.loads(capsys.readouterr().out.partition("\n")[2].partition("\n\n")[0])
    document = yaml.safe_load((paper_data / "gpt_templates.yaml").read_text())
    row = loading.load(ORIGINALS, "paper")[0]
    known = {one["category"]: one["explanation"] for one in document["Do_not_answer_policies"]}
    long = next(name for name, short in catalogue.CATEGORIES.items() if short == row.groups[0])
    content = document["contrast_templates"][0]["content"].format(
        sentence=row.texts["question"][0], category=long, category_explanation=known[long]
    )
    assert body["messages"] == [{"role": "user", "content": content}] and "seed" not in body
    assert known.keys() == catalogue.CATEGORIES.keys()


def test_without_the_papers_template_our_own_is_taken_and_said(many, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TEMPLATE", "auto")
    monkeypatch.setenv("SAFE_EMBED_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("utils.data.sources.download", refused)
    arguments = ["--dry-run", "--limit", "1", "--data", str(many)]
    assert build_data.generate(arguments) == 0
    assert "NOT THE PAPER'S WORDS: the request is in this project's own, as no connection" in capsys.readouterr().err
    assert build_data.generate([*arguments, "--template", "paper"]) == 2
    assert capsys.readouterr().err == "error: no connection; connect\n"


def refused(card, directory):
    raise InputError("no connection; connect")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "is no template (not YAML)"),
        ("system: a", "has no 'user'"),
        ("user: write five", "does not hold {prompt}"),
        ("user: 'five of {prompt} in {style}'", "{style} is none of category, explanation, prompt"),
        ("user: '{prompt}'\nagain: 'no, {reason}'", "has no 'reason'"),
        (None, "can't be read (No such file or directory)"),
    ],
)
def test_a_file_that_is_no_template_is_refused(content, message, many, tmp_path, capsys):
    path = tmp_path / "words.yaml"
    if content is not None:
        path.write_text(content)
    assert build_data.generate(["--dry-run", "--data", str(many), "--template", str(path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: --template ") and message in line and line.count("\n") == 1
    assert line.endswith("give paper, own, or a YAML file like Safety_Contrast/writing/template.yaml\n")


def test_a_journal_is_repaired_at_its_end_and_refused_in_its_middle(server, many, tmp_path, capsys):
    server()
    out = tmp_path / "set"
    assert write_set(many, out, "--limit", "2") == 0
    path, arguments = out / "contrast_answers.jsonl", ["--data", str(many), "--out", str(out), "--limit", "3"]
    with path.open("a") as stream:
        stream.write('{"id": "2", "ans')
    assert build_data.generate(arguments) == 0
    assert "half-written" in capsys.readouterr().err
    before, lines = made(out), path.read_text().splitlines()
    for at, line in ((0, "5"), (1, "not JSON"), (1, '{"answer": 1}'), (1, "[" * 100_000)):
        path.write_text("\n".join([*lines[:at], line, *lines[at:]]) + "\n")
        assert build_data.generate(arguments) == 2
        assert f"contrast_answers.jsonl: line {at + 1} is not an entry of a journal; fix" in capsys.readouterr().err
    assert made(out) == before


def test_a_second_run_of_a_set_is_refused_until_the_first_ends(server, many, tmp_path, capsys):
    running, out = server(), tmp_path / "set"
    assert write_set(many, out, "--limit", "2") == 0
    left = {path.name for path in out.iterdir()}
    assert left == {"contrast_answers.jsonl", "contrast_card.md", "contrast_origin.jsonl", "contrast_parsed.jsonl"}, (
        "and no lock's file"
    )
    path = out / "contrast_answers.jsonl"
    first = journal.Journal(path, json.loads(path.read_text().splitlines()[0])["settings"])
    assert write_set(many, out, "--limit", "3") == 2
    line = capsys.readouterr().err
    assert re.fullmatch(r"error: .*contrast_answers.jsonl: another run is writing it; wait for .*\n", line)
    assert len(running.requests) == 2
    first.close()
    assert write_set(many, out, "--limit", "3") == 0


def test_the_batch_api(server, many, tmp_path):
    server()
    assert write_set(many, tmp_path / "plain", "--limit", "60") == 0
    running = server(seed=4, share=0.3)
    assert write_set(many, tmp_path / "batch", "--limit", "60", "--batch", "--attempts", "8") == 0
    assert made(tmp_path / "batch") == made(tmp_path / "plain")
    assert not running.requests and len(running.batches) > 1, "what would not do was asked for in another batch"


def test_an_expired_batch_keeps_what_it_gave(server, many, tmp_path):
    running = server()
    running.batch_end = "expired"
    assert write_set(many, tmp_path / "set", "--limit", "40", "--batch") == 0
    assert len(running.charged) == 40, "no answer twice"


@pytest.mark.parametrize(
    ("end", "answered", "message"),
    [
        (
            "cancelled",
            0.5,
            "batch batch_0 was cancelled, 5 of its answers came and are kept; run again to send the rest",
        ),
        ("failed", 0.0, "could not run batch batch_0 (token_limit_exceeded; no code, line 3); see it there, or leave"),
    ],
)
def test_a_batch_that_ends_early_is_not_sent_again_at_once(server, many, tmp_path, capsys, end, answered, message):
    running = server()
    running.batch_end, running.answered = end, answered
    running.line_error = {"response": None, "error": {"code": "batch_expired", "message": "not in time"}}
    running.batch_errors = [
        {"code": "token_limit_exceeded", "message": "x"},
        {"code": "a b", "message": KEY, "line": 3},
    ]
    assert write_set(many, tmp_path / "set", "--limit", "10", "--batch") == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and KEY not in said
    assert len(running.batches) == 1 and len(running.charged) == 10 * answered
    assert write_set(many, tmp_path / "set", "--limit", "10", "--batch") == 0
    assert len(running.batches) == 2 and len(running.charged) == 10, "only the rest, and once"


def test_requests_that_a_batch_refused_are_told_and_not_sent_again(server, many, tmp_path, capsys):
    error = {"response": {"status_code": 400, "body": {}}, "error": {"code": "content_filter", "message": KEY}}
    running = server()
    running.line_error, running.answered = error, 0.9
    assert write_set(many, tmp_path / "set", "--limit", "10", "--batch") == 3
    said = capsys.readouterr()
    assert re.search(r"missing  id 9: 127\S* refused a request \(status 400, content_filter\)", said.out)
    assert len(running.batches) == 1 and KEY not in said.out + said.err


@pytest.mark.parametrize("limit", ["10", "3"])
def test_a_batch_whose_id_never_came_is_found_and_fetched_whole(server, many, tmp_path, capsys, limit):
    running = server()
    running.refuse = "after the batch"
    assert write_set(many, tmp_path / "set", "--limit", "10", "--batch") == 2
    running.refuse = None
    capsys.readouterr()
    assert write_set(many, tmp_path / "set", "--limit", "10") == 2, "without --batch they would be paid for twice"
    assert "add --batch to fetch them" in capsys.readouterr().err and not running.requests
    assert write_set(many, tmp_path / "set", "--limit", limit, "--batch") == 0
    assert write_set(many, tmp_path / "set", "--limit", "10") == 0
    assert len(running.charged) == 10 and len(running.batches) == 1 and not running.requests


def test_the_papers_raw_answers_give_the_papers_set(paper_data, tmp_path):
    out = tmp_path / "parsed.jsonl"
    assert build_data.parse([str(paper_data / "contrast_origin.jsonl"), "--out", str(out)]) == 0
    assert hashlib.sha256(out.read_bytes()).hexdigest() == catalogue.CONTRAST.sha256


def test_parse_names_what_it_leaves_out(tmp_path, capsys):
    good = {"id": 1, "category": "Hate Speech", "question": "why?", "contrasts": answer(FIVE)}
    path = tmp_path / "raw.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | {"id": 2, "contrasts": answer(FIVE[:3])}) + "\n")
    assert build_data.parse([str(path)]) == 3
    assert "left out row 2 (id 2): there are not 5 texts in it" in capsys.readouterr().err
    assert len((tmp_path / "raw_parsed.jsonl").read_text().splitlines()) == 1


def test_parse_takes_the_place_of_no_other_set(tmp_path, capsys):
    raw = {"id": 1, "category": "Hate Speech", "question": "why?", "contrasts": answer(FIVE)}
    path, published = tmp_path / "contrast_origin.jsonl", tmp_path / "contrast_parsed.jsonl"
    path.write_text(json.dumps(raw) + "\n")
    published.write_text("939 rows\n")
    assert build_data.parse([str(path)]) == 0 and published.read_text() == "939 rows\n"
    assert build_data.parse([str(path)]) == 0, "the same again changes nothing"
    capsys.readouterr()
    assert build_data.parse([str(path), "--out", str(published)]) == 2
    assert "already exists with different content; name a different file, or add --overwrite" in capsys.readouterr().err
    assert published.read_text() == "939 rows\n"
    assert build_data.parse([str(path), "--out", str(path), "--overwrite"]) == 2
    assert "is the file of raw answers itself; name a different file" in capsys.readouterr().err
    assert json.loads(path.read_text()) == raw
    assert build_data.parse([str(path), "--out", str(published), "--overwrite"]) == 0
    assert published.read_text() == (tmp_path / "contrast_origin_parsed.jsonl").read_text()


def test_quality_by_hand(tmp_path, capsys):
    # Original "a b c d". Edits: "a b c e" 3/5, "a b c f" 3/5, "a x y z" 1/7, "p q r s" 0, "a b c d e" 4/5.
    rows = []
    for number, fifth in ((1, "a b c d e"), (2, "a b c d g")):
        five = ["a b c e", "a b c f", f"a x y z{number}", f"p q r s{number}", fifth]
        rows.append(answers.parsed_row(number, "Hate Speech", "a b c d", five))
    path = tmp_path / "small.jsonl"
    path.write_text(answers.json_lines(rows))
    dataset, _ = loading.load(TASK.format, str(path))
    everything = quality.quality(dataset)[-1]
    assert everything.overlap == pytest.approx((3 / 5 + 3 / 5 + 1 / 7 + 0 + 4 / 5) / 5)
    assert everything.small == pytest.approx(3 / 5)
    assert everything.shared == 4 and quality.shared_texts(dataset) == 2, "two texts, under two originals each"
    # Within the five of row 1: "a b c e" and "a b c d e" share 4 of 5 words; row 2: none has 0.8.
    assert everything.nearly_same == 1
    # Row 1: lengths 7, 7, 8, 8, 9 over 7; row 2 the same.
    assert everything.length == pytest.approx(39 / 5 / 7)
    assert build_data.check([str(path), "--out", str(tmp_path), "--minimal", "0.9"]) == 2
    assert "no original has five edits of that overlap" in capsys.readouterr().err
    assert build_data.check([str(path), "--out", str(tmp_path), "--minimal", "0"]) == 0
    assert (tmp_path / "small_minimal_0.jsonl").read_text() == path.read_text().replace(
        "Hate Speech", "Toxic language (hate speech)"
    )


def test_the_quality_of_the_papers_set_is_what_is_published_of_it(paper_data, capsys, tmp_path):
    assert build_data.check(["paper", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    rows = {line[:26].strip(): line[26:].split() for line in printed.splitlines() if line[26:28] == "  "}
    # Known of the published set: mean Jaccard 0.33, 0.15 in Stereotypes, 0.52 in Disinformation; 69 shared edits.
    assert [rows[name][1] for name in ("all", "Stereotypes", "Disinformation")] == ["0.33", "0.15", "0.52"]
    assert "69 different edits are shared by two or more originals" in printed
