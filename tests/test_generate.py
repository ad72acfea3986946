from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gguf_files import edited
from model_fakes import header
from worker_fakes import fake_command, is_running, leftovers, wait_for

import rag.generate
from index.errors import ModelDamaged, ModelUnsuitable, UnknownModel
from rag.errors import GenerationCancelled, QuestionError, WorkerFailed
from rag.generate import LlamaGenerator
from rag.readings import ReadingStore, claim
from rag.types import Piece, Prompt

CONTEXT = "Document:\n" + "The oldest flamingo of the zoo is 61 years old and lives by the pond. " * 5
PROMPT = Prompt("Answer briefly.", CONTEXT, "Question: How old is the flamingo?", document_id="d1")
LONG = 'root ::= "' + "ab " * 150 + '"'


@pytest.fixture
def store(tmp_path: Path) -> ReadingStore:
    return ReadingStore(tmp_path / "readings", max_bytes=1 << 30)


@pytest.fixture
def make(small_gguf: Path, store: ReadingStore) -> Iterator[Callable[[], LlamaGenerator]]:
    """Generators on the small model that share one store; whatever a test leaves open is closed."""
    before = leftovers()
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(
            LlamaGenerator(
                small_gguf, name="small", digest="d", context_tokens=512, threads=1, readings=store
            )
        )
    assert leftovers() == before


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], LlamaGenerator]]:
    """Generators around a model that a test writes in a few lines."""
    before = leftovers()
    with contextlib.ExitStack() as stack:

        def make(changes: str = "") -> LlamaGenerator:
            monkeypatch.setattr(rag.generate, "worker_command", lambda *_, **__: fake_command(changes))
            readings = ReadingStore(tmp_path / "readings", max_bytes=10_000)
            return stack.enter_context(
                LlamaGenerator(tmp_path / "m.gguf", name="f", digest="d", context_tokens=1, readings=readings)
            )

        yield make
    wait_for(lambda: leftovers() == before, "nothing to be left")


def draft(generator: LlamaGenerator, prompt: Prompt = PROMPT, **options: object) -> list[Piece]:
    return list(generator.generate(prompt, **({"max_tokens": 10} | options)))  # type: ignore[arg-type]


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def cached(pieces: list[Piece]) -> int:
    assert pieces[-1].usage is not None
    return pieces[-1].usage.cached_tokens


# -- the same answer, whatever came before --------------------------------------------------------


@pytest.mark.models
def test_fresh_held_and_restored_prefixes_give_the_same_text(make: Callable[[], LlamaGenerator]) -> None:
    first = make()
    assert not first.has_reading(PROMPT)
    fresh = draft(first)
    assert cached(fresh) == 0
    assert first.has_reading(PROMPT)
    asked = replace(PROMPT, question=PROMPT.question + "\nReply Yes or No.")
    chosen = first.choose(asked, ("Yes", "No"))
    assert chosen.usage.cached_tokens > 64  # the draft had read it
    assert chosen.usage.prompt_tokens > chosen.usage.cached_tokens
    held = draft(first)
    assert cached(held) > 64
    assert first.read(PROMPT)

    second = make()
    assert second.has_reading(PROMPT)
    restored = draft(second)
    assert second.choose(asked, ("Yes", "No")).scores == chosen.scores
    assert text_of(fresh) == text_of(held) == text_of(restored) != ""
    assert 64 < cached(restored) <= cached(held)
    # What is restored is the prefix, to the token.
    tokens = restored[-1].usage
    assert tokens is not None
    other = draft(second, replace(PROMPT, question="Where does it live, and who feeds it there?"))
    assert cached(other) == cached(restored)


