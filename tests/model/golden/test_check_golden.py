#!/usr/bin/env python3
"""Tests what check_golden.py calls passed, at float32's limit and failed.

    test_check_golden.py BIN_DIR

Skipped where this Python has no torch or safetensors: run it with one that has.
"""

import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

try:
    import check_golden
    import make_golden
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

HERE = pathlib.Path(__file__).resolve().parent
PASSED, LIMIT, FAILED = check_golden.VERDICTS


class Judging(unittest.TestCase):
    def judge(self, measured, float32):
        verdict, _ = check_golden.judge(measured, lambda: float32)
        return verdict

    def test_float32_is_asked_only_beyond_the_bar(self):
        self.assertEqual(check_golden.judge({"loss": (1e-5, 1e-5)}, self.fail), (PASSED, []))

    def test_half_of_the_difference_excuses_it(self):
        self.assertEqual(self.judge({"g.a": (4.0, 1.0)}, {"g.a": 2.0}), LIMIT)
        self.assertEqual(self.judge({"g.a": (4.0, 1.0)}, {"g.a": 1.99}), FAILED)
        self.assertEqual(self.judge({"g.a": (4.0, 0.0)}, {"g.a": 0.0}), FAILED)

    def test_an_excuse_is_for_one_tensor(self):
        for order in (("g.a", "g.b"), ("g.b", "g.a")):
            measured = {name: (4.0, 1.0) for name in order}
            self.assertEqual(self.judge(measured, {"g.a": 9.0, "g.b": 0.1}), FAILED)

    def test_what_is_not_finite_has_no_excuse(self):
        for value in (math.nan, math.inf):
            for own in (1.0, math.nan, math.inf):
                self.assertEqual(self.judge({"loss": (value, 1.0)}, {"loss": own}), FAILED)


class Files(unittest.TestCase):
    def setUp(self):
        room = tempfile.TemporaryDirectory()
        self.addCleanup(room.cleanup)
        self.file = pathlib.Path(room.name) / "truth.safetensors"

    def make(self, B, T, seed, **changed):
        make_golden.make(self.file, make_golden.FIELDS | changed, B, T, seed)

    def check(self):
        """Returns the exit code and the output of check_golden.py for probe and the file."""
        command = [sys.executable, HERE / "check_golden.py", BIN / "probe", self.file]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def test_a_wrong_number_is_a_failure(self):
        self.make(2, 5, 1, dim=8, heads=2)
        code, output = self.check()
        self.assertEqual(code, 0, output)
        self.assertIn("1 files: 1 passed, 0 at float32's limit, 0 failed", output)
        truth, (config, _) = load_file(self.file), check_golden.load_inputs(self.file)
        for name in ("g.blocks.0.ffn.0.weight", "w1.norm.weight", "logits"):
            wrong = truth[name].clone()
            wrong.view(-1)[wrong.abs().argmax()] *= 1.001
            metadata = {"config": check_golden.json.dumps(config)}
            save_file(truth | {name: wrong}, self.file, metadata)
            code, output = self.check()
            self.assertEqual(code, 1, output)
            self.assertIn(f"  {name}: beyond the bar (", output)
            self.assertIn("1 files: 0 passed, 0 at float32's limit, 1 failed", output)

    def test_an_ill_conditioned_gradient_is_at_the_limit(self):
        # The relu of DPG lets through next to nothing: a gradient made of rounding errors.
        self.make(
            1, 3, 64, vocab_size=829, dim=120, layers=3, heads=30, mem_slots=32, hem=False,
            dpg=True, dpg_rank=3, chunk_size=1, carry_state=True,
        )  # fmt: skip
        name = "g.blocks.2.W_gamma_up.weight"
        truth = load_file(self.file)
        errors = check_golden.float32_errors(self.file)
        for times, expected in ((1.9, LIMIT), (2.1, FAILED)):
            got = truth | {name: truth[name] + times * errors[name]}
            measured = check_golden.differences(truth, got)
            self.assertEqual(check_golden.judge(measured, lambda: errors)[0], expected)


if __name__ == "__main__":
    BIN = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
