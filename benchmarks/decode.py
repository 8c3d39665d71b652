"""Photographs decoded, cropped at random and resized to 224 x 224, on one core: ours against the libraries'.

  python -m benchmarks.decode --images=DIR [--image_size=224] [--passes=5]

Every route makes the same crops, drawn as in training, of the files in DIR, whose bytes are in memory, into uint8
[224, 224, 3], RGB. Routes take turns, and what counts is the processor time of this process, pinned to one core. Ours
is antialiased, as Pillow's is; OpenCV's and TensorFlow's resize are not, which saves them work. One line for the files
as they are and one for the same re-packed, each against the fastest peer that is installed; peers that are not are
named, with the reason (`pip install -e '.[peers]'`; TensorFlow and DALI by hand).
"""
import importlib
import io
import os
import time
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import progress
from benchmarks.report import report
from input_pipelines import imagenet, jpeg
from launchers import command
from scoring.problem import Problem

FLAGS = flags.FLAGS
flags.DEFINE_string('images', None, 'folder of JPEGs, in subfolders too', required=True)
flags.DEFINE_integer('image_size', 224, 'rows and columns of a crop', lower_bound=1)
flags.DEFINE_integer('passes', 5, 'passes over the images, after one that does not count', lower_bound=1)

REDUCED = {2: 'IMREAD_REDUCED_COLOR_2', 4: 'IMREAD_REDUCED_COLOR_4', 8: 'IMREAD_REDUCED_COLOR_8'}


def ours(image_size):
  """What training does."""
  return lambda data, box, out: jpeg.crop_and_resize(data, box, (image_size, image_size), False, 'image', out)


