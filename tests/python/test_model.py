import ctypes
import json
import os

import numpy as np
import pytest

import mmrec
from conftest import run

PROMPT = "KING HENRY:\nO, the night is young and full of " * 3  # more than a window of 64


@pytest.fixture(scope="module")
def model(folder):
    return mmrec.load(folder)


@pytest.fixture(scope="module")
def ids(model):
    return model.tokenizer.encode(PROMPT)


def generate(folder, *options):
    return run("generate", "--checkpoint", folder, "--prompt", PROMPT, *options)


def logits_of_library(folder, ids):
    """The logits by the C interface of libmmrec.so, whose way through a prompt is generate's."""
    library = ctypes.CDLL(os.environ["MMREC_LIBRARY"])
    for name in ("mmrec_open", "mmrec_begin"):
        getattr(library, name).restype = ctypes.c_void_p
    library.mmrec_logits.restype = ctypes.POINTER(ctypes.c_float)
    opened = ctypes.c_void_p(library.mmrec_open(os.fsencode(folder)))
    reader = ctypes.c_void_p(library.mmrec_begin(opened, 0))
    first = ids.ctypes.data_as(ctypes.c_void_p)
    assert library.mmrec_read(reader, first, ctypes.c_size_t(ids.size)) == 0
    vocabulary = library.mmrec_vocabulary(opened)
    logits = np.ctypeslib.as_array(library.mmrec_logits(reader), (vocabulary,)).copy()
    library.mmrec_end(reader)
    library.mmrec_close(opened)
    return logits


def test_logits_are_those_of_generate(folder, model, ids):
    if not os.path.exists(os.environ["MMREC_LIBRARY"]):
        pytest.skip("libmmrec.so is not built")
    logits, state = model.logits(ids)
    assert logits.dtype == np.float32 and state.tokens == ids.size
    assert logits.tobytes() == logits_of_library(folder, ids).tobytes()


def test_state_is_that_of_generate(folder, model, ids, tmp_path):
    """Of no tokens but the prompt's: the same bits, in the same form."""
    file = tmp_path / "state"
    generate(folder, "--tokens", 0, "--state", file)
    saved = model.state(file.read_bytes())
    logits, state = model.logits(ids)
    assert saved.values.tobytes() == state.values.tobytes() and bytes(saved) == bytes(state)


def test_a_model_in_int8_is_that_of_generate(folder, model):
    narrow = mmrec.load(folder, precision="int8")
    printed = generate(folder, "--tokens", 60, "--json", "--precision", "int8")
    assert narrow.generate(PROMPT, max_tokens=60) == json.loads(printed)["texts"][0]
    ids = model.tokenizer.encode(PROMPT)
    difference = np.abs(narrow.logits(ids)[0] - model.logits(ids)[0]).max()
    assert 0 < difference < 1
    with pytest.raises(mmrec.UsageError, match="float32, bf16 or int8"):
        mmrec.load(folder, precision="int4")


@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(temperature=0.0),
        dict(seed=7, temperature=1.1, top_k=20, top_p=0.9, min_p=0.01),
        dict(repetition_penalty=1.3, repetition_window=10),
        dict(stop=["e t", "\n"]),
    ],
)
def test_texts_are_those_of_generate(folder, model, settings):
    options = []
    for name, value in settings.items():
        for one in value if isinstance(value, list) else [value]:
            options += ["--" + name.replace("_", "-"), one]
    printed = generate(folder, "--tokens", 150, "--json", *options)
    assert model.generate(PROMPT, max_tokens=150, **settings) == json.loads(printed)["texts"][0]


def test_stream_gives_pieces_and_goes_on(model):
    whole = model.generate(PROMPT, max_tokens=60)
    stream = model.stream(PROMPT, max_tokens=30)
    pieces = list(stream)
    assert len(pieces) > 10 and all(pieces)
    assert "".join(pieces) + model.generate(max_tokens=30, state=stream.state) == whole


def test_stream_is_used_while_it_is_written(model):
    stream = model.stream(PROMPT, max_tokens=10**12)
    assert len(next(stream)) >= 1 and stream.state.tokens == len(PROMPT)


