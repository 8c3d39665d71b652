"""CIFAR-10 to 94 % on one GPU: fastest.py's recipe, 9 epochs long, so that most runs reach the target.

  python -m launchers.prepare --dataset=cifar10
  python -m launchers.train --config=references/cifar/configs/gpu.py --workdir=runs/gpu --log_every_steps=0
"""
import dataclasses

from references.cifar.cifar10 import Config
from references.cifar.configs import fastest


def get_config() -> Config:
  return dataclasses.replace(fastest.get_config(), num_epochs=9.0)