@pytest.mark.models
def test_seeds(make: Callable[[], LlamaGenerator]) -> None:
    generator = make()
    short = replace(PROMPT, context="Document:\nIt is old.")
    texts = [text_of(draft(generator, short, temperature=1.5, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.models
def test_no_character_is_torn_and_the_grammar_obeyed(make: Callable[[], LlamaGenerator]) -> None:
    generator = make()
    short = replace(PROMPT, context="c")
    for temperature in (0.0, 1.0):
        pieces = draft(
            generator, short, max_tokens=40, temperature=temperature, grammar='root ::= "héllo 🙂 漢字"'
        )
        assert text_of(pieces) == "héllo 🙂 漢字"
        assert pieces[-1].stop == "end"
    pid = generator.process_id
    for grammar in ("root ::= (", "root ::= [^\\x00-\\U0010FFFF]"):
        with pytest.raises((WorkerFailed, ModelUnsuitable), match="grammar"):
            draft(generator, short, grammar=grammar)
    assert text_of(draft(generator, short, grammar='root ::= "ok"')) == "ok"
    assert generator.process_id == pid


# -- readings -------------------------------------------------------------------------------------


@pytest.mark.models
@pytest.mark.parametrize("damage", ["flip", "truncate", "other"])
def test_a_bad_reading_is_never_used_and_made_again(
    make: Callable[[], LlamaGenerator], store: ReadingStore, damage: str
) -> None:
    first = make()
    assert first.read(PROMPT)
    expected = text_of(draft(first))
    (path,) = store.folder.glob("*.reading")
    whole = path.read_bytes()
    data = bytearray(whole)
    if damage == "flip":
        data[len(data) // 2] ^= 1
    elif damage == "truncate":
        del data[-1:]
    else:
        assert first.read(replace(PROMPT, instructions="Answer at length."))
        data[:] = next(p for p in store.folder.glob("*.reading") if p != path).read_bytes()
    path.write_bytes(data)

    second = make()
    pieces = draft(second)
    assert cached(pieces) == 0
    assert text_of(pieces) == expected
    assert not path.exists()
    assert second.read(PROMPT)
    assert path.read_bytes() == whole


@pytest.mark.models
def test_a_reading_while_another_process_makes_it(
    make: Callable[[], LlamaGenerator], store: ReadingStore
) -> None:
    first, second = make(), make()
    assert first.read(PROMPT)
    (path,) = store.folder.glob("*.reading")
    path.unlink()
    with claim(path):
        assert not second.read(PROMPT)
        assert not second.has_reading(PROMPT)
    assert second.read(PROMPT)
    assert path.exists()


def test_only_sections_are_read_and_only_where_they_can_be_kept(
    fake: Callable[[], LlamaGenerator], tmp_path: Path
) -> None:
    generator = fake()
    assert not generator.read(replace(PROMPT, document_id=""))
    assert generator.read(PROMPT)
    assert [path.suffix for path in sorted((tmp_path / "readings").iterdir())] == [".lock", ".reading"]
    for readings in (None, ReadingStore(tmp_path / "none", max_bytes=0)):
        with LlamaGenerator(
            tmp_path / "m", name="n", digest="d", context_tokens=1, readings=readings
        ) as keeps_none:
            assert not keeps_none.read(PROMPT)
            keeps_none.leave(PROMPT)
            assert keeps_none.process_id is None
    assert not (tmp_path / "none").exists()


def test_only_what_was_read_to_its_end_counts_as_held(fake: Callable[[str], LlamaGenerator]) -> None:
    generator = fake("def first_token_log_probabilities(self, choices): raise ValueError('no')")
    section = replace(PROMPT, document_id="")
    with pytest.raises(WorkerFailed):
        generator.choose(section, ("Yes",))
    assert not generator.has_reading(section)
    draft(generator, section)
    assert generator.has_reading(section)
    draft(generator, replace(section, context="other"))
    assert not generator.has_reading(section)


WAITS = """
def evaluate(self, tokens, cancelled, **_):
    while not os.path.exists(os.environ["GO"]) and not cancelled():
        time.sleep(0.01)
    self.held = tokens.prefix
    return None if cancelled() else 0
"""


def test_what_is_left_to_the_worker_is_read_without_us(
    fake: Callable[[str], LlamaGenerator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GO", str(tmp_path / "go"))
    generator = fake(WAITS)
    generator.leave(PROMPT)  # no worker: nothing to leave it to
    generator.start()
    left = generator.process_id
    assert left is not None
    generator.leave(PROMPT)
    generator.close()
    assert generator.process_id is None
    assert is_running(left)
    (tmp_path / "go").touch()
    wait_for(lambda: not is_running(left), "the worker to end")
    assert len(list((tmp_path / "readings").glob("*.reading"))) == 1


def test_a_worker_that_is_dead_already_can_be_left(fake: Callable[[str], LlamaGenerator]) -> None:
    generator = fake()
    assert generator.context_tokens == 512
    assert generator.process_id is not None
    os.kill(generator.process_id, signal.SIGKILL)
    generator.leave(PROMPT)
    assert draft(generator)[-1].stop == "end"


@pytest.mark.models
def test_the_reading_is_there_after_the_program_has_ended(small_gguf: Path, store: ReadingStore) -> None:
    script = (
        "import sys; from pathlib import Path; from rag.generate import LlamaGenerator; "
        "from rag.readings import ReadingStore; from rag.types import Prompt\n"
        "g = LlamaGenerator(Path(sys.argv[1]), name='n', digest='d', context_tokens=512, threads=1, "
        "readings=ReadingStore(Path(sys.argv[2]), max_bytes=1 << 30))\n"
        "g.start(); print(g.process_id); g.leave(Prompt(*sys.argv[3:6], document_id='d1')); g.close()"
    )
    arguments = [str(small_gguf), str(store.folder), PROMPT.instructions, PROMPT.context, PROMPT.question]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    assert result.stderr == b""
    wait_for(lambda: not is_running(int(result.stdout)), "the worker to end")
    with LlamaGenerator(
        small_gguf, name="n", digest="d", context_tokens=512, threads=1, readings=store
    ) as generator:
        assert generator.has_reading(PROMPT)
        assert cached(draft(generator)) > 64


def test_a_worker_whose_program_was_killed_ends_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, json, time, threading; from rag.worker_process import WorkerProcess\n"
        "w = WorkerProcess(json.loads(sys.argv[1])); w.receive(lambda: False)\n"
        "w.send({'op': 'count', 'id': 1, 'text': ''}); print(w.pid, flush=True); threading.Event().wait()"
    )
    command = fake_command("def text_tokens(self, text): threading.Event().wait()")
    with subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(command)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    wait_for(lambda: not is_running(pid), "the worker to end")


# -- cancelling -----------------------------------------------------------------------------------


@pytest.mark.models
def test_cancelled_while_reading_and_while_writing(make: Callable[[], LlamaGenerator]) -> None:
    generator = make()
    expected = text_of(draft(generator))
    pid = generator.process_id
    other = replace(PROMPT, instructions="Something else.")
    wanted = threading.Event()
    with pytest.raises(GenerationCancelled):
        draft(generator, other, cancelled=lambda: True)

    pieces = generator.generate(PROMPT, max_tokens=400, grammar=LONG, cancelled=wanted.is_set)
    assert next(pieces).text
    wanted.set()
    with pytest.raises(GenerationCancelled):
        list(pieces)
    assert not generator.read(other, cancelled=lambda: True)
    with pytest.raises(GenerationCancelled):
        generator.choose(other, ("Yes",), lambda: True)
    assert text_of(draft(generator)) == expected
    assert generator.process_id == pid


SPEAKS_UNTIL_CANCELLED = """
def generate(self, tokens, *, cancelled, **_):
    while not cancelled():
        yield Piece("word ")
    yield Piece("", Usage(1, 1, 0), "cancelled")
"""


def test_an_iterator_that_is_left_is_cancelled(fake: Callable[[str], LlamaGenerator]) -> None:
    generator = fake(SPEAKS_UNTIL_CANCELLED)
    pieces = generator.generate(PROMPT, max_tokens=1)
    assert next(pieces) == Piece("word ")
    pieces.close()  # type: ignore[attr-defined]
    assert generator.count_tokens("abc") == 3  # it would speak for ever

    def consume() -> None:
        for _ in generator.generate(PROMPT, max_tokens=1):
            raise ZeroDivisionError

    pid = generator.process_id
    with pytest.raises(ZeroDivisionError):
        consume()
    assert generator.count_tokens("abc") == 3
    assert generator.process_id == pid


def test_a_cancelled_request_stops_in_the_worker_too(
    fake: Callable[[str], LlamaGenerator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GO", str(tmp_path / "never"))
    generator = fake(WAITS)
    looks = iter([False] * 20 + [True] * 5)
    with pytest.raises(GenerationCancelled):
        draft(generator, cancelled=lambda: next(looks))
    # It would wait for ever; what it still says about the first request is passed over.
    assert generator.count_tokens("abc") == 3


def test_loading_is_not_waited_for_when_nobody_wants_it(fake: Callable[[str], LlamaGenerator]) -> None:
    generator = fake("def __init__(self, *_, **__): threading.Event().wait()")
    generator.start()
    looks = iter([False, False, True])
    with pytest.raises(GenerationCancelled):
        draft(generator, cancelled=lambda: next(looks))


def test_whoever_waits_for_their_turn_can_leave(fake: Callable[[str], LlamaGenerator]) -> None:
    generator = fake()
    running = generator.generate(PROMPT, max_tokens=5)
    assert next(running) == Piece("said")
    looks = iter([False, True])
    with pytest.raises(GenerationCancelled):
        draft(generator, cancelled=lambda: next(looks))
    generator.leave(PROMPT)  # nothing happens: somebody is being answered
    assert [piece.stop for piece in running] == ["end"]
    assert draft(generator)[-1].stop == "end"


def test_callers_take_turns(fake: Callable[[str], LlamaGenerator]) -> None:
    generator = fake()
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(text_of(draft(generator)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["said"] * 8


# -- a worker that dies ---------------------------------------------------------------------------


@pytest.mark.models
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_worker_that_dies_takes_only_its_question_along(
    make: Callable[[], LlamaGenerator], number: signal.Signals
) -> None:
    generator = make()
    expected = text_of(draft(generator))
    pid = generator.process_id
    assert pid is not None
    pieces = generator.generate(PROMPT, max_tokens=400, grammar=LONG)
    next(pieces)
    os.kill(pid, number)
    with pytest.raises(WorkerFailed, match=number.name):
        list(pieces)
    assert not generator.has_reading(PROMPT)
    assert text_of(draft(generator)) == expected
    assert generator.process_id not in {pid, None}


@pytest.mark.models
def test_a_worker_that_is_stopped_is_replaced(small_gguf: Path) -> None:
    with LlamaGenerator(
        small_gguf, name="n", digest="d", context_tokens=512, threads=1, silence_limit_s=1.5
    ) as generator:
        short = Prompt("i", "c", "q")
        draft(generator, short)
        assert generator.process_id is not None
        os.kill(generator.process_id, signal.SIGSTOP)
        with pytest.raises(WorkerFailed, match="no sign of life"):
            draft(generator, short)
    with LlamaGenerator(small_gguf, name="n", digest="d", context_tokens=512, threads=1) as generator:
        assert draft(generator, short)[-1].usage is not None


def test_a_crash_while_loading_speaks_of_the_file(
    fake: Callable[[str], LlamaGenerator], tmp_path: Path
) -> None:
    generator = fake("def __init__(self, *_, **__): os.abort()")
    with pytest.raises(UnknownModel):  # which says more than a signal does
        draft(generator)
    (tmp_path / "m.gguf").write_bytes(header("llama"))
    with pytest.raises(ModelDamaged, match=r"SIGABRT.*loading .*m\.gguf.*copy or download it again"):
        draft(generator)


# -- files and questions that cannot serve --------------------------------------------------------


@pytest.mark.models
def test_files_that_cannot_serve_are_told_within_seconds(small_gguf: Path, tmp_path: Path) -> None:
    truncated, garbage = tmp_path / "truncated.gguf", tmp_path / "garbage.gguf"
    with small_gguf.open("rb") as file:
        truncated.write_bytes(file.read(40_000_000))
    garbage.write_bytes(random.Random(1).randbytes(10_000))
    embedder = edited(small_gguf, tmp_path / "embedder.gguf", {"llama.pooling_type": 1})
    before = leftovers()
    for path, error in [
        (tmp_path / "missing.gguf", UnknownModel),
        (truncated, ModelDamaged),
        (garbage, ModelDamaged),
        (embedder, ModelUnsuitable),
    ]:
        with LlamaGenerator(path, name="n", digest="d", context_tokens=512, threads=1) as generator:
            generator.start()
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(error, match=path.stem):
                    draft(generator)
                assert time.monotonic() - began < 10
    assert leftovers() == before
    assert not list(Path.cwd().glob("core*"))


@pytest.mark.models
def test_a_prompt_that_is_too_long(make: Callable[[], LlamaGenerator]) -> None:
    generator = make()
    assert generator.context_tokens == 512
    long = replace(PROMPT, context=CONTEXT * 7)
    with pytest.raises(QuestionError, match=r"\d{3,} tokens .* only 512"):
        draft(generator, long)
    with pytest.raises(QuestionError):
        generator.read(long)
    assert generator.count_tokens("Hello there") == 2
    assert generator.count_tokens("<|im_start|>") > 1
    assert (generator.name, generator.digest) == ("small", "d")


# -- opening and closing --------------------------------------------------------------------------


def test_to_start_is_not_to_wait(fake: Callable[[str], LlamaGenerator]) -> None:
    generator = fake("def __init__(self, *_, **__): threading.Event().wait()")
    generator.start()
    pid = generator.process_id
    assert pid is not None
    generator.start()
    assert generator.process_id == pid
    generator.close()
    assert not is_running(pid)


def test_closed_it_stays_closed(fake: Callable[[str], LlamaGenerator]) -> None:
    generator = fake()
    draft(generator)
    generator.close()
    generator.close()
    with pytest.raises(WorkerFailed, match="closed"):
        draft(generator)
    with pytest.raises(WorkerFailed, match="closed"):
        generator.start()


def test_it_can_be_closed_under_a_question(fake: Callable[[str], LlamaGenerator]) -> None:
    generator = fake(
        "def generate(self, tokens, **_):\n    yield Piece('said')\n    threading.Event().wait()"
    )
    pieces = generator.generate(PROMPT, max_tokens=5)
    assert next(pieces) == Piece("said")
    generator.close()  # the iterator still holds its turn
    with pytest.raises(GenerationCancelled, match="closed"):
        next(pieces)


def test_a_dozen_lives_leave_nothing_behind(fake: Callable[[str], LlamaGenerator]) -> None:
    before = leftovers()
    for _ in range(12):
        generator = fake()
        assert generator.count_tokens("abc") == 3
        generator.close()
        assert leftovers() == before
