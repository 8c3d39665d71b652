"""The devices to compute on: looked for while modules are imported, and told in a line where there are none."""
import contextlib
import os
import threading

from scoring.problem import Problem


def look():
  """Begins to look for devices in a thread; accelerators take a second or more, in which Python can import modules."""
  import jax  # before the thread, so that no two threads import the same modules

  def ask():
    with contextlib.suppress(Exception):  # which `found` gets again, and tells
      jax.devices()
  threading.Thread(target=ask, name='devices', daemon=True).start()


def found() -> list:
  """All devices.

  Raises:
    Problem: there are none of the platforms that JAX_PLATFORMS names, or they cannot be used.
  """
  import jax
  try:
    return jax.devices()
  except (RuntimeError, AssertionError) as error:  # the latter where a platform is known, and has no plugin
    wanted = os.environ.get('JAX_PLATFORMS')
    reason = next(iter(str(error).splitlines()), '') or 'no plugin for it is installed'
    raise Problem(f'no device to compute on: {reason}' + (
        f'; JAX_PLATFORMS={wanted} is in the environment: set what there is (cpu always is), or install the extra gpu '
        'or tpu' if wanted else '')) from error
