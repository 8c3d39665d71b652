"""The one exception that a person is meant to read, and how many there are of something."""


class Problem(Exception):
  """One line for the person at the keyboard: what is wrong, where, and what to do about it.

  Launchers print it as `error: ...` and exit with status 1; everything else that is raised is a defect of ours and
  keeps its traceback.
  """

  def __str__(self):
    return ' '.join(super().__str__().split())


def counted(number: int, one: str, many: str | None = None) -> str:
  """A number and what is counted: 1 run, 2 runs; `many` where the plural is not made with an s."""
  return f'{number} {one if number == 1 else many or one + "s"}'
