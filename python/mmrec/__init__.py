"""MM-Rec in Python: train recurrent language models, use them, call the kernels.

    import mmrec

    trainer = mmrec.Trainer("book.txt", steps=500)
    while not trainer.is_done:
        print(trainer.step().loss)
    trainer.save("checkpoints/book")

    model = mmrec.load("checkpoints/book")
    print(model.generate("Once", max_tokens=200))

Long calls let Python's other threads run, and Ctrl-C interrupts them. What goes wrong is an
Error; what was asked for in vain is a UsageError, which is a ValueError, too.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from . import _native, ops
from ._native import Error, Metrics, State, UsageError, machine, num_threads, set_num_threads

__version__: str = _native.version
__all__ = [
    "Error",
    "Metrics",
    "Model",
    "State",
    "TextStream",
    "Tokenizer",
    "Trainer",
    "UsageError",
    "load",
    "machine",
    "num_threads",
    "ops",
    "set_num_threads",
]

Path = Union[str, "os.PathLike[str]"]


def _ids(name: str, ids: Any) -> np.ndarray:
    """Returns ids as an array of int32: the array itself if it is one."""
    array = np.asarray(ids)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be whole numbers, and is an array of {array.dtype}")
    if array.dtype != np.int32:
        if array.size and not (0 <= array.min() and array.max() < 2**31):
            raise UsageError(f"{name} has an id that no vocabulary has")
        array = array.astype(np.int32)
    return np.ascontiguousarray(array)


class Tokenizer:
    """Turns texts into token ids and back. Id 0 stands for what is unknown, id 1 is padding."""

    _inner: _native.Tokenizer

    def __init__(self, kind: str, text: str = "", *, vocab: int = 0) -> None:
        """Makes a tokenizer.

        kind: "bytes"; "char", the characters of the text; or "bpe", pieces that are frequent in it.
        vocab: most ids; 0: as many as it needs, of bpe 4096.
        """
        self._inner = _native.Tokenizer.make(kind, text, vocab)

    @classmethod
    def _of(cls, native: _native.Tokenizer) -> Tokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer._inner = native
        return tokenizer

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Reads a tokenizer's file: tokenizer.json or tokenizer.model of a checkpoint."""
        return cls._of(_native.Tokenizer.load(os.fspath(path)))

    def save(self, path: Path) -> None:
        """Writes the tokenizer's file."""
        self._inner.save(os.fspath(path))

    @property
    def kind(self) -> str:
        """What a token is: "char", "bytes" or "bpe"."""
        return self._inner.kind

    @property
    def size(self) -> int:
        """How many ids there are."""
        return self._inner.size

    def encode(self, text: str) -> np.ndarray:
        """Returns the ids of a text, an array of int32."""
        return np.frombuffer(bytearray(self._inner.encode(text)), np.int32)

    def decode(self, ids: Any) -> str:
        """Returns the text of ids. Bytes that are no whole character become U+FFFD."""
        return self._inner.decode(_ids("ids", ids)).decode("utf-8", "replace")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._inner == other._inner

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Tokenizer(kind={self.kind!r}, size={self.size})"


class TextStream:
    """A text while a model writes it: an iterator of its pieces, each of whole characters."""

    def __init__(self, native: _native.TextStream) -> None:
        self._inner = native

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._inner)

    @property
    def state(self) -> State:
        """What goes on with prompt and text so far: Model.generate(.., state=stream.state)."""
        return self._inner.state


