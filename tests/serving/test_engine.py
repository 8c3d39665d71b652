"""Batches, buckets and executables: no answer depends on how its sample was padded or with whom it was batched."""
import dataclasses
import queue
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scoring.problem import Problem
from serving import folding, systems
from serving.engine import Engine
from serving.samples import Samples
from tests.serving import echo


@pytest.fixture(params=[True, False], ids=['constants', 'arguments'])
def engine(request):
  return Engine(echo.served(), (1, 4, 16), constants=request.param)


def loaded():
  samples = Samples(echo.served())
  samples.load([*range(echo.NUM), 3, 3])  # LoadGen names some twice
  return samples


def test_answers_do_not_depend_on_batch_or_bucket(engine):
  samples = loaded()
  for size in engine.batch_sizes:
    for start in range(0, echo.NUM, size):
      chosen = list(range(start, min(start + size, echo.NUM)))
      bucket, rows = samples.batch(chosen, size)
      assert rows.shape == (size, bucket) and not rows[len(chosen):].any()
      assert np.asarray(engine(bucket, rows))[:len(chosen), 0].tolist() == chosen
  bucket, rows = samples.one(4)
  assert bucket == 4 and np.asarray(engine(bucket, rows)).tolist() == [[4]]


def test_a_batch_of_short_samples_is_not_padded_to_the_longest(engine):
  assert loaded().batch([1, 2, 4], 4)[0] == 4 and loaded().batch([1, 2, 3], 4)[0] == 8


def test_a_batch_is_a_new_array_each_time():
  samples = loaded()
  first = samples.batch([1, 2], 2)[1]
  kept = first.copy()
  samples.batch([4, 5], 2)
  assert (first == kept).all(), 'the device may still read it where it lies'


def test_only_what_was_compiled_runs(engine):
  assert [engine.size(n) for n in (1, 2, 4, 5, 16)] == [1, 4, 4, 16, 16]
  with pytest.raises(Problem, match='largest that was compiled is 16'):
    engine.size(17)
  with pytest.raises(KeyError):
    engine(4, np.zeros((3, 4), np.int32))
  with pytest.raises(TypeError):  # another type than it was compiled for: an error, and no compilation
    engine(4, np.zeros((4, 4), np.float32))


def test_a_server_batches_what_waits_and_loses_nothing(engine):
  answered, lock = queue.Queue(), threading.Lock()

  def complete(ids, samples, answers):
    with lock:
      answered.put((list(ids), list(samples), answers.copy()))

  system = systems.Queued(engine, loaded(), complete)
  ids = list(range(1000, 1000 + 5 * echo.NUM))
  for n, one in enumerate(ids):
    system.issue([one], [n % echo.NUM])
  system.close()
  found = [(one, sample, answer) for ids_, samples, answers in answered.queue
           for one, sample, answer in zip(ids_, samples, answers[:, 0])]
  assert sorted(one for one, _, _ in found) == ids and all(sample == answer for _, sample, answer in found)
  assert max(len(ids_) for ids_, _, _ in answered.queue) > 1, 'some were batched'


def test_offline_sorts_by_length(engine):
  order = []
  system = systems.Pipelined(engine, loaded(), lambda ids, samples, answers: order.extend(samples))
  system.issue(list(range(echo.NUM)), list(range(echo.NUM))[::-1])
  system.close()
  lengths = engine.served.lengths[order]
  assert sorted(order) == list(range(echo.NUM)) and (np.diff(lengths) >= 0).all()


def test_weights_that_were_trained_on_a_mesh_answer_on_one_device():
  from training import mesh as meshes
  served = echo.served()
  spread = meshes.place({'one': np.int32(1)}, meshes.replicated(meshes.make_mesh()))
  assert len(spread['one'].devices()) == 8
  for constants in (True, False):
    engine = Engine(dataclasses.replace(served, weights=spread), (1,), constants=constants)
    answers = engine(*loaded().one(4))
    assert answers.devices() == {jax.devices()[0]} and np.asarray(answers).tolist() == [[4]]


def test_samples_that_a_query_holds_twice_do_not_lie_together(engine):
  order = []
  system = systems.Pipelined(engine, loaded(), lambda ids, samples, answers: order.extend(samples))
  system.issue(list(range(6)), [1, 4, 1, 2, 4, 1])  # all of one length
  system.close()
  assert order == [1, 4, 1, 2, 4, 1]


def test_folding_by_hand():
  """y = (w x - mean) / sqrt(var + eps) * scale + bias, with numbers that come out even."""
  params = {'conv': {'kernel': jnp.full((1, 1, 1, 2), 3.0)}, 'norm': {'scale': jnp.array([2.0, -1.0]),
                                                                      'bias': jnp.array([0.5, 1.0])}}
  stats = {'norm': {'mean': jnp.array([4.0, 2.0]), 'var': jnp.array([3.0, 15.0])}}
  folded = folding.fold(params, stats, lambda norm: 'conv', 1.0)  # scales 2 / 2 and -1 / 4
  assert set(folded) == {'conv'}
  np.testing.assert_allclose(folded['conv']['kernel'].ravel(), [3.0, -0.75])
  np.testing.assert_allclose(folded['conv']['bias'], [-3.5, 1.5])
  assert set(params['conv']) == {'kernel'} and set(params['norm']) == {'scale', 'bias'}, 'left as it was'


def test_kernels_are_turned_but_those_that_are_kept():
  params = {'conv': {'kernel': jnp.ones((3, 3, 2, 4)), 'bias': jnp.ones(4)}, 'head': {'kernel': jnp.ones((4, 5))},
            'table': {'embedding': jnp.ones((7, 8))}}
  made = jax.tree.map(jnp.shape, folding.turned(params, lambda path: 'head' in path))
  assert made == {'conv': {'kernel': (3, 3, 4, 2), 'bias': (4,)}, 'head': {'kernel': (4, 5)},
                  'table': {'embedding': (7, 8)}}


def test_cast_leaves_vectors_and_what_it_is_told():
  made = folding.cast({'a': jnp.ones((2, 2)), 'b': jnp.ones(2), 'head': jnp.ones((2, 2))}, jnp.bfloat16,
                      lambda path: 'head' in path)
  assert jax.tree.map(lambda x: x.dtype.name, made) == {'a': 'bfloat16', 'b': 'float32', 'head': 'float32'}
