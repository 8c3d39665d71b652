"""CIFAR-10 to 94 % on two CPU cores: fastest.py's recipe on images that grow from 20 x 20 to 32 x 32.

An epoch of 20 x 20 images costs two fifths of one of whole images, and most of what is learned first can be seen in
them. So the 9 epochs, 288 steps of 1,536, begin at 20 x 20 and reach 32 x 32 for the last 30 % of them. Declares
progressive resizing, and test-time augmentation as fastest.py does.

Expect 9 minutes on two idle cores of an Intel Xeon with AMX, a matrix unit for bfloat16, and a mean just above 94 %:
seeds 0 to 2 got 94.16, 93.90 and 93.99 %, and the one that reached 94 % took 471 s by DAWNBench's clock, with a warm
compilation cache (jax 0.10.2, 2026-11-27; lines of the runs: benchmarks/results/amx; a tape of seed 0:
results/cifar10_cpu_2core_amx). The author's airbench94_muon.py, in torch, 200 steps of 2,000 whole images, got 93.94
% in the mean of three on the same cores, one of them 94 %, and is faster: 403 s by its clock, which counts the last
evaluation, where ours took 522 (medians). Each epoch more is 50 s more.

Without bfloat16 instructions, in float32, this recipe was not run yet. The one before, airbench94_muon's on images that
grow alike, 10.5 epochs, took 22 minutes there: 94.08 % and 1,382 s by the author's clock, where torch took 1,633 s
(results/README.md), some of them compiling. All are of CIFAR-10 with 93 of its images JPEG-decoded.

  python -m launchers.prepare --dataset=cifar10
  python -m launchers.train --config=references/cifar/configs/cpu.py --workdir=runs/cpu \\
      --log_every_steps=5 --checkpoint_every_steps=50

Without bfloat16 instructions add --config.compute_dtype=float32.
"""
import dataclasses

from references.cifar.cifar10 import Config
from references.cifar.configs import fastest


def get_config() -> Config:
  return dataclasses.replace(fastest.get_config(), num_epochs=10.0, image_sizes=(20, 24, 28, 32),
                             image_size_starts=(0.0, 0.2, 0.45, 0.7))
