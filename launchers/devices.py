"""The devices to compute on, and a line that says so where there are none."""
import os

from scoring.problem import Problem


def found() -> list:
  """All devices. To be asked for once: after an error jax answers with what it had found before, the CPU.

  Raises:
    Problem: there are none of the platforms that JAX_PLATFORMS names, or they cannot be used.
  """
  import jax
  try:
    return jax.devices()
  except (RuntimeError, AssertionError) as error:  # the latter where none of a platform is visible
    wanted = os.environ.get('JAX_PLATFORMS')
    reason = next(iter(str(error).splitlines()), '') or f'none of {wanted} is visible'
    raise Problem(f'no device to compute on: {reason}' + (
        f'; JAX_PLATFORMS={wanted} is in the environment: set it to what there is (cpu always is), or install the '
        'extra gpu or tpu' if wanted else '')) from error
