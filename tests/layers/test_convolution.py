"""Convolutions: XLA's values and gradients, and elsewhere than on CPUs XLA's programs."""
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers import convolution


@pytest.mark.parametrize('dtype, tolerance', [('float32', 1e-5), ('bfloat16', 4e-3)])
@pytest.mark.parametrize('shape, size, filters', [((32, 9, 9, 5), (8, 8), 7), ((6, 4, 5, 3), (4, 5), 2),
                                                  ((17, 3, 3, 8), (3, 3), 4)])
def test_3x3_ones_convolve_as_xla_does(shape, size, filters, dtype, tolerance):
  random = np.random.default_rng(0)
  x, kernel, dy = (jnp.asarray(random.normal(size=s), dtype) for s in
                   (shape, (3, 3, shape[3], filters), (shape[0], *size, filters)))
  ours = jax.vjp(lambda x, k: convolution.conv3x3(x, k, size), x, kernel)
  whole = lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  exact = jax.vjp(lambda x, k: whole(x, k)[:, :size[0], :size[1]], *(a.astype(jnp.float32) for a in (x, kernel)))
  plain = jax.vjp(lambda x, k: convolution.plain3x3(x, k, size), x, kernel)
  expected = [exact[0], *exact[1](dy.astype(jnp.float32))]
  for got in ([ours[0], *ours[1](dy)], [plain[0], *plain[1](dy)]):
    for a, b in zip(got, expected):
      assert a.dtype == jnp.dtype(dtype) and a.shape == b.shape
      assert np.linalg.norm(np.asarray(a, np.float32) - b) <= tolerance * np.linalg.norm(b)


@pytest.mark.parametrize('window, stride, pad', [(3, 2, 1), (7, 2, 3), (2, 2, 0), (5, 3, 1)])
@pytest.mark.parametrize('batch, size', [(8, (14, 14)), (12, (15, 10)), (5, (9, 8))])
def test_strided_ones_have_xlas_values_and_gradients(window, stride, pad, batch, size):
  rng, padding = np.random.default_rng(0), ((pad, pad),) * 2
  x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in (
      (batch, *size, 3), (window, window, 3, 6)))
  y, pull_back = jax.vjp(lambda *args: convolution.by_xla(*args, stride, padding), x, kernel)
  dy = jnp.asarray(rng.normal(size=y.shape), jnp.float32)
  have, ours_back = jax.vjp(lambda *args: convolution.by_patches(*args, stride, padding), x, kernel)
  np.testing.assert_array_equal(have, y)
  for ours, xla in zip(ours_back(dy), pull_back(dy), strict=True):
    np.testing.assert_allclose(ours, xla, rtol=1e-5, atol=1e-5 * float(jnp.abs(xla).max()))


@pytest.mark.parametrize('dtype, tolerance', [(jnp.float32, 1e-5), (jnp.bfloat16, 4e-3)])
@pytest.mark.parametrize('stride', [1, 2])
def test_those_by_patches_have_xlas_values_and_gradients(stride, dtype, tolerance):
  rng, padding = np.random.default_rng(0), ((1, 1), (2, 0))
  x, kernel = (jnp.asarray(rng.normal(size=shape), dtype) for shape in ((12, 15, 10, 3), (3, 3, 3, 6)))
  plain = functools.partial(convolution.by_xla, stride=stride, padding=padding)
  exact, exact_back = jax.vjp(plain, *(a.astype(jnp.float32) for a in (x, kernel)))
  y, pull_back = jax.vjp(jax.jit(lambda *args: convolution.by_patches(*args, stride, padding)), x, kernel)
  if dtype == jnp.float32:
    np.testing.assert_array_equal(y, plain(x, kernel))
  dy = jnp.asarray(rng.normal(size=y.shape), dtype)
  for have, want in zip((y, *pull_back(dy)), (exact, *exact_back(dy.astype(jnp.float32))), strict=True):
    assert have.dtype == dtype
    assert np.linalg.norm(np.asarray(have, np.float32) - want) <= tolerance * np.linalg.norm(want)


@pytest.mark.parametrize('dtype, tolerance', [(jnp.float32, 1e-6), (jnp.bfloat16, 4e-3)])
def test_that_of_few_channels_has_xlas_values_and_gradients(dtype, tolerance):
  rng = np.random.default_rng(0)
  x, kernel = (jnp.asarray(rng.normal(size=shape), dtype) for shape in ((6, 9, 8, 3), (2, 2, 3, 5)))
  y, pull_back = jax.vjp(jax.jit(convolution.few_channels), x, kernel)
  exact, exact_back = jax.vjp(lambda *args: convolution.by_xla(*args, 1, 'VALID'),
                              *(a.astype(jnp.float32) for a in (x, kernel)))
  dy = jnp.asarray(rng.normal(size=y.shape), dtype)
  for have, want in zip((y, *pull_back(dy)), (exact, *exact_back(dy.astype(jnp.float32))), strict=True):
    assert have.dtype == dtype
    assert np.linalg.norm(np.asarray(have, np.float32) - want) <= tolerance * np.linalg.norm(want)


@pytest.mark.parametrize('x, window', [((0, 8, 8, 3), 3), ((4, 2, 2, 3), 5)])
def test_no_image_and_windows_larger_than_it_are_refused(x, window):
  with pytest.raises(AssertionError):
    convolution.by_patches(jnp.ones(x, jnp.bfloat16), jnp.ones((window, window, 3, 4), jnp.bfloat16), 1, ((1, 1),) * 2)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_elsewhere_all_of_it_is_xlas(platform, dtype):
  args = [jax.ShapeDtypeStruct(shape, dtype) for shape in ((8, 14, 14, 3), (3, 3, 3, 5))]
  texts = [jax.jit(jax.grad(lambda x, k: jnp.sum(f(x, k, 2, ((1, 1), (1, 1)))**2), (0, 1))).trace(*args).lower(
      lowering_platforms=(platform,)).as_text() for f in (convolution.by_patches, convolution.by_xla)]
  assert [text.count('stablehlo.convolution') for text in texts] == [3, 3] and 'stablehlo.while' not in texts[0]


@pytest.mark.parametrize('kernel, size, pool, dtype', [
    ((5, 5, 3, 4), (8, 8), False, jnp.float32), ((1, 1, 3, 4), (8, 8), False, jnp.float32),
    ((3, 3, 2, 4), (8, 8), False, jnp.float32), ((3, 3, 3, 4), (9, 8), False, jnp.float32),
    ((3, 3, 3, 4), (7, 8), True, jnp.float32), ((3, 3, 3, 4), (8, 8), False, jnp.bfloat16)])
def test_what_is_no_3x3_convolution_is_refused(kernel, size, pool, dtype):
  with pytest.raises(AssertionError):
    convolution.conv3x3(jnp.ones((4, 8, 8, 3)), jnp.ones(kernel, dtype), size, pool)