class Model:
    """A trained model. load() and Trainer.model() make it; its weights never change.

    Any number of threads may use it at a time.
    """

    def __init__(self, native: _native.Model) -> None:
        self._inner = native

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration's fields (docs/model.md)."""
        fields: Mapping[str, Any] = json.loads(self._inner.config)
        return fields

    @property
    def tokenizer(self) -> Tokenizer:
        """What the model's tokens are."""
        return Tokenizer._of(self._inner.tokenizer)

    @property
    def step(self) -> int:
        """Steps that the weights were trained for."""
        return self._inner.step

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """The weights by name: read-only arrays that show the model's own memory."""
        return self._inner.weights()

    def stream(
        self,
        prompt: Optional[str] = None,
        *,
        max_tokens: int = 500,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        repetition_window: int = 64,
        seed: int = 42,
        stop: Union[str, Sequence[str]] = (),
        state: Optional[State] = None,
    ) -> TextStream:
        """Continues a prompt piece by piece, as the program generate does.

        prompt: text to continue; None: a text begins, or goes on after state.
        max_tokens: ends the text, if no stop does before.
        temperature: divides the logits; 0: always the likeliest token.
        top_k: keeps the k likeliest tokens; 0: all.
        top_p: keeps the likeliest tokens with this total probability.
        min_p: keeps tokens with this part of the likeliest one's probability.
        repetition_penalty: makes the last repetition_window tokens less likely.
        seed: of the random numbers; the same seed gives the same text.
        stop: texts before which the text ends.
        state: of a text that the prompt follows.
        """
        stops = [stop] if isinstance(stop, str) else list(stop)
        return TextStream(
            _native.TextStream(
                self._inner,
                prompt,
                state,
                max_tokens,
                temperature,
                top_k,
                top_p,
                min_p,
                repetition_penalty,
                repetition_window,
                seed,
                stops,
            )
        )

    def generate(self, prompt: Optional[str] = None, **settings: Any) -> str:
        """Returns the text that follows a prompt. The settings are those of stream()."""
        return "".join(self.stream(prompt, **settings))

    def logits(
        self,
        ids: Any,
        state: Optional[State] = None,
        *,
        every: bool = False,
        out: Optional[np.ndarray] = None,
    ) -> Tuple[np.ndarray, State]:
        """Reads tokens; returns the logits of the one that comes next, and the state to go on with.

        ids: token ids. An array of int32 is read in place.
        state: what the tokens follow; None: they begin a text. It stays as it is, so that several
            texts may go on from it.
        every: returns the logits after each token, [ids][vocabulary], which takes longer than
            those after the last one, [vocabulary].
        out: where the logits go, an array of float32; None: a new one.
        """
        read = _ids("ids", ids)
        vocabulary = self._inner.tokenizer.size
        shape = (read.size, vocabulary) if every else (vocabulary,)
        if out is None:
            out = np.empty(shape, np.float32)
        elif np.shape(out) != shape:
            raise UsageError(f"out must have the shape {shape}, and has {np.shape(out)}")
        return out, self._inner.logits(read, state, out)

    def state(self, content: bytes) -> State:
        """Returns the state that bytes(state) saved, also that of a file of generate --state."""
        return self._inner.parse_state(content)


def load(path: Path, *, precision: str = "float32") -> Model:
    """Opens a checkpoint's folder, or a run's: then its best model.

    precision: of the factors of products: "float32"; "bf16", where the CPU can; or "int8", only of
        weights. The narrow ones are faster, and their predictions differ a little.
    """
    return Model(_native.load(os.fspath(path), precision))


def _text_and_ids(data: Any) -> Tuple[Optional[str], Optional[np.ndarray]]:
    """Returns data as the name of a text, or as an array of ids."""
    if data is None:
        return None, None
    if isinstance(data, (str, os.PathLike)):
        return os.fspath(data), None
    return None, _ids("data", data)


def _fields(config: Mapping[str, Any]) -> List[str]:
    """Returns fields as --set of the programs takes them."""
    return [
        f"{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in config.items()
    ]


