import os
import pathlib
import subprocess

import pytest

PROGRAMS = pathlib.Path(os.environ["MMREC_PROGRAMS"])
# a small model: options of the program train, and the same of a Trainer
SMALL = (
    "--set dim=32 --set layers=2 --set mem_slots=64 --tokenizer char --steps 30 --batch 4 --seq 64"
)
SMALL_OPTIONS = dict(
    config={"dim": 32, "layers": 2, "mem_slots": 64}, tokenizer="char", steps=30, batch=4, seq=64
)


def run(program, *arguments):
    """Returns what a program of the project prints."""
    command = [PROGRAMS / program, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A file with a part of Shakespeare's."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(pathlib.Path("shakespeare.txt").read_text()[:60000])
    return path


@pytest.fixture(scope="session")
def folder(text):
    """A run of the program train on the text."""
    out = text.parent / "run"
    run("train", "--data", text, "--out", out, "--quiet", *SMALL.split())
    return out
