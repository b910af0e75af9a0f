import threading

import numpy as np
import pytest

import mmrec
from mmrec import ops


def floats(*shape, low=-1.0, high=1.0):
    return np.random.default_rng(1).uniform(low, high, shape).astype(np.float32)


def test_scan_is_the_cumulative_product():
    x = floats(3, 37, 5, low=0.9, high=1.0)
    y = ops.scan(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.cumprod(x.astype(float), axis=1), rtol=1e-5)


def test_affine_scan_is_the_recurrence():
    a, b, h = floats(2, 20, 6), floats(2, 20, 6), floats(2, 6)
    result = ops.affine_scan(a, b, h)
    for t in range(20):
        h = a[:, t].astype(float) * h + b[:, t]
        np.testing.assert_allclose(result[:, t], h, atol=1e-5)


@pytest.mark.parametrize("left, right", [(0, 0), (0, 1), (1, 0)])
def test_gemm_takes_matrices_and_transposes_in_place(left, right):
    a = floats(33, 40).T if left else floats(40, 33)
    b = floats(50, 33).T if right else floats(33, 50)
    bias = floats(50)
    np.testing.assert_allclose(ops.gemm(a, b, bias), a @ b + bias, atol=1e-4)


def test_gemm_adds_to_out():
    a, b, c = floats(4, 3), floats(3, 5), floats(4, 5)
    expected = a @ b + 0.5 * c
    assert ops.gemm(a, b, beta=0.5, out=c) is c
    np.testing.assert_allclose(c, expected, atol=1e-6)


def test_rmsnorm_normalises_the_last_axis():
    x, w = floats(2, 7, 16), floats(16)
    expected = w * x / (np.sqrt(np.mean(x.astype(float) ** 2, axis=-1, keepdims=True)) + 1e-6)
    np.testing.assert_allclose(ops.rmsnorm(x, w), expected, atol=1e-5)


def test_arrays_without_elements():
    assert ops.scan(floats(0, 4, 3)).shape == (0, 4, 3)
    assert ops.rmsnorm(floats(0, 4), floats(4)).shape == (0, 4)
    assert ops.gemm(floats(2, 0), floats(0, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_results_go_to_memory_of_the_caller():
    x, out = floats(2, 8, 4), np.zeros((2, 8, 4), np.float32)
    address = out.ctypes.data
    assert ops.scan(abs(x), out) is out and out.ctypes.data == address
    assert np.array_equal(out, ops.scan(abs(x)))


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda x: ops.scan(x.astype(float)), TypeError, "float32, and is an array of float64"),
        (lambda x: ops.scan(x.astype(">f4")), TypeError, "float32, and is an array of >f4"),
        (lambda x: ops.scan([[[1.0]]]), TypeError, "float32, and is of type list"),
        (lambda x: ops.scan(x[0]), ValueError, r"x: expected shape .*got \[8,4\]"),
        (lambda x: ops.scan(x[:, ::2]), ValueError, "x is strided"),
        (lambda x: ops.scan(np.asfortranarray(x[0])), ValueError, "x is strided"),
        (lambda x: ops.scan(x, x), ValueError, "in common"),
        (lambda x: ops.scan(x, x[:1].copy()), ValueError, "y: expected shape"),
        (lambda x: ops.scan(x, np.broadcast_to(x[0], x.shape)), ValueError, "read-only|strided"),
        (lambda x: ops.gemm(x[0], x[0]), ValueError, r"b: expected shape \[4,-1\]"),
        (lambda x: ops.gemm(x, x[0].T), ValueError, "a must be a matrix"),
        (lambda x: ops.gemm(x[0].T, x[0].T.copy().T), ValueError, "both transposed"),
        (lambda x: ops.gemm(x[0], x[0].T, beta=1), ValueError, "beta is for an out"),
        (lambda x: ops.gemm(x[0], x[0].T, x[0, 0]), ValueError, r"bias.*\[8\]"),
        (lambda x: ops.rmsnorm(x, x[0]), ValueError, "w: expected shape"),
        (lambda x: ops.rmsnorm(x[:0], x[0, 0, :2]), ValueError, "w: expected shape"),
        (
            lambda x: ops.rmsnorm(x, x[0, 0], np.zeros((16, 4), np.float32)),
            ValueError,
            r"out has the shape \[16,4\]",
        ),
        (
            lambda x: ops.scan(np.frombuffer(bytes(129), np.float32, 32, 1).reshape(1, 8, 4)),
            ValueError,
            "x is unaligned",
        ),
        (lambda x: ops.rmsnorm(x[0, 0, 0], x[0, 0]), (TypeError, ValueError), "x"),
        (lambda x: ops.affine_scan(x, x, x[:, 0].copy(), x), ValueError, "in common"),
    ],
)
def test_wrong_arrays_are_refused(call, kind, words):
    with pytest.raises(kind, match=words):
        call(floats(2, 8, 4))


def test_threads_of_python_compute_side_by_side():
    x = floats(4, 64, 32, low=0.9, high=1.0)
    expected = ops.scan(x)
    results = [None] * 4

    def work(i):
        for _ in range(50):
            results[i] = ops.scan(x)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    before = mmrec.num_threads()
    for thread in threads:
        thread.start()
    mmrec.set_num_threads(1)  # while they compute
    for thread in threads:
        thread.join()
    mmrec.set_num_threads(before)
    assert all(np.array_equal(result, expected) for result in results)
    with pytest.raises(ValueError, match="0"):
        mmrec.set_num_threads(0)
