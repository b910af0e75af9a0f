"""Kernels on NumPy arrays of float32, which are read and written in place.

Arrays must be C-contiguous; of gemm's factors the transpose may be, as of w.T. An argument `out`
takes the result, which is a new array without it. The calls let Python's other threads run and
compute with mmrec.num_threads() threads; the bits of a result do not depend on how many.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from . import _native

__all__ = ["affine_scan", "gemm", "rmsnorm", "scan"]


def scan(x: np.ndarray, out: Optional[np.ndarray] = None) -> np.ndarray:
    """Returns the cumulative product along T of x [R][T][D], of positive elements."""
    if out is None:
        out = np.empty(np.shape(x), np.float32)
    _native.scan(x, out)
    return out


def affine_scan(
    a: np.ndarray, b: np.ndarray, h0: np.ndarray, out: Optional[np.ndarray] = None
) -> np.ndarray:
    """Returns h with h_t = a_t h_{t-1} + b_t along T; a, b, h [R][T][D], h0 [R][D]."""
    if out is None:
        out = np.empty(np.shape(a), np.float32)
    _native.affine_scan(a, b, h0, out)
    return out


def gemm(
    a: np.ndarray,
    b: np.ndarray,
    bias: Optional[np.ndarray] = None,
    *,
    beta: float = 0.0,
    out: Optional[np.ndarray] = None,
) -> np.ndarray:
    """Returns a b + bias + beta out; a [M][K], b [K][N], bias [N], out [M][N].

    One of a and b may be the transpose of a contiguous matrix.
    """
    if out is None:
        if beta != 0:
            raise _native.UsageError("beta is for an out that is given")
        out = np.empty(np.shape(a)[:1] + np.shape(b)[1:], np.float32)
    _native.gemm(a, b, bias, beta, out)
    return out


def rmsnorm(x: np.ndarray, w: np.ndarray, out: Optional[np.ndarray] = None) -> np.ndarray:
    """Returns w x / (rms(x) + 1e-6) along the last axis of x [..][D]; w [D]."""
    if out is None:
        out = np.empty(np.shape(x), np.float32)
    _native.rmsnorm(x, w, out)
    return out
