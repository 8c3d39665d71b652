"""CIFAR-10 to 94 % on two CPU cores: fastest.py's recipe on images that grow from 20 x 20 to 32 x 32.

An epoch of 20 x 20 images costs half of one of whole images, and most of what is learned first can be seen in them. So
the 10 epochs, 320 steps of 1,536, begin at 20 x 20 and reach 32 x 32 for the last 30 % of them. Declares progressive
resizing, and test-time augmentation as fastest.py does.

Expect 5 minutes on two idle cores of an Intel Xeon with AMX, a matrix unit for bfloat16: seeds 0 to 2 got 94.13, 94.15
and 94.16 %, in 302 to 316 s by DAWNBench's clock, some 20 of them compiling, which convolutions on CPUs need at every
start (jax 0.10.2, 2026-11-27; tapes: results/cifar10_cpu_2core_amx). The author's airbench94_muon.py, in torch, 200
steps of 2,000 whole images, took 396 s on the same cores by its clock, which leaves out compiling and counts the last
evaluation, where ours took 302 (medians of three); it got 93.96 % in the mean.

Expect 10 minutes on two cores of an AMD EPYC that has instructions for bfloat16 and no matrix unit: seed 0 got 94.18 %
in 624 s by DAWNBench's clock and 628 by the author's, whose own took 855 for 93.87 % (2026-11-28, one run each by
benchmarks.airbench: benchmarks/results).

Without bfloat16 instructions, in float32, this recipe was not run yet. An earlier one, airbench94_muon's on images that
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
