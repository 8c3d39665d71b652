"""State and tape saved together, as one value, by orbax: a clock that does not survive preemption is not a clock."""
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from scoring import tape as tapes
from scoring.problem import Problem
from training import mesh as meshes
from training.step import inspect

OVERHEAD_BYTES = 2**18  # beside its arrays: some 30 small files, a block or more each, while it is being written


class Restored(NamedTuple):
  """A checkpoint as it was saved: the state after `step` updates, and the tape's text until then."""
  step: int
  state: Any
  tape: str


class Checkpoints:
  """The checkpoints of one run, newest last; each is written whole or not at all.

  Args:
    directory: local, or anything that orbax reads, e.g. gs://bucket/run.
    keep: how many to keep.
  """

  def __init__(self, directory, keep: int = 2):
    import orbax.checkpoint as ocp  # here, since a run without checkpoints need not wait for it
    from etils import epath
    logging.getLogger('absl').setLevel(logging.ERROR)  # what orbax has to say is said below, in one line
    self._ocp = ocp
    self.directory = epath.Path(directory)
    self._local = '://' not in str(directory)
    if self._local:
      self.directory = self.directory.resolve()
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, cleanup_tmp_directories=True)
    try:
      self._manager = ocp.CheckpointManager(self.directory, options=options, item_names=('state', 'tape'))
    except Exception as error:  # whatever the file system's library raises: no such bucket, no library, no space
      raise Problem(f'{self.directory}: cannot keep checkpoints there ({_reason(error)}); free space, install the '
                    'extra gcs for gs://, or name another --checkpoint_dir') from error

  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  def save(self, state, tape: tapes.Tape, sums):
    """Saves `state` with its checksums and the tape so far; waits for the save before it, not for this one.

    Raises:
      Problem: the disk is full or gone; older checkpoints stay.
    """
    ocp, step = self._ocp, int(jax.device_get(state.step))
    self._guard(tape.sync)
    self.wait()
    text = tape.text()
    size = sum(x.nbytes for x in jax.tree.leaves(state)) + len(text)
    self._guard(lambda: self._check_space(size))
    items = ocp.args.Composite(state=ocp.args.StandardSave(state),
                               tape=ocp.args.JsonSave({'text': text, 'text_sha256': _digest(text), 'checksums': sums}))
    self._guard(lambda: self._manager.save(step, args=items))

  def _check_space(self, size: int):
    """Raises Problem where `size` bytes will not fit: better before half of them are written."""
    if self._local:
      free = shutil.disk_usage(self.directory).free
      if free < size + OVERHEAD_BYTES:
        self._fail(f'No space left: {free:,} bytes free, {size + OVERHEAD_BYTES:,} needed')

  def restore_newest(self, spec, agree: Callable[[str | None], str | None] = lambda found: found, *,
                     set_aside: bool = True) -> Restored | None:
    """The newest checkpoint that is whole, on whatever mesh it was made; None where there is none at all.

    One that is damaged is told, and the one before it is taken; where a run is to go on, `set_aside`, it is moved to
    `DIRECTORY/damaged/STEP`.

    Args:
      spec: shapes of the state, with the shardings to restore to.
      agree: what this process found wrong, or None -> what any process found wrong; restoring is done by all alike.

    Raises:
      Problem: there are checkpoints, and none of them is whole.
    """
    damaged = []
    for step in sorted(self._manager.all_steps(), reverse=True):
      found = problem = None
      try:
        if jax.process_count() == 1:
          found = self._restore(step, spec)
        elif jax.process_index() == 0:
          self._read_alone(step, spec)
      except Exception as error:  # whatever orbax, tensorstore or json make of damaged files
        problem = _reason(error)
      problem = agree(problem)
      if problem is None:
        found = found or self._restore_together(step, spec)
        if set_aside:
          self._set_aside(damaged, agree)
        return found
      damaged.append(step)
      print(f'{self.directory}: the checkpoint of step {step} is damaged ({problem}); trying the one before',
            file=sys.stderr, flush=True)
    if damaged:
      raise Problem(f'{self.directory}: no checkpoint is whole (see above); restore one from a copy, or begin again in '
                    'another --workdir')
    return None

  def _restore(self, step: int, spec) -> Restored:
    """The checkpoint of `step`, its checksums compared."""
    ocp = self._ocp
    saved = self._manager.restore(step, args=ocp.args.Composite(
        tape=ocp.args.JsonRestore(), state=ocp.args.StandardRestore(spec)))
    _compare(saved['state'], saved['tape'])
    return Restored(step, saved['state'], saved['tape']['text'])

  def _read_alone(self, step: int, spec):
    """Reads the whole checkpoint in this process only, to see whether it is whole; raises what it finds.

    A pod looks so before it restores: in orbax's restore all wait for each other, so that none may fail there alone.
    """
    ocp = self._ocp
    tape = json.loads((self.directory / str(step) / 'tape' / 'metadata').read_text())
    as_numpy = jax.tree.map(lambda x: ocp.RestoreArgs(restore_type=np.ndarray), spec)
    handler = ocp.PyTreeCheckpointHandler()
    saved = handler.restore(self.directory / str(step) / 'state', args=ocp.args.PyTreeRestore(
        item=spec, restore_args=as_numpy))
    _compare(saved, tape)

  def _restore_together(self, step: int, spec) -> Restored:
    try:
      return self._restore(step, spec)
    except Exception as error:
      raise Problem(f'{self.directory}: process 0 finds the checkpoint of step {step} whole, and here it cannot be '
                    f'restored ({_reason(error)}); look at the disk as this machine sees it') from error

  def _set_aside(self, damaged: list[int], agree):
    """Moves the checkpoints of these steps out of the way of those that will be made again."""
    if not damaged:
      return
    problem = None
    if jax.process_index() == 0:
      try:
        (self.directory / 'damaged').mkdir(exist_ok=True)
        for step in damaged:
          target = self.directory / 'damaged' / str(step)
          if target.exists():
            target.rmtree()
          (self.directory / str(step)).rename(target)
      except Exception as error:
        problem = _reason(error)
    problem = agree(problem)
    if problem:
      raise Problem(f'{self.directory}: cannot move the damaged checkpoints aside ({problem}); do it by hand')
    self._manager.reload()

  def wait(self) -> int | None:
    """The latest step, once all that was saved is on disk; raises Problem if it could not be."""
    self._guard(self._manager.wait_until_finished)
    return self.latest_step()

  def close(self):
    self._guard(self._manager.close)

  def _guard(self, action):
    try:
      return action()
    except Problem:
      raise
    except Exception as error:  # orbax and tensorstore raise ValueError, OSError and others for a full disk
      self._fail(_reason(error))

  def _fail(self, reason: str):
    kept = self.latest_step()
    left = 'there is none before' if kept is None else f'that of step {kept} is kept'
    raise Problem(f'{self.directory}: cannot save a checkpoint ({reason}); {left}; free space, then run the same '
                  'command again')


def _compare(state, tape: dict):
  """Raises Problem unless the checksums that were saved are those of what was read."""
  if (jax.device_get(jax.jit(inspect)(state)[1]).tolist() != tape['checksums'] or
      _digest(tape['text']) != tape['text_sha256']):
    raise Problem('its checksums differ')


def _digest(text: str) -> str:
  return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()


def _reason(error: BaseException) -> str:
  """The shortest true reason in an error and its causes."""
  while error is not None:
    if isinstance(error, OSError) and error.strerror:
      return error.strerror
    if 'No space left' in str(error):
      return 'No space left on device'
    error, last = error.__cause__ or error.__context__, error
  return (str(last).splitlines() or [type(last).__name__])[0][:200]


def sha256(tree) -> str:
  """Digest of every array of a tree by path, type, shape and bytes, in the order of the paths: equal means bitwise."""
  digest = hashlib.sha256()
  leaves = jax.tree_util.tree_flatten_with_path(meshes.whole(tree))[0]
  for path, x in sorted((jax.tree_util.keystr(path), np.asarray(x)) for path, x in leaves):
    digest.update(f'{path} {x.dtype} {x.shape}\n'.encode() + np.ascontiguousarray(x).tobytes())
  return digest.hexdigest()
