import ast
import importlib.metadata
import inspect
import os
import pathlib
import subprocess
import sys

import pytest

import mmrec
from mmrec import _native

FOLDER = pathlib.Path(mmrec.__file__).parent


def test_it_is_the_installed_package():
    assert pathlib.Path(sys.prefix) in FOLDER.parents
    assert importlib.metadata.version("mmrec") == mmrec.__version__ == _native.version
    assert (FOLDER / "py.typed").exists()


def members(node):
    """The public names of a module's or a class's stub."""
    for child in node.body:
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            yield child.name, child
        elif isinstance(child, ast.AnnAssign):
            yield child.target.id, child


def test_the_stub_has_what_the_module_has():
    def public(names):
        return {name for name in names if not name.startswith("_")}

    stub = dict(members(ast.parse((FOLDER / "_native.pyi").read_text())))
    assert public(stub) == public(dir(_native))
    for name, node in stub.items():
        if isinstance(node, ast.ClassDef) and not issubclass(getattr(_native, name), Exception):
            assert public(dict(members(node))) == public(dir(getattr(_native, name))), name


def test_what_is_public_is_documented():
    for name in mmrec.__all__:
        value = getattr(mmrec, name)
        assert value.__doc__, name
        for member in dir(value) if inspect.isclass(value) else []:
            if not member.startswith("_") and value.__module__.startswith("mmrec"):
                if member not in dir(Exception):
                    assert getattr(value, member).__doc__, f"{name}.{member}"
    for name in mmrec.ops.__all__:
        assert getattr(mmrec.ops, name).__doc__, name


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-I", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


SCAN = "import mmrec, numpy as np; x = np.full((2, 9, 8), 0.5, 'f'); print(mmrec.machine()); " \
       "assert mmrec.ops.scan(x)[0, 8, 0] == 0.5 ** 9"


@pytest.mark.parametrize("tier", ["sse41", "avx2", "avx512"])
def test_the_kernels_of_each_tier(tier):
    """Of those that the build has: a build for this machine has one."""
    done = run("-c", SCAN, MMREC_MAX_ISA=tier)
    if done.returncode != 0:
        assert "ImportError" in done.stderr and "MMREC_MAX_ISA" in done.stderr
        return
    assert "kernels for" in done.stdout


def test_the_example(tmp_path):
    done = run("shakespeare.py", "shakespeare.txt", "--steps", "12", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "step 12/12" in done.stdout and (tmp_path / "out" / "model.safetensors").exists()
    assert (tmp_path / "out" / "loss.png").exists() or "matplotlib" in done.stdout
