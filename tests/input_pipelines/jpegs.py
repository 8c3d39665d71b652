"""JPEGs by code: small ones like photographs, ways to damage them, and what else lies in files named .JPEG."""
import io
import warnings

import numpy as np
from PIL import Image

from input_pipelines import jpeg_layout


def picture(height, width, mode='RGB', seed=0):
  """An Image with shading, edges and noise, as photographs have."""
  random = np.random.default_rng(seed)
  y, x = np.mgrid[:height, :width]
  shades = np.stack([128 + 80 * np.sin(x / 9 + c) + 40 * np.cos(y / (6 + c)) for c in range(3)], -1)
  shades += 50 * ((x // 13 + y // 11) % 2)[..., None] + random.normal(0, 8, (height, width, 3))
  return Image.fromarray(shades.clip(0, 255).astype(np.uint8)).convert(mode)


def encode(image, kind='JPEG', **options) -> bytes:
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def jpeg_bytes(height, width, mode='RGB', seed=0, **options) -> bytes:
  return encode(picture(height, width, mode, seed), **options)


def by_pillow(data) -> np.ndarray | None:
  """uint8 [H, W, 3] as Pillow alone decodes it, in the plainest way; None where it does not."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    try:
      return np.array(Image.open(io.BytesIO(data)).convert('RGB'))
    except Exception:
      return None


# A picture of every sampling and size that takes another way through the decoder.
CLEAN = {
    'grey': lambda: jpeg_bytes(75, 101, 'L'),
    '4:4:4': lambda: jpeg_bytes(75, 101, subsampling=0),
    '4:2:2': lambda: jpeg_bytes(75, 101, subsampling=1),
    '4:2:0': lambda: jpeg_bytes(75, 101, subsampling=2),
    '4:2:0, blocks fit': lambda: jpeg_bytes(64, 128),
    'progressive 4:2:0': lambda: jpeg_bytes(90, 131, progressive=True),
    'progressive 4:4:4': lambda: jpeg_bytes(50, 67, subsampling=0, progressive=True),
    'with restart markers': lambda: jpeg_bytes(70, 90, restart_marker_blocks=5),
    'RGB without YCbCr': lambda: jpeg_bytes(40, 56, keep_rgb=True),
    'finest': lambda: jpeg_bytes(40, 56, quality=100, subsampling=0),
    'coarsest': lambda: jpeg_bytes(80, 120, quality=1),
    '1 x 1': lambda: jpeg_bytes(1, 1),
    '7 x 5': lambda: jpeg_bytes(7, 5),
    '3 x 4, grey': lambda: jpeg_bytes(3, 4, 'L'),
    '33 x 33, one column beyond a block': lambda: jpeg_bytes(33, 33),
    '20000 x 2': lambda: jpeg_bytes(20000, 2),
    '2 x 20000': lambda: jpeg_bytes(2, 20000),
    'a prime number of blocks, 4:4:4': lambda: jpeg_bytes(40, 375, subsampling=0),
    'a prime number of blocks, grey': lambda: jpeg_bytes(40, 101, 'L'),
    'a prime number of blocks, 4:2:0': lambda: jpeg_bytes(40, 203),
}


def find(data, marker) -> int:
  """Offset of a marker in the header."""
  return next(at for found, at, _ in jpeg_layout.markers(data) if found == marker)


def patched(data, at, new) -> bytes:
  return data[:at] + bytes(new) + data[at + len(new):]


def without(data, marker) -> bytes:
  """The JPEG without any segment of that marker."""
  gone = [(at, end) for found, at, end in jpeg_layout.markers(data) if found == marker]
  for at, end in reversed(gone):
    data = data[:at] + data[end:]
  return data


def inserted(data, marker, content) -> bytes:
  """The JPEG with one more segment, behind SOI."""
  return data[:2] + bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2) + content + data[2:]


def framed(data, **new) -> bytes:
  """The JPEG with a frame header that says otherwise: marker, precision, height, width, count, sampling."""
  at = find(data, 0xC0)
  places = {'marker': (1, 1), 'precision': (4, 1), 'height': (5, 2), 'width': (7, 2), 'count': (9, 1),
            'sampling': (11, 1)}
  for name, value in new.items():
    offset, count = places[name]
    data = patched(data, at + offset, value.to_bytes(count))
  return data


def restarts_in_wrong_order() -> bytes:
  data = jpeg_bytes(64, 96, restart_marker_blocks=4)
  return data.replace(b'\xff\xd1', b'\xff\xd5', 1)


def _damaged(base: bytes) -> dict[str, bytes]:
  scan, random = find(base, 0xDA), np.random.default_rng(5)
  middle = scan + (len(base) - scan) // 2
  return {
      'cut in the first header': base[:9],
      'cut in the tables': base[:scan - 40],
      'cut before the scan': base[:scan],
      'cut behind the scan header': base[:scan + 14],
      'cut in the middle': base[:middle],
      'cut near the end': base[:-20],
      'cut by the last marker': base[:-2],
      'cut in the last marker': base[:-1],
      'cut and closed': base[:middle] + b'\xff\xd9',
      'no SOI': base[2:],
      'zeros behind': base + bytes(3000),
      'rubbish behind': base + random.integers(0, 256, 500, np.uint8).tobytes(),
      'two images': base + base,
      'claims 65500 x 65500': framed(base, height=65500, width=65500),
      'claims 2000 x 3000': framed(base, height=2000, width=3000),
      'claims one row more of blocks': framed(base, height=64 + 16),
      'height 0': framed(base, height=0),
      'width 0': framed(base, width=0),
      'arithmetic': framed(base, marker=0xC9),
      'lossless': framed(base, marker=0xC3),
      'hierarchical': framed(base, marker=0xC5),
      'progressive in name only': framed(base, marker=0xC2),
      '12 bits': framed(base, precision=12),
      'two components': framed(base, count=2),
      'no components': framed(base, count=0),
      'sampling 0': framed(base, sampling=0),
      'sampling 15 x 15': framed(base, sampling=0xFF),
      'no Huffman tables': without(base, 0xC4),
      'no quantisation tables': without(base, 0xDB),
      'impossible Huffman table': patched(base, find(base, 0xC4) + 5, b'\xff' * 16),
      'other Huffman table': patched(base, find(base, 0xC4) + 21, bytes(reversed(range(12)))),
      'no frame': without(base, 0xC0),
      'two frames': base[:scan] + base[find(base, 0xC0):],
      'scan of an unknown component': patched(base, scan + 5, b'\x09'),
      'a segment longer than the file': patched(base, find(base, 0xDB) + 2, b'\xff\xff'),
      'a segment shorter than its length': patched(base, find(base, 0xDB) + 2, b'\x00\x01'),
      'bytes before a marker': base[:20] + b'\0\1\2' + base[20:],
      'bytes before EOI': base[:-2] + b'\x12\x34' + base[-2:],
      'a marker within the scan': patched(base, middle, b'\xff\xd9'),
      'zeros in the scan': patched(base, middle, bytes(60)),
      'flips in the scan': patched(base, middle, random.integers(0, 255, 40, np.uint8).tobytes()),
      'restart markers in wrong order': restarts_in_wrong_order(),
      'broken EXIF': inserted(base, 0xE1, b'Exif\0\0MM\0*\xff\xff\xff\xff'),
      'EXIF cut short': inserted(base, 0xE1, b'Exif\0\0II'),
      'broken MPF': inserted(base, 0xE2, b'MPF\0II*\0\xff\0\0\0'),
      'broken ICC profile': inserted(base, 0xE2, b'ICC_PROFILE\0\3\1nothing'),
      'broken Photoshop block': inserted(base, 0xED, b'Photoshop 3.0\x008BIM\x03\xed\0\0\xff\xff\xff\xff'),
      'short JFIF': inserted(without(base, 0xE0), 0xE0, b'JFIF\0'),
      'comment of 64 KB': inserted(base, 0xFE, bytes(65533)),
      'turned by EXIF': inserted(base, 0xE1, b'Exif\0\0MM\0*\0\0\0\x08\0\x01'
                                             b'\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'),
  }


def _others() -> dict[str, bytes]:
  palette = picture(30, 40).quantize(16)
  deep = Image.fromarray(np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) * 50)
  png, adobe = encode(picture(30, 40), 'PNG'), jpeg_bytes(30, 40, 'CMYK')
  return {
      'CMYK': adobe,
      'YCCK': patched(adobe, find(adobe, 0xEE) + 15, b'\2'),
      'PNG': png,
      'PNG cut short': png[:len(png) // 2],
      'PNG that claims 60000 x 60000': patched(png, 16, (60000).to_bytes(4) * 2),
      'PNG of 16 bits': encode(deep, 'PNG'),
      'PNG with a palette': encode(palette, 'PNG'),
      'PNG with transparency in its palette': encode(palette, 'PNG', transparency=bytes(range(16))),
      'PNG with alpha': encode(picture(30, 40, 'RGBA'), 'PNG'),
      'PNG of 1 bit': encode(picture(30, 40, '1'), 'PNG'),
      'PNG, grey': encode(picture(30, 40, 'L'), 'PNG'),
      'GIF': encode(picture(30, 40), 'GIF'),
      'moving GIF': encode(palette, 'GIF', save_all=True, append_images=[picture(30, 40, seed=1).quantize(16)]),
      'WebP': encode(picture(30, 40), 'WEBP'),
      'BMP': encode(picture(30, 40), 'BMP'),
      'TIFF': encode(picture(30, 40), 'TIFF'),
      'nothing': b'',
      'one byte': b'\xff',
      'SOI': b'\xff\xd8',
      'SOI and EOI': b'\xff\xd8\xff\xd9',
      'zeros': bytes(1000),
      'random': np.random.default_rng(3).integers(0, 256, 5000, np.uint8).tobytes(),
      'random behind SOI': b'\xff\xd8\xff' + np.random.default_rng(4).integers(0, 256, 5000, np.uint8).tobytes(),
      'filling behind SOI': b'\xff\xd8' + b'\xff' * 5000,
      'a page': b'<!DOCTYPE html><html>404</html>',
      'PostScript': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n',
  }


def odd() -> dict[str, bytes]:
  """Name -> bytes of what a data set may hold beside clean JPEGs."""
  progressive = jpeg_bytes(64, 96, progressive=True)
  half = progressive[:len(progressive) // 2]
  return {**_damaged(jpeg_bytes(64, 96)), **_others(), 'progressive, cut in the middle': half,
          'progressive, cut and closed': half + b'\xff\xd9'}
