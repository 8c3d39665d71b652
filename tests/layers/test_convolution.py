"""Convolutions: XLA's values and gradients however they are computed, and elsewhere than on CPUs XLA's programs."""
import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from layers import convolution, onednn
from tests.layers import divided

# window, stride, padding: airbench's, two of stride 2, ResNet's stem, its skips, a whitening, a wide one, two whose
# windows are whole steps wide, and one that leaves rows out
WINDOWS = [((3, 3), 1, ((1, 0), (1, 1))), ((3, 3), 2, ((1, 1), (1, 1))), ((5, 5), 2, ((2, 2), (2, 2))),
           ((4, 4), 1, ((2, 1), (2, 1))), ((7, 7), 2, ((3, 3), (3, 3))), ((1, 1), 2, ((0, 0), (0, 0))),
           ((2, 2), 1, ((0, 0), (0, 0))), ((1, 5), 3, ((0, 0), (2, 1))), ((4, 4), 2, ((1, 0), (1, 0))),
           ((3, 6), 3, ((2, 1), (0, 2))), ((2, 2), 3, ((0, 0), (0, 0)))]
ROOT = Path(__file__).parents[2]
TOLERANCES = [('float32', 1e-5), ('bfloat16', 4e-3)]


def assert_it_is_xlas(function, x, kernel, stride, padding, dtype, tolerance):
  """Values and gradients of function(x, kernel) on arrays of those shapes, against XLA's in float32."""
  rng = np.random.default_rng(0)
  x, kernel = (jnp.asarray(rng.normal(size=shape), dtype) for shape in (x, kernel))
  exact, exact_back = jax.vjp(functools.partial(convolution.by_xla, stride=stride, padding=padding),
                              *(a.astype(jnp.float32) for a in (x, kernel)))
  y, pull_back = jax.vjp(jax.jit(function), x, kernel)
  dy = jnp.asarray(rng.normal(size=exact.shape), dtype)
  for have, want in zip((y, *pull_back(dy)), (exact, *exact_back(dy.astype(jnp.float32))), strict=True):
    assert have.dtype == jnp.dtype(dtype) and have.shape == want.shape
    assert np.linalg.norm(np.asarray(have, np.float32) - want) <= tolerance * np.linalg.norm(want)


@pytest.mark.parametrize('dtype, tolerance', TOLERANCES)
@pytest.mark.parametrize('batch, size', [(12, (11, 10)), (5, (9, 8))])
@pytest.mark.parametrize('window, stride, padding', WINDOWS)
def test_onednns_are_xlas(monkeypatch, window, stride, padding, batch, size, dtype, tolerance):
  monkeypatch.setattr(onednn, 'BLOCK_BYTES', 10_000)  # more than one block
  monkeypatch.setattr(onednn, 'MATRIX_UNIT', 1)
  assert_it_is_xlas(lambda x, kernel: convolution.by_onednn(x, kernel, stride, padding), (batch, *size, 3),
                    (*window, 3, 6), stride, padding, dtype, tolerance)


@pytest.mark.parametrize('dtype, tolerance', TOLERANCES)
@pytest.mark.parametrize('size, window, stride, padding', [
    ((3, 6), (3, 6), 4, ((0, 1), (4, 2))),  # of which oneDNN, asked to pad a pixel by its window, ends the process
    ((2, 4), (3, 3), 2, ((2, 0), (1, 1))), ((7, 1), (4, 4), 4, ((3, 2), (3, 3))), ((5, 5), (2, 2), 2, ((0, 0),) * 2),
    ((4, 6), (3, 3), 2, ((0, 0),) * 2), ((9, 10), (1, 2), 3, ((0, 0), (1, 0)))])
@pytest.mark.parametrize('batch', [1, 4])
def test_onednns_of_tiny_images_are_xlas(batch, size, window, stride, padding, dtype, tolerance):
  assert_it_is_xlas(lambda x, kernel: convolution.by_onednn(x, kernel, stride, padding), (batch, *size, 1),
                    (*window, 1, 3), stride, padding, dtype, tolerance)


@pytest.mark.parametrize('dtype, tolerance', TOLERANCES)
@pytest.mark.parametrize('channels, filters', [(24, 64), (64, 33)])
def test_onednns_of_many_channels_are_xlas(channels, filters, dtype, tolerance):
  padding = ((1, 0), (1, 0))
  assert_it_is_xlas(lambda x, kernel: convolution.by_onednn(x, kernel, 1, padding), (48, 15, 15, channels),
                    (3, 3, channels, filters), 1, padding, dtype, tolerance)


