"""A recipe as a frozen dataclass, as command-line flags, and as text.

A config file is a Python file with `get_config() -> Config`. Each field becomes an absl flag `--config.FIELD` of its
own type, so that absl parses, documents and, when a name is wrong, suggests.
"""
import ast
import dataclasses
import importlib.util
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path

from absl import flags

from scoring.problem import Problem


@dataclasses.dataclass(frozen=True)
class Config:
  """What every recipe has; a subclass adds all else that changes the result, and nothing that only changes the record.

  Attributes:
    seed: of initialisation, data order and augmentation; 0 <= seed < 2**32.
    batch_size: global, over all devices and processes.
    gradient_accumulation_steps: microbatches a step; changes memory and batch statistics, not the batch.
  """
  seed: int = 0
  batch_size: int = 128
  gradient_accumulation_steps: int = 1

  def __post_init__(self):
    if not 0 <= self.seed < 2**32:
      raise Problem(f'seed={self.seed}: must be at least 0 and below 2**32')
    self.check({}, (('batch_size', 1, math.inf), ('gradient_accumulation_steps', 1, math.inf)))

  def check(self, choices: Mapping[str, Iterable], ranges: Iterable[tuple[str, float, float]]):
    """Raises Problem for a field that is none of its choices, or no finite number from a least to a most."""
    for name, allowed in choices.items():
      if getattr(self, name) not in allowed:
        raise Problem(f'{name}={getattr(self, name)!r}: choose {" or ".join(map(str, allowed))}')
    for name, least, most in ranges:
      if not (least <= getattr(self, name) <= most and math.isfinite(getattr(self, name))):
        raise Problem(f'{name}={getattr(self, name)}: must be at least {least} and at most {most}')

  def make_task(self, data_dir: str):
    """The training.task.Task of this recipe; touches no data."""
    raise NotImplementedError


def load(path: str) -> Config:
  """The config of a config file.

  Raises:
    Problem: no such file, or it defines no config.
  """
  file = Path(path)
  if not file.is_file():
    near = ', '.join(sorted(str(p) for p in Path('references').glob('*/configs/*.py') if p.stem != '__init__'))
    raise Problem(f'--config={path}: no such file; there are {near or "none below references/ here"}')
  spec = importlib.util.spec_from_file_location(f'daybreak_config_{file.stem}', file)
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    config = module.get_config()
  except Problem:
    raise
  except Exception as error:
    raise Problem(f'--config={path}: {type(error).__name__}: {error}') from error
  if not isinstance(config, Config):
    raise Problem(f'--config={path}: get_config() returned {type(config).__name__}, not a Config')
  return config


class _LiteralParser(flags.ArgumentParser):
  """Parses a flag's text as the type that the config field is annotated with."""

  def __init__(self, kind):
    self.kind = kind
    self.syntactic_help = _name(kind)

  def flag_type(self):
    return _name(self.kind)

  def parse(self, argument):
    try:
      value = argument if self.kind is str or not isinstance(argument, str) else ast.literal_eval(
          argument.capitalize() if argument in ('true', 'false', 'none') else argument)
    except (ValueError, SyntaxError):
      value = argument
    if isinstance(value, int) and not isinstance(value, bool) and self.kind is float:
      value = float(value)
    if not _matches(value, self.kind):
      example = ', such as (1,) or (1, 2)' if typing.get_origin(self.kind) is tuple else ''
      raise ValueError(f'must be {_name(self.kind)}{example}')
    return value


def _name(kind) -> str:
  return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def _matches(value, kind) -> bool:
  origin, args = typing.get_origin(kind), typing.get_args(kind)
  if origin in (typing.Union, types.UnionType):
    return any(_matches(value, k) for k in args)
  if origin is tuple:
    return isinstance(value, tuple) and all(_matches(v, args[0]) for v in value)
  if kind is bool or isinstance(value, bool):
    return kind is bool and isinstance(value, bool)
  return isinstance(value, kind)


def define_flags(config: Config, values: flags.FlagValues = flags.FLAGS):
  """Defines --config.FIELD for each field of `config`, with its value as default."""
  kinds = typing.get_type_hints(type(config))
  for field in dataclasses.fields(config):
    flags.DEFINE(_LiteralParser(kinds[field.name]), f'config.{field.name}', getattr(config, field.name),
                 f'field {field.name} of the config', flag_values=values, serializer=flags.ArgumentSerializer())


def from_flags(config: Config, values: flags.FlagValues = flags.FLAGS) -> Config:
  """`config` with what the command line overrides."""
  return dataclasses.replace(config, **{f.name: values[f'config.{f.name}'].value for f in dataclasses.fields(config)})


def to_text(config: Config) -> str:
  """One line a field, `name = literal`, in order: what the tape keeps and what golden files hold."""
  return ''.join(f'{f.name} = {getattr(config, f.name)!r}\n' for f in dataclasses.fields(config))


def from_text(kind: type[Config], text: str) -> Config:
  """The inverse of `to_text`."""
  pairs = (line.split(' = ', 1) for line in text.splitlines())
  return kind(**{name: ast.literal_eval(value) for name, value in pairs})


def differences(before: str, after: str) -> str:
  """What changed between two texts, in one line: `batch_size was 128, is 256`."""
  old, new = (dict(line.split(' = ', 1) for line in text.splitlines()) for text in (before, after))
  return '; '.join(f'{name} was {old.get(name, "absent")}, is {new.get(name, "absent")}'
                   for name in {**old, **new} if old.get(name) != new.get(name))
