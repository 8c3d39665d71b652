"""What is computed in one way on one platform and in another elsewhere; only what can be of use is traced.

`jax.lax.platform_dependent` traces and differentiates every platform's way, and chooses when the program is lowered. Of
the start of a ResNet-50 from a warm cache that is a tenth (benchmarks/NOTES.md).
"""
import jax

# what a device calls its platform -> those that programs are lowered for
NAMES = {'cpu': ('cpu',), 'gpu': ('cuda', 'rocm'), 'tpu': ('tpu',)}
_lowered_for = jax.make_user_context(None)  # names, or None: any; jax.jit keeps apart what it has traced for each


def traced_for(platform: str):
  """`with traced_for(device.platform):` what is traced within is for such devices alone."""
  return _lowered_for(NAMES.get(platform))


def dependent(*args, default, **ways):
  """jax.lax.platform_dependent(*args, default=default, cpu=..., cuda=...), without what `traced_for` rules out."""
  names = _lowered_for.value
  if names:
    ways = {name: ways[name] for name in names if name in ways}
    if len(names) == 1 or not ways:
      return next(iter(ways.values()), default)(*args)
  return jax.lax.platform_dependent(*args, default=default, **ways)
