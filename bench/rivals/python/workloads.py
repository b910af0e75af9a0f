"""What is timed: names and sizes as build/bin/bench has them, and the forms in which the rivals come."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Workload:
    kind: str  # train, scan
    label: str  # the preset; the pass, fwd or bwd
    sizes: tuple  # B, T; R, T, D
    forms: tuple  # each rival has some of them

    @property
    def name(self):
        sizes = "x".join(map(str, self.sizes))
        return f"train/{self.label}/step/{sizes}" if self.kind == "train" else f"scan/{self.label}/{sizes}"

    @property
    def pass_(self):
        return "train" if self.kind == "train" else self.label

    @property
    def pattern(self):
        """Of the rows of bench that do the same: a scan has a row for each variant, but its log-space form is a baseline."""
        return f"^{self.name}$" if self.kind == "train" else f"^scan/(?!logspace)[a-z]+/{self.name.removeprefix('scan/')}$"


TRAIN = ("autograd", "by hand")  # of the recurrence; everything around it is differentiated by the framework
FORWARD = ("log space", "cumprod", "associative", "loop")
BACKWARD = ("log space", "cumprod", "by hand")  # the gradients of the first two, or reversed sums

ALL = [Workload("train", preset, (B, T), TRAIN) for preset, B, T in (("tiny", 2, 256), ("tiny", 6, 128), ("tiny", 4, 512), ("mini", 2, 256))]
ALL += [Workload("scan", label, sizes, forms)
        for label, forms in (("fwd", FORWARD), ("bwd", BACKWARD))
        for sizes in ((8, 128, 64), (8, 256, 128), (1, 65536, 8), (64, 2048, 128))]
