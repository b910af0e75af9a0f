"""Trains a model on Shakespeare, plots its loss and lets it write.

    python shakespeare.py data/tiny_shakespeare/input.txt --steps 600

The parts between the lines of %% are cells in editors that know notebooks.
"""

# %% What to train on
import argparse
import pathlib
import time

import mmrec

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("text", help="a text file, such as data/tiny_shakespeare/input.txt")
parser.add_argument("--steps", type=int, default=600)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("checkpoints/python"))
arguments = parser.parse_args()
print(mmrec.machine())

# %% Train; Ctrl-C ends it early, and what there is goes on
trainer = mmrec.Trainer(arguments.text, steps=arguments.steps, tokenizer="char", seed=42)
print(trainer.describe())
train, validation = [], []  # (step, loss)
begin = time.perf_counter()
try:
    while not trainer.is_done:
        row = trainer.step()
        train.append((row.step, row.loss))
        if trainer.validation_is_due:
            row = trainer.validate()
            validation.append((row.step, row.loss))
            print(f"step {row.step}/{trainer.steps}: validation loss {row.loss:.3f}")
except KeyboardInterrupt:
    print(f"stopped after step {trainer.steps_taken}")
print(f"{trainer.steps_taken} steps in {time.perf_counter() - begin:.1f} s")
trainer.save(arguments.out)

# %% Plot the loss
try:
    import matplotlib

    matplotlib.use("Agg")  # a file, no window
    from matplotlib import pyplot
except ImportError:
    print("no plot: matplotlib is not installed (pip install matplotlib)")
else:
    pyplot.plot(*zip(*train), label="training", linewidth=0.5)
    if validation:
        pyplot.plot(*zip(*validation), label="validation", marker="o")
    pyplot.xlabel("step")
    pyplot.ylabel("loss in nats a character")
    pyplot.legend()
    pyplot.savefig(arguments.out / "loss.png")
    print(f"plot: {arguments.out / 'loss.png'}")

# %% Generate, piece by piece
model = mmrec.load(arguments.out)
print("KING:", end="")
for piece in model.stream("KING:", max_tokens=300, temperature=0.8, seed=1):
    print(piece, end="", flush=True)
print()

# %% What the model expects after a text
ids = model.tokenizer.encode("ROMEO")
logits, state = model.logits(ids)
likeliest = logits.argsort()[::-1][:5]
print("after ROMEO:", [model.tokenizer.decode([i]) for i in likeliest])
