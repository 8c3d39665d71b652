"""What is computed otherwise on some platform: which ways are traced, and which is computed."""
import jax
import jax.numpy as jnp
import pytest

from layers import platforms


def ways(traced: list):
  """A function that has a way of its own on CPUs and on NVIDIA's GPUs, and adds to `traced` what it is traced for."""
  def way(name, value):
    def traced_way(x):
      traced.append(name)
      return x + value
    return traced_way
  made = {'cpu': way('cpu', 1), 'cuda': way('cuda', 2), 'default': way('default', 3)}
  return lambda x: platforms.dependent(x, **made)


@pytest.mark.parametrize('platform, expected', [
    ('cpu', ['cpu']), ('gpu', ['cuda', 'default']), ('tpu', ['default']), ('metal', ['cpu', 'cuda', 'default'])])
def test_only_what_can_be_of_use_is_traced(platform, expected):
  traced = []
  with platforms.traced_for(platform):
    program = jax.jit(ways(traced)).trace(jnp.float32(0))
  assert sorted(traced) == expected
  lowered_for = {'gpu': ('cuda', 'rocm'), 'cpu': ('cpu',), 'tpu': ('tpu',), 'metal': ('cpu', 'tpu', 'cuda')}[platform]
  added = {'cpu': '1.0', 'cuda': '2.0'}
  for name in lowered_for:
    text = program.lower(lowering_platforms=(name,)).as_text()
    assert [value in text for value in ('1.0', '2.0', '3.0')] == [
        value == added.get(name, '3.0') for value in ('1.0', '2.0', '3.0')]


def test_what_was_traced_for_one_platform_is_not_taken_for_another():
  traced = []
  function = jax.jit(ways(traced))
  assert float(function(0.0)) == 1 and sorted(traced) == ['cpu', 'cuda', 'default']
  with platforms.traced_for('cpu'):
    assert float(function(0.0)) == 1 and traced[3:] == ['cpu']
    with platforms.traced_for('tpu'):  # as a program that is compiled here for a slice that is only described
      assert float(function(0.0)) == 3 and traced[4:] == ['default']
    assert float(function(0.0)) == 1
  assert float(function(0.0)) == 1 and len(traced) == 5
