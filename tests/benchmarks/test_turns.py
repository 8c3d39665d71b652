"""Ours and the peer take turns, and a line says after each that something happens."""
import functools
import itertools
import json
import re

import jax
import numpy as np
import pytest
from absl import flags

from benchmarks import convolution, loop_overhead, progress, turns


def test_a_line_on_stderr_after_each(capsys):
  done = progress.told(2, 'turn')
  next(done)
  assert capsys.readouterr() == ('', '')
  assert list(done) == [1]
  out, err = capsys.readouterr()
  assert not out and re.fullmatch(r'turn 1 of 2: \d+\.\d s\nturn 2 of 2: \d+\.\d s\n', err)


def test_steps_take_turns_after_both_have_compiled(capsys):
  asked = []
  seconds = turns.seconds_a_step([lambda n: asked.append(('ours', n)), lambda n: asked.append(('peer', n))], 4, 3)
  assert asked == [('ours', turns.WARM_UP), ('peer', turns.WARM_UP), *[('ours', 4), ('peer', 4)] * 3]
  assert [len(kept) for kept in seconds] == [3, 3]
  assert [line.split(':')[0] for line in capsys.readouterr().err.splitlines()] == [
      'compiling 1 of 2', 'compiling 2 of 2', 'turn 1 of 3', 'turn 2 of 3', 'turn 3 of 3']


@pytest.mark.parametrize('backend, instructions, given, dtype, batch_size, steps', [
    ('cpu', [], [], 'float32', 4, 2), ('cpu', ['amx_bf16'], [], 'bfloat16', 4, 2), ('gpu', [], [], 'bfloat16', 32, 20),
    ('cpu', [], ['--dtype=bfloat16', '--batch_size=8', '--steps=1'], 'bfloat16', 8, 1)])
def test_what_is_not_given_depends_on_the_machine(monkeypatch, backend, instructions, given, dtype, batch_size, steps):
  values = flags.FlagValues()
  monkeypatch.setattr(turns, 'FLAGS', values)
  for kind in ('integer', 'enum'):
    monkeypatch.setattr(turns.flags, f'DEFINE_{kind}', functools.partial(
        getattr(flags, f'DEFINE_{kind}'), flag_values=values))
  monkeypatch.setattr(turns.memory, 'keep_freed', lambda: None)
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  monkeypatch.setattr(turns.machine, 'bfloat16_instructions', lambda: instructions)
  turns.define_flags('sequences', (4, 32), 20)
  values(['script', *given])
  turns.begin()
  assert (values.dtype, values.batch_size, values.steps, values.turns) == (dtype, batch_size, steps, 7)


def test_convolutions_take_turns_and_each_shape_counts(monkeypatch):
  monkeypatch.setattr(jax, 'jit', lambda function: function)
  monkeypatch.setattr(convolution.time, 'perf_counter', itertools.count().__next__)
  asked = []
  cases = [(lambda x: asked.append(('ours', x)), lambda x: asked.append(('peer', x)), (shape,)) for shape in 'ab']
  seconds = convolution.timed(cases)
  times = 1 + convolution.REPETITIONS  # the first compiles
  assert asked == [('ours', 'a'), ('peer', 'a')] * times + [('ours', 'b'), ('peer', 'b')] * times
  assert seconds == [[2] * convolution.REPETITIONS] * 2, 'a tick a shape'


@pytest.mark.parametrize('cases, name, shapes', [(convolution.convolutions, 'SHAPES', ((4, 4, 2, 3), (5, 4, 3, 2))),
                                                 (convolution.poolings, 'POOLED', ((4, 2),))])
def test_both_sides_compute_the_same(monkeypatch, cases, name, shapes):
  monkeypatch.setattr(convolution, name, shapes)
  made = list(cases(2, 'float32'))
  assert len(made) == len(shapes)
  for ours, peer, arguments in made:
    for a, b in zip(*(jax.tree.leaves(jax.jit(one)(*arguments)) for one in (ours, peer)), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_the_loop_is_not_silent(monkeypatch, capsys):
  monkeypatch.setattr(loop_overhead, 'ours', lambda config: 1.0)
  monkeypatch.setattr(loop_overhead, 'bare', lambda config: 2.0)
  assert loop_overhead.main() == 0
  out, err = capsys.readouterr()
  assert json.loads(out)['ratio'] == 2 and len(err.splitlines()) == loop_overhead.REPETITIONS
