# What the module in C++ offers to the package's other files.
from typing import Any, Dict, List, Optional

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]
_Ids = npt.NDArray[np.int32]

version: str

class Error(RuntimeError):
    """What failed, where, and what to do."""

class UsageError(Error, ValueError):
    """A call asked for something impossible."""

def machine() -> str:
    """Describes CPU, threads and kernels."""

def num_threads() -> int:
    """Returns how many threads compute."""

def set_num_threads(threads: int) -> None:
    """Sets how many threads compute; waits for the end of what computes now."""

def scan(x: _Floats, out: _Floats) -> None: ...
def affine_scan(a: _Floats, b: _Floats, h0: _Floats, out: _Floats) -> None: ...
def gemm(a: _Floats, b: _Floats, bias: Optional[_Floats], beta: float, out: _Floats) -> None: ...
def rmsnorm(x: _Floats, w: _Floats, out: _Floats) -> None: ...

class Tokenizer:
    @staticmethod
    def make(kind: str, text: str, limit: int) -> Tokenizer: ...
    @staticmethod
    def load(path: str) -> Tokenizer: ...
    def save(self, path: str) -> None: ...
    @property
    def kind(self) -> str: ...
    @property
    def size(self) -> int: ...
    def encode(self, text: str) -> bytes: ...
    def decode(self, ids: _Ids) -> bytes: ...

class State:
    """What a model remembers of a text. It never changes; bytes(state) saves it."""

    @property
    def tokens(self) -> int:
        """How many tokens the text has."""

    @property
    def values(self) -> _Floats:
        """The recurrent state, [layers][width], read-only."""

    def __bytes__(self) -> bytes: ...

class Model:
    @property
    def config(self) -> str: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def step(self) -> int: ...
    def weights(self) -> Dict[str, _Floats]: ...
    def logits(self, ids: _Ids, state: Optional[State], out: _Floats) -> State: ...
    def parse_state(self, content: bytes) -> State: ...

def load(path: str, precision: str) -> Model: ...

class TextStream:
    def __init__(
        self,
        model: Model,
        prompt: Optional[str],
        state: Optional[State],
        max_tokens: int,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        repetition_penalty: float,
        repetition_window: int,
        seed: int,
        stop: List[str],
    ) -> None: ...
    def __iter__(self) -> TextStream: ...
    def __next__(self) -> str: ...
    @property
    def state(self) -> State: ...

class Metrics:
    """The figures of a step or a validation; nan: it has none of these."""

    @property
    def step(self) -> int:
        """From 1."""

    @property
    def epoch(self) -> int:
        """From 1."""

    @property
    def split(self) -> str:
        """ "train" or "val"."""

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""

    @property
    def perplexity(self) -> float:
        """exp(loss)."""

    @property
    def bits_per_byte(self) -> float:
        """Of a validation: its loss, comparable between tokenizers."""

    @property
    def accuracy(self) -> float:
        """Part of the tokens, 0 .. 1."""

    @property
    def lr(self) -> float:
        """Learning rate of the step."""

    @property
    def grad_norm(self) -> float:
        """Of a step: before clipping."""

    @property
    def tokens(self) -> int:
        """Trained on since the beginning of the run."""

    @property
    def tokens_per_second(self) -> float:
        """Speed of this call."""


class Trainer:
    def __init__(
        self,
        text: Optional[str],
        train: Optional[_Ids],
        validation: Optional[_Ids],
        tokenizer: Optional[Tokenizer],
        config: Optional[str],
        fields: List[str],
        options: Dict[str, Any],
    ) -> None: ...
    @staticmethod
    def resume(
        path: str,
        text: Optional[str],
        train: Optional[_Ids],
        validation: Optional[_Ids],
        options: Dict[str, Any],
    ) -> Trainer: ...
    def step(self) -> Metrics: ...
    def validate(self) -> Metrics: ...
    def sample(self) -> str: ...
    def save(self, path: str) -> None: ...
    def model(self) -> Model: ...
    @property
    def steps_taken(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def is_done(self) -> bool: ...
    @property
    def validation_is_due(self) -> bool: ...
    @property
    def is_best(self) -> bool: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    def describe(self) -> str: ...
