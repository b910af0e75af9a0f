import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import mmrec
from conftest import SMALL_OPTIONS


def train(trainer, until=None):
    """Returns the losses of the steps up to `until`, and of the validations."""
    losses = []
    while not trainer.is_done and (until is None or trainer.steps_taken < until):
        losses.append(trainer.step().loss)
        if trainer.validation_is_due:
            losses.append(trainer.validate().loss)
    return losses


def same_weights(a, b):
    return all(np.array_equal(a.weights[name], b.weights[name]) for name in a.weights)


def arrays(text):
    tokenizer = mmrec.Tokenizer("bytes")
    ids = tokenizer.encode(text.read_text())
    return dict(data=ids[:50000], validation=ids[50000:], tokenizer=tokenizer)


def test_steps_are_those_of_the_program_train(text, folder):
    trainer = mmrec.Trainer(text, **SMALL_OPTIONS)
    assert "validation" in trainer.describe() and trainer.steps == 30
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert train(trainer) == [row["loss"] for row in rows]
    assert same_weights(trainer.model(), mmrec.load(folder / "final_checkpoint"))


@pytest.mark.parametrize("form", ["text", "arrays"])
def test_a_resumed_run_ends_with_the_same_weights(text, tmp_path, form):
    options = {name: value for name, value in SMALL_OPTIONS.items() if name != "tokenizer"}
    options.update(average=0.9, carry=2)
    data = arrays(text) if form == "arrays" else dict(data=text)
    whole = mmrec.Trainer(**data, **options)
    losses = train(whole)

    part = mmrec.Trainer(**data, **options)
    first = train(part, until=12)
    part.save(tmp_path / "saved")
    del part
    again = {name: ids for name, ids in data.items() if form == "arrays" and name != "tokenizer"}
    resumed = mmrec.Trainer.resume(tmp_path / "saved", **again)
    assert resumed.steps_taken == 12
    assert first + train(resumed) == losses
    assert same_weights(resumed.model(), whole.model())

    whole.save(tmp_path / "whole")
    assert same_weights(mmrec.load(tmp_path / "whole"), whole.model())
    longer = mmrec.Trainer.resume(tmp_path / "whole", **again, steps=31)
    assert len(train(longer)) >= 1
    with pytest.raises(ValueError, match="the run is done"):
        longer.step()
    with pytest.raises(ValueError, match="batch 3: the run was begun with 4"):
        mmrec.Trainer.resume(tmp_path / "whole", **again, batch=3)


def test_a_run_from_a_checkpoint(text, folder):
    trainer = mmrec.Trainer(text, init=folder, steps=2, seq=32)
    assert same_weights(trainer.model(), mmrec.load(folder))
    assert trainer.tokenizer == mmrec.load(folder).tokenizer


def test_a_sample_and_a_model_of_the_moment(text):
    trainer = mmrec.Trainer(text, **SMALL_OPTIONS, sample_tokens=20)
    assert len(trainer.sample()) == 20
    before = trainer.model()
    trainer.step()
    assert not same_weights(before, trainer.model())


def test_figures_of_a_step(text):
    trainer = mmrec.Trainer(text, **SMALL_OPTIONS)
    row = trainer.step()
    assert (row.step, row.epoch, row.split, row.tokens) == (1, 1, "train", 4 * 64)
    assert 3 < row.loss < 6 and row.perplexity == pytest.approx(np.exp(row.loss))
    assert row.lr > 0 and row.grad_norm > 0 and np.isnan(row.bits_per_byte)
    assert trainer.validate().bits_per_byte > 0
    assert "step=1" in repr(row)


