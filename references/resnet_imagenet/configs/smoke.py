"""Every part of the ImageNet reference in seconds on a CPU: a narrow ResNet-18 on made-up images of eight classes.

For trying a change, not for measuring: the images are patterns under noise (input_pipelines/synthetic.py), chance is
12.5 %, and 90 % is reached in the first epochs.

  python -m launchers.train --config=references/resnet_imagenet/configs/smoke.py --workdir=runs/smoke
"""
from references.resnet_imagenet.task import Config


def get_config() -> Config:
  return Config(
      dataset='synthetic',
      num_train_examples=1000,
      num_eval_examples=200,
      num_classes=8,
      batch_size=64,
      depth=18,
      width=8,
      batch_norm_group_size=32,
      optimizer='lars',
      learning_rate=4.0,
      num_epochs=8.0,
      warmup_epochs=1.0,
      image_sizes=(32,),
      eval_resize=32,
      eval_image_size=32,
      eval_batch_size=64,
      eval_every_epochs=1.0,
      target_value=0.9,
      compute_dtype='float32',
  )
