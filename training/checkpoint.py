"""State and tape saved together, as one value, by orbax: a clock that does not survive preemption is not a clock."""
import logging
import re

import jax

from scoring import tape as tapes
from scoring.problem import Problem


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
    if not re.match(r'\w+://', str(directory)):
      self.directory = self.directory.resolve()
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    try:
      self._manager = ocp.CheckpointManager(self.directory, options=options, item_names=('state', 'tape'))
    except OSError as error:
      raise Problem(f'{self.directory}: cannot keep checkpoints there ({_reason(error)}); free space or name another '
                    '--checkpoint_dir') from None

  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  def save(self, state, tape: tapes.Tape):
    """Saves `state` with the tape so far; waits for the save before it, not for this one.

    Raises:
      Problem: the disk is full or gone; older checkpoints stay.
    """
    ocp, step = self._ocp, int(jax.device_get(state.step))
    tape.sync()
    items = ocp.args.Composite(state=ocp.args.StandardSave(state),
                               tape=ocp.args.JsonSave({'text': tape.text()}))
    self._guard(lambda: self._manager.save(step, args=items), step)

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

  def wait(self):
    """Returns when all that was saved is on disk; raises Problem if it could not be."""
    self._guard(self._manager.wait_until_finished, None)

  def close(self):
    self._guard(self._manager.close, None)

  def _guard(self, action, step):
    try:
      return action()
    except Exception as error:  # orbax and tensorstore raise ValueError, OSError and others for a full disk
      kept = self.latest_step()
      what = 'the last' if step is None else f'the step {step}'
      left = 'there is none before it' if kept is None else f'that of step {kept} is kept'
      raise Problem(f'{self.directory}: cannot save {what} checkpoint ({_reason(error)}); {left}; free space, then run '
                    'the same command again') from error

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
