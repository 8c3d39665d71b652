"""draft"""
from references.cifar.task import Config


def get_config() -> Config:
  return Config()
