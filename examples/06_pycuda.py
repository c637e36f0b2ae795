"""Segments from PyCUDA code, without a copy: python examples/06_pycuda.py BUNDLE photo.jpg 20 5 470 510

The predictor is opened in PyCUDA's context, works on PyCUDA's stream and reads PyCUDA's arrays. It needs a
GPU, the bundle's engines (glesam-build BUNDLE --backend tensorrt), and pip install 'glesam[pycuda]'.
"""

import sys

import pycuda.autoinit  # makes a context: open the predictor afterwards, in the same thread
import pycuda.driver as cuda
from pycuda import gpuarray

from glesam_runtime import Predictor, Prompt, read_image
from glesam_runtime.preprocess import preprocess

try:
    bundle, path, *box = sys.argv[1:]
    x0, y0, x1, y1 = map(float, box)
except ValueError:
    print("usage: python examples/06_pycuda.py BUNDLE PHOTO X0 Y0 X1 Y1", file=sys.stderr)
    sys.exit(2)

stream = cuda.Stream()
with Predictor.from_bundle(bundle, backend="tensorrt", stream=stream) as predictor:
    model = predictor.manifest
    # Your own kernels may do this: float32 [1,3,S,S], resized and normalized.
    tensor, geometry = preprocess(read_image(path), model.image_size, model.pixel_mean, model.pixel_std)
    image = gpuarray.to_gpu_async(tensor, stream=stream)
    predictor.set_tensor(image, geometry)  # queued on your stream; nothing is copied
    prediction = predictor.predict_on_device([Prompt(box=(x0, y0, x1, y1))])

    logits = cuda.pagelocked_empty(prediction.low_res_masks.shape, "float32")  # [1,S/4,S/4]
    cuda.memcpy_dtoh_async(logits, prediction.low_res_masks.address, stream)
    stream.synchronize()
    mask = predictor.mask_resizer.masks(logits, model.mask_threshold)[0]

print(f"{mask.sum()} px, in the context of {pycuda.autoinit.device.name()}")
