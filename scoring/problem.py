"""The one exception that a person is meant to read."""


class Problem(Exception):
  """One line for the person at the keyboard: what is wrong, where, and what to do about it.

  Launchers print it as `error: ...` and exit with status 1; everything else that is raised is a defect of ours and
  keeps its traceback.
  """

  def __str__(self):
    return ' '.join(super().__str__().split())
