#!/usr/bin/env python3
"""Tests train/import/mmrec_checkpoint.py with the built programs. The tests of .pt files are
skipped where this Python has no PyTorch: run them with one that has.

    test_mmrec_checkpoint.py BIN_DIR
"""

import array
import json
import math
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

SOURCES = pathlib.Path(__file__).resolve().parents[3]
sys.path += [str(SOURCES / "bench/rivals/python"), str(SOURCES / "train/import")]
import mmrec_checkpoint

try:
    import torch
except ImportError:
    torch = None
try:
    import parameters  # of the model in PyTorch
    import torch_model
    import torch_recurrence
except ImportError:
    torch_model = None

SCRIPT = SOURCES / "train/import/mmrec_checkpoint.py"
BIN = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else SOURCES / "build/bin").resolve()
MODEL_FILES = ("model.safetensors", "config.json", "tokenizer.json")
WIDTHS = {"F16": 2, "BF16": 2, "F32": 4, "I64": 8, "F64": 8}


def write_safetensors(path, tensors, metadata=None):
    """Writes tensors, name -> (dtype, shape, bytes)."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, (dtype, shape, content) in tensors.items():
        assert len(content) == WIDTHS[dtype] * math.prod(shape)
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    tensors = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = (entry["dtype"], entry["shape"], content[begin:end])
    return tensors


class Case(unittest.TestCase):
    """A small trained checkpoint, a folder for the test, and ways to run the programs."""

    @classmethod
    def setUpClass(cls):
        cls.room = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.room.cleanup)
        common = pathlib.Path(cls.room.name)
        cls.text = common / "text.txt"
        cls.text.write_text("The grey cat sat; two dogs ran on, as before.\n" * 40)
        subprocess.run(
            [BIN / "train", "--data", cls.text, "--vocab", "auto", "--out", common / "run"]
            + ["--set", "dim=16", "--set", "layers=2", "--set", "heads=2", "--set", "max_seq=256"]
            + ["--recipe", "documented"]
            + ["--batch", "2", "--seq", "32", "--steps", "3", "--quiet"],
            check=True,
            capture_output=True,
        )
        cls.trained = common / "run/best_model"
        cls.tokenizer = cls.trained / "tokenizer.json"

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=self.room.name))

    def run_program(self, *command):
        return subprocess.run([*map(str, command)], capture_output=True, text=True)

    def succeed(self, *command):
        done = self.run_program(*command)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refuse(self, *command, parts):
        """Runs a command that must end with an error message that has all parts."""
        done = self.run_program(*command)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertNotIn("Traceback", done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr)

    def script(self, *arguments):
        return self.succeed(sys.executable, SCRIPT, *arguments)

    def import_it(self, file, *options, out="imported"):
        """Imports a file with the trained tokenizer and returns the new folder."""
        options = options if "--tokenizer" in options else ("--tokenizer", self.tokenizer, *options)
        self.script("import", file, "--out", self.folder / out, *options)
        return self.folder / out

    def refuse_import(self, file, *options, parts):
        command = [sys.executable, SCRIPT, "import", file, "--out", self.folder / "refused"]
        if "--tokenizer" not in options:
            command += ["--tokenizer", self.tokenizer]
        self.refuse(*command, *options, parts=parts)
        self.assertEqual(list(self.folder.glob("refused*")), [], "nothing half-made is left")

    def weights(self):
        return read_safetensors(self.trained / "model.safetensors")

    def file_of(self, tensors, metadata=None):
        path = self.folder / "in.safetensors"
        write_safetensors(path, tensors, metadata)
        return path

    def config(self, folder):
        return json.loads((folder / "config.json").read_text())

    def expect_same_files(self, folder, names=MODEL_FILES):
        for name in names:
            self.assertEqual((folder / name).read_bytes(), (self.trained / name).read_bytes(), name)

    def evaluation(self, checkpoint):
        figures = json.loads(
            self.succeed(
                BIN / "evaluate", "--checkpoint", checkpoint, "--data", self.text, "--json"
            )
        )
        return {key: figures[key] for key in ("loss", "accuracy", "positions", "step")}


class Safetensors(Case):
    def test_round_trip_changes_no_byte_and_no_result(self):
        self.script("export", self.trained, self.folder / "out.safetensors")
        self.script(
            "import", self.folder / "out.safetensors", "--out", self.folder / "back"
        )  # the file has the tokenizer, too
        self.expect_same_files(self.folder / "back")
        self.assertEqual(self.evaluation(self.folder / "back"), self.evaluation(self.trained))
        generated = [
            self.succeed(BIN / "generate", "--checkpoint", each, "--prompt", "The", "--tokens", 20)
            for each in (self.folder / "back", self.trained)
        ]
        self.assertEqual(*generated)

    def test_round_trip_of_a_run_of_the_recipe(self):
        run = self.folder / "run"
        self.succeed(
            *(BIN / "train", "--data", self.text, "--steps", 1, "--quiet", "--out", run),
            *("--set", "dim=16", "--set", "layers=1"),
        )
        self.script("export", run / "best_model", self.folder / "out.safetensors")
        self.script("import", self.folder / "out.safetensors", "--out", self.folder / "back")
        for name in MODEL_FILES:
            self.assertEqual(
                (self.folder / "back" / name).read_bytes(),
                (run / "best_model" / name).read_bytes(),
                name,
            )
        self.assertEqual(self.config(self.folder / "back")["gates"], "spread")

    def test_plain_file_with_documented_names(self):
        imported = self.import_it(self.file_of(self.weights()), "--set", "heads=2")
        self.expect_same_files(imported, ("model.safetensors", "tokenizer.json"))
        config = self.config(imported)
        self.assertEqual(
            [config[field] for field in ("vocab_size", "dim", "layers", "heads", "max_seq")],
            [self.config(self.trained)["vocab_size"], 16, 2, 2, 1024],
        )
        # The memory is drawn from another seed, which changes little.
        losses = [self.evaluation(each)["loss"] for each in (imported, self.trained)]
        self.assertAlmostEqual(*losses, 4)

    def test_training_starts_from_it_but_does_not_resume(self):
        imported = self.import_it(self.file_of(self.weights()), "--set", "heads=2")
        message = ["holds weights only and no optimizer's state", "--init"]
        self.refuse(BIN / "train", "--resume", imported, parts=message)
        self.refuse(BIN / "train", "--resume", "--out", imported, parts=message)
        in_run = self.folder / "run/best_model"
        shutil.copytree(self.trained.parent, in_run.parent)
        shutil.rmtree(in_run)
        shutil.copytree(imported, in_run)
        self.refuse(BIN / "train", "--resume", in_run, parts=message)
        self.succeed(
            *(BIN / "train", "--init", imported, "--data", self.text, "--out", self.folder / "new"),
            *("--batch", 2, "--seq", 32, "--steps", 2, "--quiet"),
        )

    def test_golden_files_of_all_switches(self):
        files = sorted((SOURCES / "tests/model/golden").glob("*.safetensors"))
        self.assertTrue(files)
        for file in files:
            with self.subTest(file.name):
                content = file.read_bytes()
                (length,) = struct.unpack("<Q", content[:8])
                stored = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["config"])
                if stored["vocab_size"] < 32:
                    continue  # fewer tokens than the tokenizer of these tests has
                imported = self.import_it(file, "--prefix", "w.", out=file.stem)
                config = self.config(imported)
                switches = ("hem", "dpg", "uboo", "heads", "mem_slots", "chunk_size", "layers")
                for field in switches + (("dpg_rank",) if stored["dpg"] else ()):
                    self.assertEqual(config[field], stored[field], field)
                tensors = read_safetensors(imported / "model.safetensors")
                for name, tensor in read_safetensors(file).items():
                    if name.startswith("w."):
                        self.assertEqual(tensors.pop(name[2:]), tensor, name)
                self.assertEqual(tensors, {})

    def test_learned_memory(self):
        tensors = self.weights()
        for layer in range(2):
            for bank in "kv":
                tensors[f"blocks.{layer}.memory.{bank}"] = ("F32", [32, 16], bytes(32 * 16 * 4))
        config = self.config(self.import_it(self.file_of(tensors), "--set", "heads=4"))
        self.assertEqual(
            (config["memory"], config["mem_slots"], config["heads"]), ("learned", 512, 4)
        )

    def test_prefixes_and_a_tied_head(self):
        tensors = {"module._orig_mod." + name: each for name, each in self.weights().items()}
        tensors["module._orig_mod.lm_head.weight"] = self.weights()["embedding.weight"]
        imported = self.import_it(self.file_of(tensors), "--set", "heads=2")
        self.expect_same_files(imported, ["model.safetensors"])

        within = {
            name.replace("blocks.1.", "blocks.1._orig_mod."): each
            for name, each in self.weights().items()
        }
        nested = {"model." + name: each for name, each in within.items()}
        imported = self.import_it(self.file_of(nested), "--set", "heads=2", out="nested")
        self.expect_same_files(imported, ["model.safetensors"])

        dtype, shape, content = self.weights()["embedding.weight"]
        tensors["module._orig_mod.lm_head.weight"] = (dtype, shape, content[4:] + content[:4])
        self.refuse_import(
            self.file_of(tensors), parts=["lm_head.weight", "other values", "tied weights"]
        )
        twice = {"a." + name: each for name, each in self.weights().items()}
        twice.update({"b." + name: each for name, each in self.weights().items()})
        self.refuse_import(self.file_of(twice), parts=["several models", "'a.', 'b.'", "--prefix"])
        self.refuse_import(
            self.file_of(twice), "--prefix", "c.", parts=["c.embedding.weight", "--prefix"]
        )

    def test_other_dtypes_become_float32(self):
        values = [0.0, -0.0, 1.0, -2.5, 2.0**-14, 2.0**-20, 0.09375, 240.0] * 2
        exact = array.array("f", values).tobytes()
        stored = {
            "F16": struct.pack("<16e", *values),
            "BF16": b"".join(struct.pack("<f", value)[2:] for value in values),
            "F64": struct.pack("<16d", *values),
        }
        for dtype, content in stored.items():
            with self.subTest(dtype):
                tensors = {**self.weights(), "norm.weight": (dtype, [16], content)}
                imported = self.import_it(self.file_of(tensors), "--set", "heads=2", out=dtype)
                weights = read_safetensors(imported / "model.safetensors")
                self.assertEqual(weights["norm.weight"], ("F32", [16], exact))
        for dtype, content in (
            ("F32", struct.pack("<16f", *values[1:], math.nan)),
            ("F16", struct.pack("<16e", *values[1:], -math.inf)),
            ("F64", struct.pack("<16d", *values[1:], 1e300)),
        ):
            tensors = {**self.weights(), "norm.weight": (dtype, [16], content)}
            self.refuse_import(
                self.file_of(tensors), "--set", "heads=2", parts=["norm.weight", "not finite"]
            )

    def test_wrong_tensors_are_all_named(self):
        tensors = self.weights()
        del tensors["blocks.1.ffn.0.bias"]
        tensors["blocks.0.W_g.weight"] = ("F32", [8, 16], bytes(8 * 16 * 4))
        tensors["blocks.0.norm1.weight"] = ("I64", [16], bytes(16 * 8))
        tensors["steps"] = ("I64", [1], bytes(8))
        file = self.file_of(tensors)
        self.refuse_import(
            file,
            *("--set", "heads=2"),
            parts=[
                "missing: blocks.1.ffn.0.bias",
                "unexpected: steps (--ignore",
                "of wrong shape: blocks.0.W_g.weight [8, 16] in place of [16, 16]",
                "not of floats: blocks.0.norm1.weight (I64)",
            ],
        )
        tensors = {**self.weights(), "blocks.0.cache.k": ("I64", [1], bytes(8))}
        imported = self.import_it(
            self.file_of(tensors), "--set", "heads=2", "--ignore", "blocks.*.cache.*"
        )
        self.expect_same_files(imported, ["model.safetensors"])
        scalar = {"blocks.0.W_gamma_down.weight": ("F32", [], bytes(4))}
        self.refuse_import(
            self.file_of({**self.weights(), **scalar}),
            *("--set", "heads=2"),
            parts=["missing", "blocks.1.W_gamma_up.bias", "W_gamma_down.weight [] in place of"],
        )
        self.refuse_import(
            self.file_of({"fc.weight": ("F32", [1], bytes(4))}),
            parts=["no tensor embedding.weight", "fc.weight"],
        )

    def test_other_tokens_are_not_exported(self):
        for tokenizer, what in (("bytes", "bytes"), ("bpe", "pieces")):
            run = self.folder / tokenizer
            self.succeed(
                *(BIN / "train", "--data", self.text, "--vocab", "auto", "--out", run),
                *("--tokenizer", tokenizer, "--set", "dim=16", "--set", "layers=1"),
                *("--set", "heads=2", "--recipe", "documented", "--seq", "16", "--steps", "1"),
            )
            self.refuse(
                *(sys.executable, SCRIPT, "export", run / "best_model", self.folder / "out.pt"),
                parts=[what, "only models of characters"],
            )

    def test_configuration(self):
        file = self.file_of(
            self.weights(),
            {"model_config": '{"num_heads": 8, "mem_dim": 4, "use_hem": true, "dropout": 0.1}'},
        )
        config = self.config(self.import_it(file))
        self.assertEqual((config["heads"], config["mem_slots"]), (8, 256))
        given = self.folder / "given.json"
        given.write_text('{"num_heads": 4, "max_seq_len": 99}')
        config = self.config(
            self.import_it(file, "--config", given, "--set", "chunk_size=64", out="given")
        )
        self.assertEqual([config[key] for key in ("heads", "max_seq", "chunk_size")], [4, 99, 64])

        plain = self.file_of(self.weights())
        for options, parts in (
            ([], ["the number of heads", "--set heads=N"]),
            (["--set", "heads=3"], ["heads must divide dim = 16, not be 3"]),
            (["--set", "heads=two"], ["heads must be a whole number", '"two"']),
            (["--set", "heads"], ["--set heads: expected field=value"]),
            (["--set", "width=3"], ["unknown field width", "max_seq"]),
            (["--set", "heads=2", "--set", "dim=32"], ["dim is 32", "16"]),
            (["--set", "heads=2", "--set", "hem=false"], ["hem is false", "true"]),
            (["--set", "heads=2", "--set", "mem_slots=100"], ["multiple of 16, not 100"]),
            (["--set", "heads=2", "--set", "max_seq=0"], ["max_seq must be at least 1, not 0"]),
            (["--set", "heads=2", "--set", "lambda_p=-1"], ["lambda_p must not be negative: -1"]),
            (["--set", "heads=2", "--set", "lambda_p=NaN"], ["lambda_p must not be negative: nan"]),
            (["--set", "heads=2", "--set", "arch=mingru"], ["arch mingru"]),
        ):
            with self.subTest(options):
                self.refuse_import(plain, *options, parts=parts)

    def test_vocabularies(self):
        tokens = json.loads(self.tokenizer.read_text())["tokens"]
        ids = {token: id for id, token in enumerate(tokens)}
        characters = {str(id): token for token, id in ids.items()}
        file, path = self.file_of(self.weights()), self.folder / "vocabulary.json"
        options = ("--set", "heads=2", "--tokenizer", path)
        forms = [tokens, ids, characters, ["<unk>", "[PAD]", *tokens[2:]]]
        forms.append({"vocab_size": 5000, "char_to_id": ids, "id_to_char": characters})
        for i, vocabulary in enumerate(forms):
            path.write_text(json.dumps(vocabulary))
            imported = self.import_it(file, *options, out=f"form{i}")
            self.expect_same_files(imported, ["tokenizer.json"])
        for vocabulary, parts in (
            (tokens[2:], ["id 0 must be <UNK>, not ' '"]),
            (tokens[:1], ["id 1 must be <PAD>"]),
            ([*tokens, "<EOS>"], [f"id {len(tokens)} is '<EOS>'", "not one character"]),
            ([*tokens, "\ud800"], ["not one character"]),
            ([*tokens, "a"], ["'a' has two ids"]),
            ({**ids, "Z": 3}, ["both have the id 3"]),
            ({**ids, "X": 99}, ["none has the id"]),
            ({**ids, "X": "Y"}, ["expected an object"]),
            (tokens + [chr(0x4E00 + i) for i in range(40)], ["more than", "rows of the embedding"]),
            (7, ["expected a tokenizer.json"]),
        ):
            with self.subTest(parts):
                path.write_text(json.dumps(vocabulary))
                self.refuse_import(file, *options, parts=[str(path), *parts])
        path.write_text("{")
        self.refuse_import(file, *options, parts=[str(path), "not valid JSON"])
        self.refuse(
            *(sys.executable, SCRIPT, "import", file, "--out", self.folder / "new"),
            *("--set", "heads=2"),
            parts=["--tokenizer is required"],
        )

    def test_damaged_files(self):
        whole = self.file_of(self.weights()).read_bytes()
        path = self.folder / "damaged.safetensors"
        for content, part in (
            (b"", "too short"),
            (whole[:100], "header has no end"),
            (whole[:-1], "truncated or damaged"),
            (whole[:9] + b"\xff" + whole[10:], "not valid JSON"),
            (struct.pack("<Q", 2) + b"[]", "not a JSON object"),
            (struct.pack("<Q", 9) + b'{"a": []}', "tensor a: expected dtype"),
        ):
            path.write_bytes(content)
            self.refuse_import(path, "--set", "heads=2", parts=[str(path), part])
        self.refuse_import(self.folder / "none.safetensors", parts=["none.safetensors"])

    def test_nothing_is_overwritten(self):
        out = self.folder / "kept"
        out.mkdir()
        file = self.file_of(self.weights())
        command = (sys.executable, SCRIPT, "import", file, "--tokenizer", self.tokenizer)
        self.refuse(*command, "--out", out, parts=[f"{out} exists already"])
        self.refuse(*command, "--out", self.folder / "a/b", parts=["there is no folder"])
        self.refuse(sys.executable, SCRIPT, "export", self.trained, file, parts=["exists already"])

    def test_export_checks_the_checkpoint(self):
        command = (sys.executable, SCRIPT, "export")
        target = self.folder / "out.safetensors"
        self.refuse(*command, self.trained.parent, target, parts=["no state.json", "best_model"])
        self.refuse(*command, self.trained, self.folder / "out.npz", parts=[".pt or .safetensors"])
        damaged = self.folder / "damaged"
        shutil.copytree(self.trained, damaged)
        with open(damaged / "model.safetensors", "r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x7f")
        self.refuse(*command, damaged, target, parts=["model.safetensors", "not what was saved"])
        self.assertFalse(target.exists())

    def test_bank_that_pytorch_does_not_have_is_not_exported(self):
        config = {"dim": 16, "mem_slots": 1024}
        self.assertEqual(mmrec_checkpoint.pytorch_config(config)["mem_dim"], 16)
        self.assertNotIn("mem_dim", mmrec_checkpoint.pytorch_config({**config, "mem_slots": 32}))

    @unittest.skipIf(torch, "PyTorch is here")
    def test_pt_without_pytorch(self):
        (self.folder / "in.pt").write_bytes(b"")
        self.refuse_import(self.folder / "in.pt", parts=["need PyTorch", "virtual environment"])


@unittest.skipUnless(torch, "this Python has no PyTorch")
class PyTorch(Case):
    def state_dict(self):
        return {
            name: torch.frombuffer(bytearray(content), dtype=torch.float32).reshape(shape)
            for name, (_, shape, content) in self.weights().items()
        }

    def save(self, content, **options):
        torch.save(content, self.folder / "in.pt", **options)
        return self.folder / "in.pt"

    def test_round_trip(self):
        path = self.folder / "out.pt"
        self.script("export", self.trained, path)
        content = torch.load(path, weights_only=True)
        state, config = content["model_state_dict"], content["model_config"]
        self.assertEqual(state["lm_head.weight"].data_ptr(), state["embedding.weight"].data_ptr())
        self.assertEqual((config["model_dim"], config["num_heads"]), (16, 2))
        self.assertEqual((config["max_seq_len"], config["mem_dim"]), (256, 16))
        self.script("import", path, "--out", self.folder / "back")
        self.expect_same_files(self.folder / "back")
        self.assertEqual(self.evaluation(self.folder / "back"), self.evaluation(self.trained))

    def test_forms_of_files(self):
        state = self.state_dict()
        tied = {**state, "lm_head.weight": state["embedding.weight"]}
        wrapped = {"module." + name: each for name, each in tied.items()}
        strided = {
            name: each.t().contiguous().t() for name, each in state.items() if each.dim() == 2
        }
        config = {"model_dim": 16, "num_heads": 2, "use_hem": True}
        for i, (content, options) in enumerate(
            (
                (state, {}),
                (wrapped, {}),
                ({**state, **strided}, {}),
                (state, {"_use_new_zipfile_serialization": False}),
                ({"model_state_dict": tied, "model_config": config, "step": 7}, {}),
                ({"state_dict": wrapped, "config": {"heads": 2}, "optimizer": {}}, {}),
                ({"model": state, "epoch": 1}, {}),
            )
        ):
            with self.subTest(i):
                settings = ["--set", "heads=2"]
                imported = self.import_it(self.save(content, **options), *settings, out=f"form{i}")
                self.expect_same_files(imported, ["model.safetensors"])
                step = json.loads((imported / "state.json").read_text())["step"]
                self.assertEqual(step, content.get("step", 0))

    def test_dtypes(self):
        for dtype in (torch.bfloat16, torch.float16, torch.float64):
            state = {name: each.to(dtype) for name, each in self.state_dict().items()}
            imported = self.import_it(self.save(state), "--set", "heads=2", out=str(dtype))
            weights = read_safetensors(imported / "model.safetensors")
            for name, tensor in state.items():
                exact = array.array("f", tensor.float().flatten().tolist()).tobytes()
                self.assertEqual(weights[name], ("F32", list(tensor.shape), exact), name)

    @unittest.skipUnless(torch_model, "this Python has no NumPy")
    def test_loss_is_that_of_the_model_in_pytorch(self):
        B, T, D, layers = 12, 32, 32, 3
        tokens = json.loads(self.tokenizer.read_text())["tokens"]
        config = parameters.Config(len(tokens), D, layers, heads=4)
        # Larger than initial weights, so that every part counts.
        weights = {
            name: (3 if value.ndim == 2 else 1) * torch.tensor(value)
            for name, value in parameters.initial(config).items()
        }
        memory = torch.randn(layers, 2, parameters.SLOTS, D)
        for i in range(layers):
            weights[f"blocks.{i}.memory.k"], weights[f"blocks.{i}.memory.v"] = memory[i]
        text = self.text.read_text()[: B * T + 1]
        ids = torch.tensor([tokens.index(character) for character in text])
        x, y = ids[:-1].reshape(B, T).T, ids[1:].reshape(B, T).T
        expected = torch_model.loss(
            weights, config, x, y, memory, dropout=0, recurrence=torch_recurrence.by_autograd
        )
        imported = self.import_it(self.save(weights), "--set", "heads=4")
        (self.folder / "text.txt").write_text(text)
        figures = self.succeed(
            *(BIN / "evaluate", "--checkpoint", imported, "--data", self.folder / "text.txt"),
            *("--part", "all", "--seq", T, "--json"),
        )
        self.assertEqual(json.loads(figures)["positions"], B * T)
        self.assertAlmostEqual(json.loads(figures)["loss"], expected.item(), 5)

    def test_files_that_are_no_checkpoints(self):
        self.refuse_import(self.save([1, 2]), parts=["holds a list"])
        self.refuse_import(self.save({"a": 1}), parts=["dict of tensors", "its keys are a"])
        self.refuse_import(
            self.save({"model": self.state_dict(), "config": pathlib.PurePosixPath("a")}),
            parts=["can not read it as tensors and plain values", "save its state dict"],
        )
        (self.folder / "in.pt").write_bytes(b"no archive")
        self.refuse_import(self.folder / "in.pt", parts=["in.pt"])


if __name__ == "__main__":
    unittest.main()
