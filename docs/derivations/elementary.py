"""Derives the coefficients of kernels/src/simd/math (needs `pip install mpmath`).

    python3 docs/derivations/elementary.py

exp   x = n ln2 + r, |r| <= ln2 / 2, and e^r = 1 + r + r^2 q(r). q is the minimax polynomial for the
      relative error of e^r. n ln2 is taken off in two steps, ln2 = hi + lo; hi has so many zero bits
      at its end that n * hi is exact for every n that occurs, with or without a fused multiply-add.
ln    x = 2^e m with m in [sqrt(1/2), sqrt(2)), f = m - 1 (exact), and
      ln(1 + f) = f - f^2 / 2 + f^3 p(f). p is the minimax polynomial for the relative error of
      ln(1 + f). The first two terms are exact, so the rounded coefficients only touch what is small.
tanh  |x| < 5/8: tanh x = x + x^3 t(x^2), t minimax for the relative error of tanh x. Beyond:
      1 - 2 / (e^2|x| + 1), where the fraction is below 0.45 and so are its errors.
expm1 x = n ln2 + r as for exp, and e^r - 1 = r + r^2 m(r), m minimax for the relative error of
      e^r - 1; then 2^n (e^r - 1) + (2^n - 1).
erf   |x| < 1: erf x = x + x s(x^2), s minimax for the relative error of erf x. Beyond, up to where erf
      rounds to 1: 1 - e^-w(|x|), w minimax to -ln(1 - erf) in the absolute error of erf; the fraction is
      below 0.16, so what exp adds is a sixth of its own error.
gelu  x Phi(x) = max(x, 0) - |x| Phi(-|x|) and w Phi(-w) = e^(-w^2 / 2) t g(t) with t = w / (w + k), which
      maps [0, oo) to [0, 1), where g is smooth; minimax for the relative error up to where the result
      rounds to 0, as a polynomial in t - centre, whose terms hardly cancel. k was tried in halves.
"""

import struct

from mpmath import (
    cos, erf, erfc, exp, expm1, fabs, floor, ln, log, log1p, lu_solve, matrix, mp, mpf, pi, sqrt, tanh,
)

mp.prec = 240


def minimax(f, weight, lo, hi, degree):
    """Remez exchange: coefficients (lowest first) of the polynomial with the least maximum of
    |weight(x) (f(x) - polynomial(x))|, and that maximum."""
    count = degree + 2
    nodes = [(lo + hi) / 2 - (hi - lo) / 2 * cos(pi * k / (count - 1)) for k in range(count)]
    # A weight may vanish at 0, which therefore cannot be a node.
    nodes = [x if fabs(x) > hi / 1000 else hi / 50 for x in nodes]
    grid = [(lo + hi) / 2 - (hi - lo) / 2 * cos(pi * (k + mpf(1) / 3) / 1000) for k in range(1000)]
    values = [(x, f(x), weight(x)) for x in grid]
    for _ in range(8):
        rows = matrix(count, count)
        right = matrix(count, 1)
        for i, x in enumerate(nodes):
            for j in range(degree + 1):
                rows[i, j] = x**j
            rows[i, degree + 1] = (-1) ** i / weight(x)
            right[i] = f(x)
        solved = lu_solve(rows, right)
        coefficients = [solved[j] for j in range(degree + 1)]
        errors = [(w * (y - horner(coefficients, x)), x) for x, y, w in values]
        # The largest error of each run of one sign becomes a node of the next round.
        runs = [errors[0]]
        for error in errors[1:]:
            if (error[0] > 0) != (runs[-1][0] > 0):
                runs.append(error)
            elif fabs(error[0]) > fabs(runs[-1][0]):
                runs[-1] = error
        while len(runs) > count:
            runs.pop(0 if fabs(runs[0][0]) < fabs(runs[-1][0]) else -1)
        if len(runs) < count:
            break
        nodes = [x for _, x in runs]
    return coefficients, max(fabs(error) for error, _ in errors)


