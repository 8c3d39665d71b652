"""CIFAR-10 to 94 % on two CPU cores: fastest.py's recipe on images that grow from 20 x 20 to 32 x 32.

An epoch of 20 x 20 images costs a third of one of whole images, and most of what is learned first can be seen in them.
So the 9 epochs, 288 steps of 1,536, begin at 20 x 20 and reach 32 x 32 for the last 30 % of them. Declares progressive
resizing, and test-time augmentation as fastest.py does.

Expect 12 minutes on two idle cores of an Intel Xeon with AMX, a matrix unit for bfloat16: 94.10 %, 694 s by DAWNBench's
clock of which 645 s are training and 47 a cold compilation (seed 0, jax 0.10.2, 2026-11-26; tape:
results/cifar10_cpu_2core_amx). The author's airbench94_muon.py, in torch, took 601 s on the same cores in the same hour
and got 93.90 %; ours took 682 s by its clock, which counts the last evaluation: 0.88 times as fast.

Without bfloat16 instructions, in float32, 22 minutes: 94.08 % and 1,326 s (the same day and jax;
results/cifar10_cpu_2core_xeon), where torch took 1,633 s and got 94.04 %: 1.18 times as fast. `benchmarks.airbench`
prints both, one run each. An earlier commit, in bfloat16 on an AMD EPYC, with other work beside it, reached
94.15 % with this schedule and ended at 93.97 % with 9 epochs (results/README.md). All are of CIFAR-10 with 93 of its
images JPEG-decoded, one seed each; such runs differ by about 0.14 % (sd), so some will miss 94 %.

  python -m launchers.prepare --dataset=cifar10
  python -m launchers.train --config=references/cifar/configs/cpu.py --workdir=runs/cpu \\
      --log_every_steps=5 --checkpoint_every_steps=50

Without bfloat16 instructions add --config.compute_dtype=float32.
"""
import dataclasses

from references.cifar.cifar10 import Config
from references.cifar.configs import fastest


def get_config() -> Config:
  return dataclasses.replace(fastest.get_config(), num_epochs=9.0, image_sizes=(20, 24, 28, 32),
                             image_size_starts=(0.0, 0.2, 0.45, 0.7))
