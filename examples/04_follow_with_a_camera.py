"""Follows one object in front of a camera and prints where it is: a loop for a robot.

pip install 'glesam[video]'
python examples/04_follow_with_a_camera.py /dev/video0 200 120 420 360 [FRAMES]

Also takes a video file. The first frame, and with it the box, is shown in first_frame.png.
"""

import sys
from itertools import islice

import av
from PIL import Image

from glesam_runtime import Follower, Predictor, Prompt

try:
    device, *numbers = sys.argv[1:]
    x0, y0, x1, y1, *frames = map(float, numbers)
except ValueError:
    print("usage: python examples/04_follow_with_a_camera.py DEVICE X0 Y0 X1 Y1 [FRAMES]", file=sys.stderr)
    sys.exit(2)
camera = av.open(device, format="v4l2" if device.startswith("/dev/") else None)

with camera, Predictor("nano") as predictor:
    follower = Follower(predictor, [Prompt(box=(x0, y0, x1, y1))])
    stop = int(frames[0]) if frames else None  # without a number until Ctrl-C
    images = (frame.to_ndarray(format="rgb24") for frame in islice(camera.decode(video=0), stop))
    # While one image is used here, another thread takes and encodes the next.
    for index, (image, followed) in enumerate(follower.each(images)):
        if index == 0:
            Image.fromarray(image).save("first_frame.png")
        if followed.lost[0] is not None:
            print(f"frame {index}: lost, {followed.lost[0]}", flush=True)
            continue
        rows, columns = followed.masks[0].nonzero()
        print(f"frame {index}: x {columns.mean():.0f}, y {rows.mean():.0f}, {len(rows)} px", flush=True)
