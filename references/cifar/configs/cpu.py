"""CIFAR-10 to 94 % on two CPU cores: fastest.py's recipe on images that grow from 20 x 20 to 32 x 32.

An epoch of 20 x 20 images costs two fifths of one of whole images, and most of what is learned first can be seen in
them. So the 9 epochs, 288 steps of 1,536, begin at 20 x 20 and reach 32 x 32 for the last 30 % of them. Declares
progressive resizing, and test-time augmentation as fastest.py does.

Expect 8 and a half minutes on two idle cores of an Intel Xeon with AMX, a matrix unit for bfloat16: 94.16 %, 510 s by
DAWNBench's clock, of which 472 s are training and 36 a compilation, most of it cold (seed 0, jax 0.10.2, 2026-11-27;
tape: results/cifar10_cpu_2core_amx). The author's airbench94_muon.py, in torch, 200 steps of 2,000 whole images, took
569 s on the same cores right after and got 94.13 %; ours took 505 s by its clock, which counts the last evaluation:
1.13 times as fast, one run each. Another of ours, with other work beside it and before the last changes to its layers,
got 94.37 %; with 8 epochs one got 93.69 %. Such runs differ by about 0.14 % (sd), so some will miss 94 %.

Without bfloat16 instructions, in float32, this recipe was not run yet. The one before, airbench94_muon's on images that
grow alike, 10.5 epochs, took 22 minutes there: 94.08 % and 1,382 s by the author's clock, where torch took 1,633 s
(results/README.md). All are of CIFAR-10 with 93 of its images JPEG-decoded.

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