class Trainer:
    """A training run, step by step. It keeps no folder: save() writes what resume() goes on with.

        while not trainer.is_done:
            row = trainer.step()
            if trainer.validation_is_due and trainer.validate() and trainer.is_best:
                trainer.save("checkpoints/book")

    Several threads may use it, one at a time. A step that Ctrl-C interrupts was not taken.
    """

    _inner: _native.Trainer

    def __init__(
        self,
        data: Any = "sample",
        *,
        validation: Any = None,
        tokenizer: Union[None, str, Tokenizer] = None,
        config: Union[None, Path, Mapping[str, Any]] = None,
        init: Optional[Path] = None,
        **options: Any,
    ) -> None:
        """Begins a run.

        data: a text file, a folder that prepare made, "sample", or token ids.
        validation: with token ids, those to validate on.
        tokenizer: with a text, what a token is: "char", "bytes" or "bpe"; with token ids, the
            Tokenizer that they are of.
        config: a preset (tiny, mini, ..), a JSON file of fields, or the fields, among them perhaps
            "preset"; None: tiny, or that of init.
        init: a checkpoint whose weights and tokenizer to start from.
        options: those of the program train that make the run what it is, with _ for -: steps,
            epochs, batch, seq, lr, optimizer, dropout, val_split, eval_every, seed, arch, memory..
            What nobody gives is chosen as train does: by the size of text and model.
        """
        fields: Dict[str, Any] = {}
        name = None
        if isinstance(config, Mapping):
            fields.update(config)
            name = fields.pop("preset", None)
        elif config is not None:
            name = os.fspath(config)
        for field in ("arch", "memory"):
            if field in options:
                fields[field] = options.pop(field)
        if isinstance(tokenizer, str):
            options["tokenizer"] = tokenizer
            tokenizer = None
        if init is not None:
            options["init"] = os.fspath(init)
        text, train = _text_and_ids(data)
        self._inner = _native.Trainer(
            text,
            train,
            None if validation is None else _ids("validation", validation),
            None if tokenizer is None else tokenizer._inner,
            name,
            _fields(fields),
            options,
        )

    @classmethod
    def resume(
        cls, path: Path, data: Any = None, *, validation: Any = None, **options: Any
    ) -> Trainer:
        """Goes on with a run from what save() wrote, or from a checkpoint of the program train.

        data, validation: the run's, if they were token ids or the text is elsewhere by now.
        options: those that may change in a run, as steps and lr.
        """
        text, train = _text_and_ids(data)
        trainer = cls.__new__(cls)
        trainer._inner = _native.Trainer.resume(
            os.fspath(path),
            text,
            train,
            None if validation is None else _ids("validation", validation),
            options,
        )
        return trainer

    def step(self) -> Metrics:
        """Takes the next step and returns its figures.

        Raises an Error, and takes no step, if the gradient is not finite.
        """
        return self._inner.step()

    def validate(self) -> Metrics:
        """Measures the model on the validation text; its loss counts for is_best and is_done."""
        return self._inner.validate()

    def sample(self) -> str:
        """Returns a text of sample_tokens tokens that the model writes now."""
        return self._inner.sample()

    def save(self, path: Path) -> None:
        """Writes a checkpoint's folder, all of it or nothing."""
        self._inner.save(os.fspath(path))

    def model(self) -> Model:
        """Returns a copy of the model as it is now."""
        return Model(self._inner.model())

    @property
    def steps_taken(self) -> int:
        """How many steps of the run are taken."""
        return self._inner.steps_taken

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self._inner.steps

    @property
    def is_done(self) -> bool:
        """Whether all steps are taken, or patience has ended the run."""
        return self._inner.is_done

    @property
    def validation_is_due(self) -> bool:
        """Whether the run validates after the last step (eval_every)."""
        return self._inner.validation_is_due

    @property
    def is_best(self) -> bool:
        """Whether the validation after the last step is the best so far."""
        return self._inner.is_best

    @property
    def tokenizer(self) -> Tokenizer:
        """What the model's tokens are."""
        return Tokenizer._of(self._inner.tokenizer)

    def describe(self) -> str:
        """Describes model, data and learning rate, a line each."""
        return self._inner.describe()