@pytest.mark.parametrize('window, stride, pad', [(3, 2, 1), (7, 2, 3), (2, 2, 0), (5, 3, 1)])
@pytest.mark.parametrize('batch, size', [(8, (14, 14)), (12, (15, 10)), (5, (9, 8))])
def test_those_by_patches_are_xlas(window, stride, pad, batch, size):
  padding = ((pad, pad),) * 2
  assert_it_is_xlas(lambda x, kernel: convolution.by_patches(x, kernel, stride, padding), (batch, *size, 3),
                    (window, window, 3, 6), stride, padding, 'float32', 1e-5)


@pytest.mark.parametrize('dtype, tolerance', TOLERANCES)
@pytest.mark.parametrize('batch, size', [(12, (7, 6)), (5, (6, 8)), (1, (4, 4))])
@pytest.mark.parametrize('window, stride, padding', WINDOWS)
def test_those_by_product_are_xlas(window, stride, padding, batch, size, dtype, tolerance):
  if dtype == 'bfloat16' and window != (1, 1):
    with pytest.raises(AssertionError):
      convolution.by_product(jnp.ones((batch, *size, 3), dtype), jnp.ones((*window, 3, 6), dtype), stride, padding)
    return
  assert_it_is_xlas(lambda x, kernel: convolution.by_product(x, kernel, stride, padding), (batch, *size, 3),
                    (*window, 3, 6), stride, padding, dtype, tolerance)


@pytest.mark.parametrize('shape, filters', [((32, 8, 9, 5), 7), ((6, 4, 5, 3), 2), ((17, 3, 3, 8), 4)])
def test_winograds_are_xlas(shape, filters):
  assert_it_is_xlas(convolution.by_winograd, shape, (3, 3, shape[3], filters), 1, convolution.ROUND, 'float32', 1e-5)


def lowered(function, dtype, platform: str) -> str:
  """The program of the gradients of function(x, kernel)."""
  args = [jax.ShapeDtypeStruct(shape, dtype) for shape in ((8, 14, 14, 3), (3, 3, 3, 5))]
  loss = lambda *args: jnp.sum(function(*args)**2)
  return jax.jit(jax.grad(loss, (0, 1))).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def need_onednn(dtype):
  if not onednn.available(dtype):
    pytest.skip(f'jaxlib has no oneDNN here, or the CPU no {onednn.INSTRUCTIONS[jnp.dtype(dtype).name]}')


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_on_cpus_it_is_onednn_that_computes(dtype):
  need_onednn(dtype)
  text = lowered(lambda *args: convolution.by_onednn(*args, 2, convolution.ROUND), dtype, 'cpu')
  # forward, filters' gradient, and the inputs' at each of four places within a step
  assert text.count(onednn.CONVOLUTION) == 6 and 'stablehlo.convolution' not in text


@pytest.mark.parametrize('lines, dtype, available', [
    ('flags : fpu avx2 avx512_bf16 amx_bf16', 'bfloat16', True), ('flags : fpu avx2 avx512f', 'bfloat16', False),
    ('flags : fpu avx2 avx512f', 'float32', True), ('flags : fpu sse4_2', 'float32', False),
    ('flags : fpu avx2 avx512_bf16', 'float16', False)])
def test_it_asks_for_the_instructions(monkeypatch, tmp_path, lines, dtype, available):
  (tmp_path / 'cpuinfo').write_text(f'processor : 0\n{lines}\n')
  monkeypatch.setattr(onednn, 'CPUS', tmp_path / 'cpuinfo')
  monkeypatch.setattr(onednn.platform, 'machine', lambda: 'x86_64')
  monkeypatch.setattr(onednn.sys, 'platform', 'linux')
  assert onednn.available.__wrapped__(dtype) == available
  monkeypatch.setattr(onednn.platform, 'machine', lambda: 'aarch64')
  assert not onednn.available.__wrapped__(dtype)


def test_without_them_it_is_xlas(monkeypatch):
  monkeypatch.setattr(onednn, 'available', lambda dtype: False)
  text = lowered(lambda *args: convolution.by_onednn(*args, 1, convolution.ROUND), jnp.bfloat16, 'cpu')
  assert text.count('stablehlo.convolution') == 3


SCRIPT = """
import jax, jax.numpy as jnp
from layers import convolution
jax.config.update('jax_compilation_cache_dir', {cache!r})
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
x, kernel = jnp.ones((2, 5, 5, 3)), jnp.ones((3, 3, 3, 3))
program = jax.jit(lambda *args: convolution.by_onednn(*args, 1, convolution.ROUND))
for platform in ('cuda', 'cpu'):
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)  # again, though by then all has been traced
  program.trace(x, kernel).lower(lowering_platforms=(platform,))
  print(jax.config.jax_persistent_cache_min_compile_time_secs)
print(float(program(x, kernel).sum()))
"""