def test_logits_after_every_token_and_from_a_state(model, ids):
    every, state = model.logits(ids, every=True)
    assert every.shape == (ids.size, model.tokenizer.size)
    first, middle = model.logits(ids[:10])
    assert first.tobytes() == every[9].tobytes()
    rest, end = model.logits(ids[10:], middle, every=True)
    assert rest.tobytes() == every[10:].tobytes()
    assert bytes(end) == bytes(state)
    again, _ = model.logits(ids[10:11], model.state(bytes(middle)))  # middle is as it was
    assert again.tobytes() == every[10].tobytes()


def test_logits_go_to_memory_of_the_caller(model, ids):
    out = np.zeros(model.tokenizer.size, np.float32)
    logits, _ = model.logits(ids, out=out)
    assert logits is out and out.any()
    for other in (ids.astype(np.int64), ids.tolist(), ids.astype(np.uint8)):
        assert np.array_equal(model.logits(other)[0], out)


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda m: m.logits([]), ValueError, "at least one token"),
        (lambda m: m.logits([0.5]), TypeError, "whole numbers"),
        (lambda m: m.logits([[1, 2]]), ValueError, "one axis"),
        (lambda m: m.logits([5, 10**6]), ValueError, "id 1000000 of token 1"),
        (lambda m: m.logits([2**40]), ValueError, "no vocabulary"),
        (lambda m: m.logits([5], out=np.zeros(3, np.float32)), ValueError, r"has \(3,\)"),
        (
            lambda m: m.logits([5, 6], out=np.zeros((2, m.tokenizer.size), np.float32)),
            ValueError,
            "out must have the shape",
        ),
        (lambda m: m.logits([5], out=np.zeros(m.tokenizer.size)), TypeError, "float64"),
        (lambda m: m.generate(""), ValueError, "at least one character"),
        (lambda m: m.generate("\u4e2d"), ValueError, "knows none of it"),
        (lambda m: m.generate("a", top_p=2.0), ValueError, "top_p 2"),
        (lambda m: m.generate("a", temperature=float("nan")), ValueError, "temperature nan"),
        (lambda m: m.generate("a", max_tokens=-1), ValueError, "max_tokens -1"),
        (lambda m: m.generate("a", stop=""), ValueError, "stop"),
        (lambda m: m.generate("a", tokens=3), TypeError, "tokens"),
        (lambda m: m.state(b"nonsense"), mmrec.Error, "state"),
        (lambda m: mmrec.load("no/such/folder"), mmrec.Error, "no/such/folder"),
        (lambda m: m.tokenizer.decode([10**6]), ValueError, "vocabulary"),
        (lambda m: mmrec.Tokenizer("words", "a"), ValueError, "words"),
    ],
)
def test_wrong_use_is_told(model, call, kind, words):
    with pytest.raises(kind, match=words):
        call(model)


def test_unknown_characters_are_told(model):
    with pytest.warns(UserWarning, match="prompt"):
        model.generate("a\u4e2d", max_tokens=1)


def test_states_belong_to_weights(model, text):
    trainer = mmrec.Trainer(text, config={"dim": 32, "layers": 2, "mem_slots": 64}, steps=1, seq=32)
    _, state = trainer.model().logits([5])
    with pytest.raises(mmrec.Error, match="other weights"):
        model.logits([5], state)


def test_weights_are_shown_in_place(folder, model):
    weights = model.weights
    assert weights["embedding.weight"].shape == (model.config["vocab_size"], model.config["dim"])
    assert sum(array.nbytes for array in weights.values()) > 1000
    with pytest.raises(ValueError, match="read-only"):
        weights["embedding.weight"][0, 0] = 1
    again = mmrec.load(folder).weights  # of a model that nothing else holds
    assert np.array_equal(again["embedding.weight"], weights["embedding.weight"])


@pytest.mark.parametrize("kind", ["char", "bytes", "bpe"])
def test_tokenizers_return_the_text(kind, text, tmp_path):
    sample = text.read_text()[:5000]
    tokenizer = mmrec.Tokenizer(kind, sample)
    ids = tokenizer.encode(sample)
    assert ids.dtype == np.int32 and ids.max() < tokenizer.size and tokenizer.kind == kind
    assert tokenizer.decode(ids) == sample
    path = tmp_path / ("tokenizer.model" if kind == "bpe" else "tokenizer.json")
    tokenizer.save(path)
    assert mmrec.Tokenizer.load(path) == tokenizer