def pillow(image_size):
  """Decoded at the smallest scale that has the crop's pixels, cropped and resized in one go."""
  Image = importlib.import_module('PIL.Image')

  def route(data, box, out):
    image = Image.open(io.BytesIO(data))
    width, height = image.size
    image.draft('RGB', (-(-width * image_size // box[3]), -(-height * image_size // box[2])))
    top, left, rows, columns = box
    x, y = image.size[0] / width, image.size[1] / height
    out[:] = image.convert('RGB').resize((image_size, image_size), Image.Resampling.BILINEAR,
                                         box=(left * x, top * y, (left + columns) * x, (top + rows) * y))
  return route


def scale_of(box, image_size: int) -> int:
  """The largest of 8, 4, 2 and 1 by which an image can be divided before the crop is smaller than its result."""
  return next((n for n in (8, 4, 2) if min(box[2:]) >= n * image_size), 1)


def cropped(image, box, scale: int):
  """The crop in an image that was decoded at 1 / scale."""
  top, left, rows, columns = (x // scale for x in box)
  return image[top:top + rows, left:left + columns]


def opencv(image_size):
  """Decoded at half or a quarter of the size where the crop allows."""
  cv2 = importlib.import_module('cv2')
  cv2.setNumThreads(1)
  modes = {1: cv2.IMREAD_COLOR, **{n: getattr(cv2, name) for n, name in REDUCED.items()}}
  plain = cv2.IMREAD_IGNORE_ORIENTATION

  def route(data, box, out):
    scale = scale_of(box, image_size)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), modes[scale] | plain)
    small = cv2.resize(cropped(image, box, scale), (image_size, image_size), interpolation=cv2.INTER_LINEAR)
    cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=out)
  return route


def simplejpeg(image_size):
  """libjpeg-turbo's fast ways; simplejpeg has no resize, OpenCV's is the fastest."""
  cv2, library = importlib.import_module('cv2'), importlib.import_module('simplejpeg')
  cv2.setNumThreads(1)

  def route(data, box, out):
    scale = scale_of(box, image_size)
    height, width = library.decode_jpeg_header(data)[:2]
    image = library.decode_jpeg(data, 'RGB', fastdct=True, fastupsample=True, min_height=-(-height // scale),
                                min_width=-(-width // scale), min_factor=min(scale, 2))
    cv2.resize(cropped(image, box, round(height / image.shape[0])), (image_size, image_size), dst=out,
               interpolation=cv2.INTER_LINEAR)
  return route


def torchvision(image_size):
  """torchvision's decoder and its antialiased resize."""
  torch, transforms = importlib.import_module('torch'), importlib.import_module('torchvision.transforms.v2.functional')
  decode = importlib.import_module('torchvision.io').decode_jpeg
  mode = importlib.import_module('torchvision.io').ImageReadMode.RGB
  torch.set_num_threads(1)

  def route(data, box, out):
    image = decode(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode)
    out[:] = transforms.resized_crop(image, *box, [image_size, image_size], antialias=True).permute(1, 2, 0).numpy()
  return route


def tensorflow(image_size):
  """tf.data's usual ops: only the crop is decoded; bilinear, without antialiasing."""
  tf = importlib.import_module('tensorflow')
  tf.config.threading.set_intra_op_parallelism_threads(1)

  def route(data, box, out):
    image = tf.image.decode_and_crop_jpeg(data, box, channels=3)
    out[:] = tf.cast(tf.image.resize(image, (image_size, image_size)), tf.uint8).numpy()
  return route


def dali(image_size):
  """DALI on the processor: only the crop is decoded; bilinear, without antialiasing."""
  fn = importlib.import_module('nvidia.dali.experimental.dynamic')

  def route(data, box, out):
    image = fn.decoders.image_slice(np.frombuffer(data, np.uint8), list(map(float, box[:2])), list(map(float, box[2:])),
                                    normalized_anchor=False, normalized_shape=False, axes=[0, 1])
    out[:] = np.asarray(fn.resize(image, size=[image_size, image_size], antialias=False))
  return route


PEERS = (pillow, opencv, simplejpeg, torchvision, tensorflow, dali)


def installed(image_size, example) -> tuple[dict, dict[str, str]]:
  """(name -> route that works here, name -> why not)."""
  routes, missing = {}, {}
  for make in PEERS:
    try:
      routes[make.__name__] = make(image_size)
      routes[make.__name__](*example, np.empty((image_size, image_size, 3), np.uint8))
    except Exception as error:  # a library that is there in part fails in its own way
      routes.pop(make.__name__, None)
      missing[make.__name__] = f'{type(error).__name__}: {error}'.split('\n')[0][:80]
  return routes, missing


def main() -> int:
  images = [path.read_bytes() for path in sorted(Path(FLAGS.images).rglob('*')) if path.is_file()
            and path.suffix.lower() in ('.jpg', '.jpeg')]
  if not images or not jpeg.compiled():
    raise Problem(f'--images={FLAGS.images}: no .jpg or .jpeg there' if not images else
                  'input_pipelines._jpeg is not compiled, and it is what is measured; see input_pipelines/README.md')
  cores = os.sched_getaffinity(0)
  os.sched_setaffinity(0, {min(cores)})
  sizes = [jpeg.size(data, 'image') for data in images]
  boxes = [imagenet.random_box(*size, np.random.default_rng(i)) for i, size in enumerate(sizes)]
  packed = [jpeg.repack(data) or data for data in images]
  peers, missing = installed(FLAGS.image_size, (images[0], boxes[0]))
  own = ours(FLAGS.image_size)
  routes = {'plain': (own, images), 're-packed': (own, packed), **{name: (r, images) for name, r in peers.items()}}
  seconds = {name: [] for name in routes}
  out = np.empty((FLAGS.image_size, FLAGS.image_size, 3), np.uint8)
  for number in progress.told(FLAGS.passes + 1, 'pass'):
    for name, (route, files) in routes.items():
      start = time.process_time()
      for data, box in zip(files, boxes):
        route(data, box, out)
      if number:
        seconds[name].append((time.process_time() - start) / len(images))
  os.sched_setaffinity(0, cores)  # the line names the machine by them
  per_second = {name: round(1 / float(np.median(of)), 1) for name, of in seconds.items()}
  best = max(peers, key=per_second.get)
  covered = np.mean([box[2] * box[3] / (size[0] * size[1]) for box, size in zip(boxes, sizes)])
  for name in ('plain', 're-packed'):
    report('decode', what=name, ours=seconds[name], peer=seconds[best], peer_name=best, unit='s/image',
           images=len(images), crop_share=round(float(covered), 3), images_per_second_per_core=per_second,
           repacked_size=round(sum(map(len, packed)) / sum(map(len, images)), 4), not_installed=missing)
  return 0


if __name__ == '__main__':
  command.script(main, __doc__)