def test_a_program_that_has_it_is_not_written_to_the_cache(tmp_path):
  need_onednn('float32')
  done = subprocess.run([sys.executable, '-W', 'error', '-c', SCRIPT.format(cache=str(tmp_path))], cwd=ROOT,
                        env={**os.environ, 'JAX_PLATFORMS': 'cpu'}, capture_output=True, text=True)
  assert done.stdout.split() == ['0', 'inf', str(2.0 * 3 * 3 * 13 * 13)], done.stderr
  assert not [path for path in tmp_path.iterdir() if 'lambda' in path.name]


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
@pytest.mark.parametrize('function, dtype, stride', [
    (lambda *args: convolution.by_onednn(*args, 2, convolution.ROUND), jnp.float32, 2),
    (lambda *args: convolution.by_onednn(*args, 2, convolution.ROUND), jnp.bfloat16, 2),
    (lambda *args: convolution.by_patches(*args, 2, convolution.ROUND), jnp.float32, 2),
    (lambda *args: convolution.by_product(*args, 2, convolution.ROUND), jnp.float32, 2),
    (convolution.by_winograd, jnp.float32, 1)])
def test_elsewhere_all_of_it_is_xlas(function, dtype, stride, platform):
  texts = [lowered(f, dtype, platform) for f in (
      function, lambda *args: convolution.by_xla(*args, stride, convolution.ROUND))]
  assert [text.count('stablehlo.convolution') for text in texts] == [3, 3] and 'stablehlo.while' not in texts[0]
  assert 'custom_call' not in texts[0]


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('window, ours', [(3, onednn.CONVOLUTION), (1, onednn.PRODUCT)])
@pytest.mark.parametrize('devices', [2, 4])
def test_a_batch_divided_over_devices_stays_there(devices, window, ours, dtype):
  need_onednn(dtype)
  function = lambda *args: convolution.by_onednn(*args, 2, ((window // 2,) * 2,) * 2)
  divided.assert_it_stays_there(function, devices, (16, 14, 14, 3), (window, window, 3, 5), dtype, ours)


def all_gradients(x, kernel, weights):
  return jax.grad(lambda *args: jnp.sum((convolution.by_onednn(*args, 1, convolution.ROUND) * weights).astype(
      jnp.float32)), (0, 1))(x, kernel)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('shape, axes', [
    ((4,), 'data'), ((2, 2), ('slice', 'data')), ((2, 2), ('data',)), ((4,), None)])
@pytest.mark.parametrize('weights_by_row', [True, False])
def test_and_has_the_same_gradients(dtype, shape, axes, weights_by_row):
  need_onednn(dtype)
  rng = np.random.default_rng(0)
  arrays = [jnp.asarray(rng.normal(size=shape), dtype) for shape in ((16, 9, 9, 3), (3, 3, 3, 5), (16, 9, 9, 5))]
  made = Mesh(np.array(jax.devices()[:4]).reshape(shape), ('slice', 'data')[-len(shape):])
  placed = [jax.device_put(array, NamedSharding(made, PartitionSpec(*spec))) for array, spec in zip(
      arrays, ([axes], [], ['data'] if weights_by_row else []))]
  for have, want in zip(jax.jit(all_gradients)(*placed), jax.jit(all_gradients)(*arrays), strict=True):
    assert have.dtype == dtype
    # Sums are float32 until the last device has added its part, and then rounded as those of one device are.
    np.testing.assert_allclose(np.asarray(have, np.float32), np.asarray(want, np.float32),
                               rtol=1e-5 if dtype == jnp.float32 else 2**-8, atol=1e-4)


@pytest.mark.parametrize('function', [convolution.by_onednn, convolution.by_patches, convolution.by_product])
@pytest.mark.parametrize('x, kernel, padding', [
    ((0, 8, 8, 3), (3, 3, 3, 4), ((1, 1), (1, 1))), ((4, 2, 2, 3), (5, 5, 3, 4), ((1, 1), (1, 1))),
    ((4, 8, 8, 3), (3, 3, 2, 4), ((1, 1), (1, 1))), ((4, 8, 8, 3), (3, 3, 3, 4), ((1, -1), (1, 1))),
    ((4, 8, 8, 3), (1, 1, 3, 4), ((1, 1), (1, 1))), ((4, 0, 8, 3), (2, 2, 3, 4), ((1, 1), (1, 1)))])
def test_what_is_no_convolution_is_refused(function, x, kernel, padding):
  with pytest.raises(AssertionError):
    function(jnp.ones(x), jnp.ones(kernel), 1, padding)


@pytest.mark.parametrize('kernel, dtype', [
    ((5, 5, 3, 4), 'float32'), ((3, 3, 2, 4), 'float32'), ((3, 3, 3, 4), 'bfloat16')])
def test_what_is_not_winograds_is_refused(kernel, dtype):
  with pytest.raises(AssertionError):
    convolution.by_winograd(jnp.ones((4, 8, 8, 3), dtype), jnp.ones(kernel, dtype))
