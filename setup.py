"""Only what setup.cfg cannot say: the compiled decoder, which installs where there are a compiler and libjpeg-turbo.

Where there are not, installation goes on without it, and input_pipelines.jpeg decodes the same pixels with Pillow.
"""
from setuptools import Extension, setup

PARTS = ('_jpeg.c', '_jpeg_decode.c', '_jpeg_repack.c', '_jpeg_resize.c')

setup(ext_modules=[
    Extension('input_pipelines._jpeg', [f'input_pipelines/{part}' for part in PARTS], libraries=['jpeg'],
              depends=['input_pipelines/_jpeg.h'], extra_compile_args=['-O3', '-fvisibility=hidden'], optional=True)])
