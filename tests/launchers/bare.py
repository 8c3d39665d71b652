"""A recipe that trains nothing and imports no jax, for commands that only hand it on: each starts a second sooner."""
import dataclasses

from training.config import Config


@dataclasses.dataclass(frozen=True)
class BareConfig(Config):
  """Config, with two fields to be given on a command line."""
  image_sizes: tuple[int, ...] = (64,)
  widths: tuple[int, ...] = (32,)


def get_config() -> Config:
  return BareConfig()
