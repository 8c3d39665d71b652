"""State and tape saved together, as one value, by orbax: a clock that does not survive preemption is not a clock."""
import hashlib
import logging
import shutil

import jax
import numpy as np

from scoring import tape as tapes
from scoring.problem import Problem

OVERHEAD_BYTES = 2**18  # beside its arrays: some 30 small files, a block or more each, while it is being written


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

  def save(self, state, tape: tapes.Tape):
    """Saves `state` with the tape so far; waits for the save before it, not for this one.

    Raises:
      Problem: the disk is full or gone; older checkpoints stay.
    """
    ocp, step = self._ocp, int(jax.device_get(state.step))
    self._guard(tape.sync)
    self.wait()
    size = sum(x.nbytes for x in jax.tree.leaves(state)) + len(tape.text())
    self._guard(lambda: self._check_space(size))
    items = ocp.args.Composite(state=ocp.args.StandardSave(state),
                               tape=ocp.args.JsonSave({'text': tape.text()}))
    self._guard(lambda: self._manager.save(step, args=items))

  def _check_space(self, size: int):
    """Raises Problem where `size` bytes will not fit: better before half of them are written."""
    if self._local:
      free = shutil.disk_usage(self.directory).free
      if free < size + OVERHEAD_BYTES:
        self._fail(f'No space left: {free:,} bytes free, {size + OVERHEAD_BYTES:,} needed')

  def restore_tape(self, step: int) -> str:
    """The tape's text as it was when the checkpoint of `step` was made."""
    ocp = self._ocp
    saved = self._guard_read(lambda: self._manager.restore(step, args=ocp.args.Composite(tape=ocp.args.JsonRestore())),
                             step)
    return saved['tape']['text']

  def restore_state(self, step: int, spec):
    """The state of `step`, whatever mesh it was saved from; `spec`: its shapes, with the shardings to restore to."""
    ocp = self._ocp
    saved = self._guard_read(
        lambda: self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(spec))), step)
    return saved['state']

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

  def _guard_read(self, action, step):
    try:
      return action()
    except Exception as error:
      raise Problem(f'{self.directory}: cannot restore the checkpoint of step {step} ({_reason(error)}); '
                    f'remove {self.directory / str(step)} to resume from the one before') from error


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
  leaves = jax.tree_util.tree_flatten_with_path(jax.device_get(tree))[0]
  for path, x in sorted((jax.tree_util.keystr(path), np.asarray(x)) for path, x in leaves):
    digest.update(f'{path} {x.dtype} {x.shape}\n'.encode() + np.ascontiguousarray(x).tobytes())
  return digest.hexdigest()
