"""3 x 3 convolution in float32 on CPUs by the minimal filtering of Winograd, and its gradients.

Tiles of m x m outputs are computed from (m + 2) x (m + 2) transformed inputs, each of which meets its transformed
filter in one product over the channels: (m + 2)^2 multiplications a tile, channel and filter instead of 9 m^2, which is
2.3 to 4 times fewer (S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, arXiv 1509.09308).
The gradients are the same three bilinear steps transposed, so they save as much.

What it costs is rounding: sums of transformed values lose 1 to 2 of float32's 7 digits, and have far more left than
bfloat16 has (tests/layers/test_winograd.py).
"""
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from layers.bfloat16 import kept
from layers.blocks import LEAST_IMAGES, over_blocks

TILES = (2, 3, 4)  # m; with larger ones the rounding grows faster than the products shrink
POINTS = (0, 1, -1, 2, -2)  # at which polynomials are evaluated, and at infinity
BLOCK_TILES = 128  # tiles of a block, about


@functools.cache
def matrices(m: int):
  """(A [m + 2, m], B [m + 2, m + 2], G [m + 2, 3]): the filter g over d is A^T ((G g) * (B d)), of length m.

  By the transposition of Toom and Cook's product of polynomials: G and A evaluate at the points, B interpolates.
  """
  points = np.array(POINTS[:m + 1], np.float64)
  evaluated = lambda count: np.vstack([np.vander(points, count, increasing=True), np.eye(count)[-1]])
  scale = np.array([*(np.prod([p - q for q in points if q != p]) for p in points), 1.0])[:, None]
  return evaluated(m), (np.linalg.inv(evaluated(m + 2)).T * scale).round(9), evaluated(3) / scale


