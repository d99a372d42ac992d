"""Formats, histograms, merges, matrices and rates: the arithmetic, against torch, numpy and brute force."""

from __future__ import annotations

import numpy as np
import pytest

from a2d.calibration.collect.histogram import Histogram
from a2d.calibration.quantize.merge import MERGES, error, limit
from a2d.calibration.quantize.number_formats import FORMATS
from a2d.calibration.quantize.weight_quant import code, loss
from a2d.calibration.verify.intervals import Rate, ratio, wilson

CHANCE = np.random.default_rng(0)


def histogram(values) -> Histogram:
    made = Histogram()
    made.add(np.abs(np.asarray(values, np.float32)))
    return made


def test_fp8_rounds_as_torch_does():
    import torch

    x = np.concatenate([CHANCE.normal(0, s, 4000) for s in (1e-3, 0.1, 1, 30, 300)]).astype(np.float32)
    x = np.concatenate([x, [0, 448, -448, 2**-9, 2**-10, 1.5 * 2**-9]]).astype(np.float32)
    ours = FORMATS["fp8"].encode(x, np.float32(1))
    theirs = torch.from_numpy(x.clip(-448, 448)).to(torch.float8_e4m3fn)
    assert np.array_equal(ours.view(np.uint8), theirs.view(torch.uint8).numpy())


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_beyond_the_limit_is_clipped_and_zero_stays(name):
    form = FORMATS[name]
    back = form.rounded(np.array([0, 1, -9, 1e6], np.float32), form.scale(np.float32(2)))
    assert back.tolist() == pytest.approx([0, 1, -2, 2], rel=0.2) and back[0] == 0


@pytest.mark.parametrize("name", FORMATS)
def test_expected_noise_is_what_rounding_does(name):
    form = FORMATS[name]
    x = np.abs(CHANCE.normal(0, 1, 200_000))
    for top in (0.5, 2.0, 5.0):
        happened = np.mean((form.rounded(x, form.scale(np.float64(top))) - x) ** 2)
        assert form.noise(x, top).mean() == pytest.approx(happened, rel=0.12)


@pytest.mark.parametrize("name", FORMATS)
def test_of_zeros_any_scale_is_right_and_none_is_zero(name):
    scale = FORMATS[name].scale(np.zeros(3))
    assert (scale > 0).all() and not FORMATS[name].rounded(np.zeros(3), scale).any()


def test_a_histogram_knows_quantiles_power_and_the_largest():
    x = CHANCE.normal(0, 3, 100_000).astype(np.float32)
    found = histogram(x)
    assert found.count == len(x) and found.largest == np.abs(x).max()
    assert found.power() == pytest.approx(float(np.mean(x.astype(np.float64) ** 2)), rel=0.01)
    for share in (0.5, 0.99, 0.9999):
        assert found.quantile(share) == pytest.approx(float(np.quantile(np.abs(x), share)), rel=0.1)
    assert found.quantile(1.0) == found.largest


def test_a_histogram_does_not_grow_and_survives_being_written_down():
    found = histogram(np.zeros(10))
    size = found.counts.nbytes
    for _ in range(50):
        found.add(np.abs(CHANCE.normal(0, 1e6, 1000)).astype(np.float32))
    assert found.counts.nbytes == size
    again = Histogram.from_json(found.to_json())
    assert np.array_equal(again.counts, found.counts) and again.largest == found.largest


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("name", FORMATS)
def test_constant_zeros_have_no_limit(name, merge):
    assert limit({"prefill": histogram(np.zeros(100))}, FORMATS[name], merge) == 0.0


def test_an_outlier_of_a_million_is_clipped_where_the_merge_says_so():
    x = np.append(CHANCE.normal(0, 1, 200_000), 1e6)
    strata = {"prefill": histogram(x)}
    assert limit(strata, FORMATS["int8"], "absmax") == 1e6
    assert limit(strata, FORMATS["int8"], "percentile") < 10


def test_mse_finds_the_best_limit():
    x = np.abs(CHANCE.standard_t(3, 100_000))
    form = FORMATS["int4"]
    found = limit({"a": histogram(x)}, form, "mse")
    tried = [float(x.max()) * 2 ** (-k / 8) for k in range(60)]
    best = min(tried, key=lambda top: np.mean((form.rounded(x, form.scale(np.float64(top))) - x) ** 2))
    assert found == pytest.approx(best, rel=0.2)


def test_a_small_stratum_has_the_same_voice():
    many, few = CHANCE.normal(0, 1, 500_000), CHANCE.normal(0, 10, 500)
    form = FORMATS["int4"]
    apart = {"prefill": histogram(many), "step 0": histogram(few)}
    pooled = {"all": histogram(np.concatenate([many, few]))}
    assert error({"few": apart["step 0"]}, form, limit(apart, form, "mse")) < 0.8 * error(
        {"few": apart["step 0"]}, form, limit(pooled, form, "mse")
    )


@pytest.mark.parametrize(("axis", "group"), [(0, None), (1, None), (0, 16), (0, 32)])
@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if not form.paired])  # has no groups
def test_matrices_come_back_within_half_a_step(name, axis, group):
    matrix = CHANCE.normal(0, 1, (64, 24)).astype(np.float32) * np.exp(CHANCE.normal(0, 2, (1, 24)))
    made = code(matrix.astype(np.float32), FORMATS[name], axis, group)
    assert made.codes.shape == matrix.shape
    assert loss(matrix, made) < {"int8": 2e-4, "fp8": 2e-3, "int4": 0.05}[name]
    assert loss(matrix, made) == pytest.approx(
        float(np.sum((made.decoded() - matrix) ** 2) / np.sum(matrix**2)), rel=1e-3
    )


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("inputs", [96, 97])
def test_neighbouring_codes_of_a_pair_fit_sixteen_bits_with_any_input(axis, inputs):
    random = np.random.default_rng(3)
    matrix = random.standard_normal((inputs, 40)).astype(np.float32)
    matrix[::2, 3], matrix[1::2, 3] = 1.0, 0.5  # a pair that rounds up twice
    made = code(matrix if axis else np.ascontiguousarray(matrix.T), FORMATS["int8-paired"], axis)
    codes = np.abs((made.codes if axis else made.codes.T).astype(np.int64))
    pairs = [codes[start : start + 2].sum(0).max() for start in range(0, inputs, 2)]
    assert 120 < max(pairs) <= 128 and 255 * max(pairs) < 2**15
    eight, seven = code(matrix, FORMATS["int8"], 1), np.abs(matrix).max(0) / 63
    rounded = np.rint(matrix / seven) * seven
    assert (
        loss(matrix, eight)
        < loss(matrix.T if not axis else matrix, made)
        < np.square(matrix - rounded).sum() / (np.square(matrix).sum())
    )


def test_finer_groups_lose_less():
    matrix = CHANCE.standard_t(3, (256, 64)).astype(np.float32)
    losses = [loss(matrix, code(matrix, FORMATS["int4"], 0 if g else 1, g)) for g in (None, 128, 32)]
    assert losses == sorted(losses, reverse=True)


def test_wilson_is_the_known_interval():
    assert wilson(8, 10) == pytest.approx((0.4901, 0.9433), abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0) and wilson(5, 5)[1] == 1.0
    rate = Rate()
    assert rate.share == 1.0
    rate.add(3, 4)
    assert rate.share == 0.75


def test_a_ratio_has_an_interval_that_holds_it():
    found, (low, high) = ratio([(2.0, 1.0), (4.0, 2.1), (6.0, 2.9)])
    assert low <= found <= high and found == pytest.approx(2.0)