def test_other_threads_run_during_a_step(text):
    trainer = mmrec.Trainer(text, steps=3, batch=16, seq=256, config={"dim": 256})
    trainer.step()
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    begin = time.perf_counter()
    trainer.step()
    end = time.perf_counter()
    done.set()
    thread.join()
    # with the GIL held there would be one at most
    assert len([tick for tick in ticks if begin < tick < end]) >= 5


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda t: mmrec.Trainer(t, stepz=1), ValueError, "stepz; did you mean steps"),
        (lambda t: mmrec.Trainer(t, steps=1.5), TypeError, "steps must be a whole number"),
        (lambda t: mmrec.Trainer(t, recompute="yes"), TypeError, "True or False"),
        (lambda t: mmrec.Trainer(t, batch=0), ValueError, "batch 0 makes no sense"),
        (lambda t: mmrec.Trainer(t, warmup="soon"), ValueError, "warmup 'soon'"),
        (lambda t: mmrec.Trainer(t, out="x"), ValueError, "for the program train"),
        (lambda t: mmrec.Trainer(t, steps=1, epochs=1), ValueError, "steps and epochs"),
        (lambda t: mmrec.Trainer(t, config={"dimm": 1}), ValueError, "config: unknown field"),
        (lambda t: mmrec.Trainer(t, config="huge"), ValueError, "huge"),
        (lambda t: mmrec.Trainer("no such text"), mmrec.Error, "no such text"),
        (lambda t: mmrec.Trainer(t, tokenizer=mmrec.Tokenizer("bytes")), ValueError, "for arrays"),
        (lambda t: mmrec.Trainer(t, validation=[5, 6]), ValueError, "val_split"),
        (lambda t: mmrec.Trainer([1, 2, 3]), ValueError, "tokenizer is missing"),
        (lambda t: mmrec.Trainer([999], tokenizer=mmrec.Tokenizer("bytes")), ValueError, "id 999"),
        (lambda t: mmrec.Trainer([9], tokenizer=mmrec.Tokenizer("bytes")), ValueError, "text"),
        (lambda t: mmrec.Trainer.resume(t.parent), mmrec.Error, "state.json|checkpoint"),
    ],
)
def test_wrong_use_is_told(text, call, kind, words):
    with pytest.raises(kind, match=words):
        call(text)


def test_without_a_validation_text(text):
    data = arrays(text)
    del data["validation"]
    trainer = mmrec.Trainer(**data, steps=1, config={"dim": 32})
    trainer.step()
    assert not trainer.validation_is_due
    with pytest.raises(ValueError, match="no validation text"):
        trainer.validate()


INTERRUPTED = """
import itertools, os, signal, sys, threading, time
import mmrec

def interrupt_after(seconds):
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()

def trainer():
    return mmrec.Trainer(sys.argv[1], steps=8, batch=8, seq=256, config={"dim": 256, "layers": 2})

plain = trainer()
begin = time.perf_counter()
losses = [plain.step().loss for _ in range(4)]
seconds = (time.perf_counter() - begin) / 4

for attempt in range(20):  # a busy machine may deliver the signal late
    training = trainer()
    training.step()
    interrupt_after(seconds / 4)
    try:
        training.step()
        time.sleep(10)
    except KeyboardInterrupt:
        pass
    if training.steps_taken == 1:
        break
assert training.steps_taken == 1, "no step was interrupted"
assert [training.step().loss for _ in range(2)] == losses[1:3], "the state was not kept"

signal.signal(signal.SIGINT, lambda *_: None)  # a handler that raises nothing
interrupt_after(seconds / 4)
assert training.step().loss == losses[3]
signal.signal(signal.SIGINT, signal.default_int_handler)

model = training.model()
expected = model.generate("A", max_tokens=500)
stream = model.stream("A", max_tokens=500)
pieces = []
try:
    interrupt_after(0.005)
    for piece in stream:
        pieces.append(piece)
    time.sleep(10)
except KeyboardInterrupt:
    pass
assert "".join(pieces) + "".join(stream) == expected, "a piece was lost"
interrupt_after(0.1)
try:
    model.generate("A", max_tokens=10**9)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_interrupts_and_keeps_the_state(text):
    """In a process of its own: the signals are not for pytest."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", INTERRUPTED, str(text)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("interrupted\n")
