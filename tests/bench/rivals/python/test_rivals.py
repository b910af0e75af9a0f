#!/usr/bin/env python3
"""Tests bench/rivals/python. What needs NumPy, PyTorch or JAX is skipped where this Python has none.
Run it with .venv-rivals/bin/python, too.
"""

import argparse
import pathlib
import subprocess
import sys
import unittest

SOURCES = pathlib.Path(__file__).resolve().parents[4]
sys.path.append(str(SOURCES / "bench/rivals/python"))

import same_bits


def import_or_none(name):
    try:
        return __import__(name)
    except ImportError:
        return None


np = import_or_none("numpy")
torch = import_or_none("torch")
jax = import_or_none("jax")
if np:
    import driver
    import gpt
    import parameters
    import rival
    import workloads


class Setup(unittest.TestCase):
    def test_refuses_unknown_environments(self):
        for arguments in ([], ["tools"]):
            done = subprocess.run(
                [SOURCES / "bench/rivals/setup.sh", *arguments], capture_output=True, text=True
            )
            self.assertEqual(done.returncode, 1)
            self.assertIn("usage: setup.sh products|frameworks", done.stderr)


class SameBits(unittest.TestCase):
    def test_names_the_first_step_that_differs(self):
        one, other = [["8.1", "ab"], ["8.0", "cd"]], [["8.1", "ab"], ["8.0", "ce"]]
        self.assertEqual(same_bits.first_difference(one, other, 0), "none")
        self.assertEqual(same_bits.first_difference(one, other, 1), "step 2")

    @unittest.skipUnless(torch, "this Python has no PyTorch")
    def test_the_same_cpu_leaves_the_same(self):
        options = argparse.Namespace(steps=2, seed=1)
        results = same_bits.results(options, {})
        self.assertEqual(len(results), 2)
        self.assertEqual(results, same_bits.results(options, {}))


@unittest.skipUnless(np, "this Python has no NumPy")
class Gpt(unittest.TestCase):
    config, B, T = (parameters.Config(50, 32, 2, 4), 3, 24) if np else (None, 0, 0)

    def test_flops_count_all_parameters_but_the_positions(self):
        weights = gpt.initial(self.config, self.T)
        N = sum(value.size for name, value in weights.items() if name != "positions.weight")
        attention = 12 * self.config.layers * self.T * self.config.dim
        expected = self.B * self.T * (6 * N + attention)
        self.assertEqual(gpt.flops(self.config, self.B, self.T), expected)

    def test_definition_starts_at_an_even_guess(self):
        ids, targets = parameters.batch(self.config, self.B, self.T)
        loss = gpt.loss(gpt.initial(self.config, self.T), self.config, ids, targets)
        self.assertAlmostEqual(loss, np.log(self.config.vocabulary), 1)

    def test_definition_reads_no_later_token(self):
        weights = gpt.initial(self.config, self.T)
        ids, targets = parameters.batch(self.config, self.B, self.T)
        other = ids.copy()
        other[-1] = (ids[-1] + 1) % self.config.vocabulary

        def earlier_logits(ids):
            """Of the differences of two losses only what the earlier positions' targets change."""
            earlier = np.arange(self.T)[:, None] < self.T - 1
            of = lambda rows: gpt.loss(weights, self.config, ids, np.where(rows, targets, 0))
            return of(earlier) - of(np.zeros_like(earlier))

        self.assertAlmostEqual(earlier_logits(ids), earlier_logits(other), 12)
        self.assertNotAlmostEqual(earlier_logits(ids), earlier_logits(other[::-1]), 6)

    @unittest.skipUnless(torch, "this Python has no PyTorch")
    def test_pytorch_computes_it_and_learns(self):
        import rival_torch

        for bf16 in (False, True):
            rival.check_gpt(rival_torch, bf16)
        ids, targets = parameters.batch(self.config, self.B, self.T)
        weights = gpt.initial(self.config, self.T)
        step = rival_torch.train(self.config, weights, ids, targets, gpt.FORM)
        first = step().item()
        last = [step().item() for _ in range(60)][-1]
        self.assertLess(last, first - 0.1)

    @unittest.skipUnless(torch, "this Python has no PyTorch")
    def test_another_model_is_refused(self):
        import rival_torch

        class Wrong:
            wrong = 1.001
            gpt_loss = lambda *given, **precision: Wrong.wrong * rival_torch.gpt_loss(
                *given, **precision
            )

        for wrong, bf16 in ((1.001, False), (1.02, True)):
            Wrong.wrong = wrong
            with self.assertRaisesRegex(AssertionError, "nanoGPT: the loss is"):
                rival.check_gpt(Wrong, bf16)

    @unittest.skipUnless(torch, "this Python has no PyTorch")
    def test_autocast_rounds_products_and_keeps_weights(self):
        import rival_torch

        golden = parameters.Golden(SOURCES / "tests/model/golden/base.safetensors")
        loss, gradients, updated = rival_torch.golden_step(golden, "by hand", bf16=True)
        golden.compare_loss(loss, rival.BF16_TOLERANCE * golden.loss)
        with self.assertRaisesRegex(AssertionError, "from the golden file"):
            golden.compare(loss, gradients, updated)
        self.assertEqual({value.dtype for value in updated.values()}, {np.dtype(np.float32)})


@unittest.skipUnless(np, "this Python has no NumPy")
class Speeds(unittest.TestCase):
    def test_each_model_has_its_own_flops(self):
        class Ours:
            peaks = {"f32": 100e9, "bf16": 200e9}
            flops = {"train/tiny/step/2x256": 5e9, "train/tiny_bf16/step/2x256": 5e9}

        self.check_speeds(Ours, "train/tiny/step/2x256", 100e9)
        self.check_speeds(Ours, "train/tiny_bf16/step/2x256", 200e9)

    def check_speeds(self, Ours, name, peak):
        workload = next(w for w in workloads.ALL if w.name == name)
        found = [
            driver.Contestant(name, form, None)
            for name, form in (
                ("ours", workload.name),
                ("PyTorch", "by hand"),
                ("PyTorch", gpt.FORM),
            )
        ]
        for contestant in found:
            contestant.samples = [0.2, 0.1]
        driver.add_speeds(workload, found, Ours)
        self.assertEqual([c.speed["tokens_per_second"] for c in found], [5120] * 3)
        self.assertEqual([c.speed["part_of_peak"] for c in found[:2]], [5e9 / 0.1 / peak] * 2)
        of_gpt = gpt.flops(parameters.PRESETS["tiny"], 2, 256)
        self.assertEqual(found[2].speed["part_of_peak"], of_gpt / 0.1 / peak)


@unittest.skipUnless(jax, "this Python has no JAX")
class Jax(unittest.TestCase):
    def test_computes_the_same(self):
        import rival_jax

        rival.Rival(rival_jax).check(SOURCES / "tests/model/golden/base.safetensors")


if __name__ == "__main__":
    unittest.main()
