"""ImageNet to 93 % top-5, DAWNBench's target, on crops that grow from 128 x 128 to 224 x 224 (declared).

After the winners of 2018 and 2020, which trained on small images first (fast.ai; Alibaba's 20 epochs on 8 V100 reached
93.05 %, in its public entry): LARS as in mlperf_1632.py, 36 epochs, evaluated after each of the last ones at 256 / 224.
FFCV's ResNet-50 needed some 40 epochs for 93 % (its published table), so this is a design that may want more epochs:
no run of it has been published here yet.

  python -m launchers.train --config=references/resnet_imagenet/configs/dawnbench.py --workdir=runs/dawnbench
"""
import dataclasses

from references.resnet_imagenet.configs import mlperf_1632
from references.resnet_imagenet.task import Config


def get_config() -> Config:
  return dataclasses.replace(mlperf_1632.get_config(), num_epochs=36.0, image_sizes=(128, 160, 192, 224),
                             image_size_starts=(0.0, 0.3, 0.55, 0.8), eval_every_epochs=1.0, eval_offset_epochs=28.0,
                             target_metric='top5_accuracy', target_value=0.93)