def tiles(h: int, w: int) -> tuple[int, int, int]:
  """(m, tiles down, tiles across) that take the fewest multiplications for h x w outputs."""
  made = [(m, -(-h // m), -(-w // m)) for m in TILES]
  return min(made, key=lambda found: (found[0] + 2)**2 * found[1] * found[2])


def _combined(factors, terms):
  """sum of factor * term, where a factor of 0 costs nothing."""
  return sum(term if factor == 1 else factor * term for factor, term in zip(factors, terms, strict=True) if factor)


def _along(matrix, terms, axis: int):
  """Each row of the matrix applied to the list of terms, stacked along a new axis."""
  return kept(jnp.stack([_combined(row, terms) for row in matrix.tolist()], axis))


def _inputs(x, m: int, down: int, across: int):
  """x: [B, H, W, C] -> transformed tiles [n * n, B * down * across, C]; one row of zeros lies around the image."""
  n, b = m + 2, matrices(m)[1]
  more = [(1, max(0, count * m + 1 - size)) for count, size in zip((down, across), x.shape[1:3])]
  x = jnp.pad(x, ((0, 0), *more, (0, 0)))[:, :down * m + 2, :across * m + 2]
  x = _along(b, [x[:, i:i + (down - 1) * m + 1:m] for i in range(n)], 0)
  x = _along(b, [x[:, :, :, j:j + (across - 1) * m + 1:m] for j in range(n)], 1)
  return x.reshape(n * n, -1, x.shape[-1])


def _inputs_transposed(dx, m: int, down: int, across: int, height: int, width: int):
  """The transpose of `_inputs`: what tiles share is summed."""
  n, b = m + 2, matrices(m)[1].T
  dx = dx.reshape(n, n, -1, down, across, dx.shape[-1])
  dx = _overlapped(_along(b, [dx[:, j] for j in range(n)], 0), m, 4, width)
  return _overlapped(_along(b, [dx[i] for i in range(n)], 0), m, 2, height)


def _overlapped(x, m: int, axis: int, size: int):
  """x: [m + 2, ...], whose tiles lie along `axis` and share 2 rows with the next -> [...], rows 1 to `size` of all."""
  last = x.shape[axis] - 1
  cut = functools.partial(jax.lax.slice_in_dim, axis=axis)

  def rows(x):
    x = jnp.moveaxis(x, 0, axis)
    return x.reshape(*x.shape[:axis - 1], -1, *x.shape[axis + 1:])

  shared = cut(x[:2], 1, None) + cut(x[m:], 0, last)
  x = jnp.concatenate([rows(cut(x[:m], 0, 1)), rows(jnp.concatenate([shared, cut(x[2:m], 1, None)])),
                       rows(cut(x[m:], last, None))], axis - 1)
  more = [(0, max(0, size + 1 - x.shape[a])) if a == axis - 1 else (0, 0) for a in range(x.ndim)]
  return kept(jax.lax.slice_in_dim(jnp.pad(x, more), 1, size + 1, axis=axis - 1))


def _outputs(y, m: int, down: int, across: int, size: tuple[int, int]):
  """y: products of transformed tiles [n * n, B * down * across, K] -> [B, *size, K]."""
  n, a, filters = m + 2, matrices(m)[0].T, y.shape[-1]
  y = y.reshape(n, n, -1, down, across, filters)
  y = _along(a, [y[:, j] for j in range(n)], 0)
  y = _along(a, [y[:, i] for i in range(n)], 0)
  return y.transpose(2, 3, 0, 4, 1, 5).reshape(-1, down * m, across * m, filters)[:, :size[0], :size[1]]


def _outputs_transposed(dy, m: int, down: int, across: int):
  """The transpose of `_outputs`."""
  a, (h, w) = matrices(m)[0], dy.shape[1:3]
  dy = jnp.pad(dy, ((0, 0), (0, down * m - h), (0, across * m - w), (0, 0)))
  dy = _along(a, [dy[:, i::m] for i in range(m)], 0)
  dy = _along(a, [dy[:, :, :, j::m] for j in range(m)], 1)
  return dy.reshape((m + 2)**2, -1, dy.shape[-1])


def _both_ways(matrix, kernel):
  """The matrix applied to rows and columns: [r, r, C, K] -> [R, R, C, K]."""
  kernel = _along(matrix, list(kernel), 0)
  return _along(matrix, [kernel[:, j] for j in range(kernel.shape[1])], 1)


def _filters(kernel, m: int):
  """kernel: [3, 3, C, K] -> transformed, [n * n, C, K]."""
  return _both_ways(matrices(m)[2], kernel).reshape((m + 2)**2, *kernel.shape[2:])


def _product(x, y, contracting):
  """[n * n] products of matrices, summed over the named axis of each."""
  return kept(jax.lax.dot_general(x, y, (contracting, ((0,), (0,)))))


def _block_rows(down: int, across: int) -> int:
  """Images a block: enough for products worth the filters' way into the cache, few enough to stay there."""
  return max(LEAST_IMAGES, math.ceil(BLOCK_TILES / (down * across)))


def convolution(x, kernel):
  """As convolution.by_winograd."""
  size = x.shape[1:3]
  found = tiles(*size)
  filters = _filters(kernel, found[0])

  def block(x):
    return [_outputs(_product(_inputs(x, *found), filters, ((2,), (1,))), *found, size)], None
  return over_blocks(block, [x], rows=_block_rows(*found[1:]))[0][0]


def gradients(x, kernel, dy):
  """Of x and of the kernel."""
  found = tiles(*dy.shape[1:3])
  filters = _filters(kernel, found[0])

  def block(x, dy):
    dy = _outputs_transposed(dy, *found)
    dx = _inputs_transposed(_product(dy, filters, ((2,), (2,))), *found, *x.shape[1:3])
    return [dx], _product(_inputs(x, *found), dy, ((1,), (1,)))

  (dx,), total = over_blocks(block, [x, dy], rows=_block_rows(*found[1:]), total=jnp.zeros_like(filters))
  return dx, _both_ways(matrices(found[0])[2].T, total.reshape(*[found[0] + 2] * 2, *kernel.shape[2:]))
