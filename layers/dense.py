"""The product of a dense layer, whose gradients are products too.

Automatic differentiation contracts over batch and length at once and turns the result, which XLA:CPU answers with
copies of what goes in; here all three are products of two matrices. On CPUs in bfloat16 they are oneDNN's, where there
is one (onednn.py), whose sums are float32; else XLA's (benchmarks/NOTES.md). No forward mode (jax.jvp).
"""
import jax
import jax.numpy as jnp

from layers import onednn


@jax.custom_vjp
def product(x, kernel):
  """x: [..., C], kernel: [C, K], of one dtype -> [..., K], that dtype."""
  return _over_channels(x, kernel, 0)


def _over_channels(x, kernel, axis: int):
  """The product of x: [..., C] and a matrix, summed over that axis of it."""
  y = onednn.in_bfloat16(lambda x, y: onednn.product(x, y, axis == 1),
                         lambda x, y: jax.lax.dot_general(x, y, (((1,), (axis,)), ((), ()))), _rows(x), kernel)
  return y.reshape(*x.shape[:-1], y.shape[1])


def _kernel_gradient(x, dy):
  """[..., C], [..., K] -> [C, K], of their dtype."""
  return onednn.in_bfloat16(lambda x, y: onednn.over_rows(x, y).astype(x.dtype),
                            lambda x, y: jax.lax.dot_general(x, y, (((0,), (0,)), ((), ()))), _rows(x), _rows(dy))


def _rows(x):
  return x.reshape(-1, x.shape[-1])


def _forward(x, kernel):
  return product(x, kernel), (x, kernel)


def _backward(saved, dy):
  x, kernel = saved
  return _over_channels(dy, kernel, 1), _kernel_gradient(x, dy)


product.defvjp(_forward, _backward)


@jax.custom_vjp
def plus(y, bias):
  """y: [..., K] plus bias: float32 [K], of y's dtype; the bias's gradient is a sum in float32.

  XLA:CPU takes several times as long for one in bfloat16, and has more rounding in it.
  """
  return y + bias.astype(y.dtype)


plus.defvjp(lambda y, bias: (plus(y, bias), None),
            lambda _, dy: (dy, dy.astype(jnp.float32).reshape(-1, dy.shape[-1]).sum(0)))