def horner(coefficients, x):
    total = mpf(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def single(x):
    return struct.unpack("f", struct.pack("f", float(x)))[0]


def show(x, kind):
    """The shortest decimal that rounds to the value of this type nearest to x."""
    if kind == "f64":
        return repr(float(x))
    for digits in range(1, 10):
        text = f"{single(x):.{digits}g}"
        if single(float(text)) == single(x):
            return repr(float(text))
    raise AssertionError


def leading_bits(x, bits):
    unit = mpf(2) ** (floor(log(x, 2)) + 1 - bits)
    return floor(x / unit) * unit


def exp_rest(r):
    if fabs(r) < mpf(2) ** -60:
        return mpf(1) / 2 + r / 6
    return (expm1(r) - r) / r**2


def ln_rest(f):
    if fabs(f) < mpf(2) ** -40:
        return mpf(1) / 3 - f / 4 + f**2 / 5
    return (log1p(f) - f + f**2 / 2) / f**3


def tanh_rest(square):
    if square < mpf(2) ** -60:
        return -mpf(1) / 3 + square * 2 / 15
    x = sqrt(square)
    return (tanh(x) - x) / x**3


def erf_rest(square):
    if square < mpf(2) ** -60:
        return 2 / sqrt(pi) * (1 - square / 3) - 1
    x = sqrt(square)
    return erf(x) / x - 1


def gelu_tail(t, k):
    """Phi(-w) e^(w^2 / 2) (w + k) of the w that t stands for."""
    w = k * t / (1 - t)
    return exp(w * w / 2) * erfc(w / sqrt(mpf(2))) / 2 * (w + k)


def report(name, kind, coefficients, error):
    print(f"{name} {kind}: minimax error 2^{float(log(error, 2)):.1f}")
    for c in coefficients:
        print("    ", show(c, kind) + ",")


def weight_of_tanh(square):
    return square * sqrt(square) / tanh(sqrt(square)) if square else mpf(0)


def weight_of_erf(square):
    return sqrt(square) / erf(sqrt(square)) if square else sqrt(pi) / 2


SINGLE = {
    "hi_bits": 16, "exp": 4, "ln": 8, "tanh": 4, "expm1": 4, "erf": 6, "erf far": 7, "erf one": 4,
    "gelu": 9, "gelu k": 4.5, "gelu centre": 0.375, "gelu zero": 14.5,
}
DOUBLE = {
    "hi_bits": 42, "exp": 9, "ln": 19, "tanh": 11, "expm1": 9, "erf": 12, "erf far": 23, "erf one": 6,
    "gelu": 22, "gelu k": 5.5, "gelu centre": 0.4375, "gelu zero": 38.7,
}

for kind, of in [("f32", SINGLE), ("f64", DOUBLE)]:
    ln2_hi = leading_bits(ln(2), of["hi_bits"])
    print(kind, "LN2_HI", show(ln2_hi, kind), "LN2_LO", show(ln(2) - ln2_hi, kind))
    print(kind, "LOG2_E", show(1 / ln(2), kind))
    # A little more than ln2 / 2: rounding x log2(e) can pick the neighbour of the nearest integer.
    bound = ln(2) / 2 * (1 + mpf(2) ** -12)
    report("exp q", kind, *minimax(exp_rest, lambda r: r**2 / exp(r), -bound, bound, of["exp"]))
    left, right = sqrt(mpf(1) / 2) - 1, sqrt(mpf(2)) - 1
    report("ln p", kind, *minimax(ln_rest, lambda f: f**3 / log1p(f), left, right, of["ln"]))
    near = (mpf(5) / 8) ** 2
    report("tanh t", kind, *minimax(tanh_rest, weight_of_tanh, mpf(0), near, of["tanh"]))
    weight = lambda r: r**2 / fabs(expm1(r)) if r else mpf(0)
    report("expm1 m", kind, *minimax(exp_rest, weight, -bound, bound, of["expm1"]))
    report("erf s", kind, *minimax(erf_rest, weight_of_erf, mpf(0), mpf(1), of["erf"]))
    far = lambda x: -log(erfc(x))
    weight = lambda x: erfc(x) / erf(x)
    report("erf w", kind, *minimax(far, weight, mpf(1), mpf(of["erf one"]), of["erf far"]))
    k, zero, centre = mpf(of["gelu k"]), mpf(of["gelu zero"]), mpf(of["gelu centre"])
    tail = lambda u: gelu_tail(u + centre, k)
    ends = [-centre, zero / (zero + k) - centre]
    report("gelu g", kind, *minimax(tail, lambda u: 1 / tail(u), *ends, of["gelu"]))
