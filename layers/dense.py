"""The product of a dense layer, whose gradients are products too, as XLA:CPU's library takes them (bfloat16.py).

Automatic differentiation contracts over batch and length at once and turns the result, which XLA:CPU answers with
copies of what goes in; here all three are products of two matrices. On CPUs a step of BERT base takes a fifth less in
float32, and in bfloat16, where sums stay float32 there and a matrix may be turned as bits, half as long
(benchmarks/NOTES.md). Elsewhere XLA is asked for the same three products in either. No forward mode (jax.jvp).
"""
import jax
import jax.numpy as jnp

from layers import bfloat16


@jax.custom_vjp
def product(x, kernel):
  """x: [..., C], kernel: [C, K], of one dtype -> [..., K], that dtype."""
  return _over_channels(x, kernel, 0)


def _over_channels(x, kernel, axis: int):
  """The product of x: [..., C] and a matrix, summed over that axis of it."""
  rows = x.reshape(-1, x.shape[-1])
  y = bfloat16.on_cpus(lambda x, y: bfloat16.wide(x, y, (1, axis)).astype(x.dtype),
                       lambda x, y: jax.lax.dot_general(x, y, (((1,), (axis,)), ((), ()))), rows, kernel)
  return y.reshape(*x.shape[:-1], y.shape[1])


def kernel_gradient(x, dy):
  """[..., C], [..., K] -> [C, K], of their dtype."""
  def plain(x, y):
    return jax.lax.dot_general(*(a.reshape(-1, a.shape[-1]) for a in (x, y)), (((0,), (0,)), ((), ())))

  def on_cpu(x, y):
    if x.shape[-1] > y.shape[-1]:
      return on_cpu(y, x).T
    return bfloat16.over_rows(x, y).astype(x.dtype)
  return bfloat16.on_cpus(on_cpu, plain, x, dy)


def _forward(x, kernel):
  return product(x, kernel), (x, kernel)


def _backward(saved, dy):
  x, kernel = saved
  return _over_channels(dy, kernel, 1), kernel_gradient(x, dy)


product.defvjp(_forward, _backward)


@jax.custom_vjp
def plus(y, bias):
  """y: [..., K] plus bias: float32 [K], of y's dtype; the bias's gradient is a sum in float32.

  XLA:CPU takes several times as long for one in bfloat16, and has more rounding in it.
  """
  return y + bias.astype(y.dtype)


plus.defvjp(lambda y, bias: (plus(y, bias), None),
            lambda _, dy: (dy, dy.astype(jnp.float32).reshape(-1, dy.shape[-1]).sum(0)))
