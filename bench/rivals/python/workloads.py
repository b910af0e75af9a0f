"""The timed workloads: names and sizes of build/bin/bench, and the rivals' forms."""

import dataclasses

import gpt


@dataclasses.dataclass(frozen=True)
class Workload:
    kind: str  # "train" or "scan"
    label: str  # train: the preset; scan: the pass, "fwd" or "bwd"
    sizes: tuple  # train: (B, T); scan: (R, T, D)
    forms: tuple  # a rival may have only some of them
    bf16: bool = False  # train: with products in bfloat16

    @property
    def name(self):
        sizes = "x".join(map(str, self.sizes))
        return (
            f"train/{self.label}{'_bf16' if self.bf16 else ''}/step/{sizes}"
            if self.kind == "train"
            else f"scan/{self.label}/{sizes}"
        )

    @property
    def pass_(self):
        if self.kind == "scan":
            return self.label
        return "train_bf16" if self.bf16 else "train"

    @property
    def pattern(self):
        """Regular expression for the rows of bench that do the same work. A scan has one row per
        variant; the log-space variant is a baseline and does not count.
        """
        return (
            f"^{self.name}$"
            if self.kind == "train"
            else f"^scan/(?!logspace)[a-z]+/{self.name.removeprefix('scan/')}$"
        )


# Forms of the recurrence, around which the framework differentiates everything; and another model.
TRAIN = ("autograd", "by hand", gpt.FORM)
TRAIN_BF16 = ("by hand", gpt.FORM)
FORWARD = ("log space", "cumprod", "associative", "loop")
# gradients of the first two forward forms, or reversed sums
BACKWARD = ("log space", "cumprod", "by hand")

ALL = [
    Workload("train", preset, (B, T), TRAIN_BF16 if bf16 else TRAIN, bf16)
    for preset, B, T in (("tiny", 2, 256), ("tiny", 6, 128), ("tiny", 4, 512), ("mini", 2, 256))
    for bf16 in (False, True)
]
ALL += [
    Workload("scan", label, sizes, forms)
    for label, forms in (("fwd", FORWARD), ("bwd", BACKWARD))
    for sizes in ((8, 128, 64), (8, 256, 128), (1, 65536, 8), (64, 2048, 128))
]
