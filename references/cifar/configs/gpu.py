"""CIFAR-10 to 94 % on one GPU: fastest.py's recipe, 9 epochs long instead of 7.59, so that nearly every run gets there.

288 steps of 1,536. Training a fifth longer costs less than missing the target every other time. Declares test-time
augmentation, as fastest.py does.

Expect 1.15 s by the warm clock (median) on one H100: 25 runs of one process, seeds 0 to 24, jax 0.11.2, 2026-11-26;
94.25 % in the mean (95 % interval 94.20 to 94.31), 24 reached 94 %. The author's airbench94_muon.py, in torch, took
1.89 and 2.00 s there in two runs, by the same clock; its recipe is another (benchmarks/NOTES.md says how both were
measured). No tape of it has been published here yet, and it was not measured from the command on.

  python -m launchers.prepare --dataset=cifar10
  python -m launchers.train --config=references/cifar/configs/gpu.py --workdir=runs/gpu --log_every_steps=0
"""
import dataclasses

from references.cifar.cifar10 import Config
from references.cifar.configs import fastest


def get_config() -> Config:
  return dataclasses.replace(fastest.get_config(), num_epochs=9.0)
