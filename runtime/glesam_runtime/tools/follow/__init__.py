"""Follows objects through the frames of a video, a folder or a camera: the last masks prompt the next frame.

follower    one step: a frame in, masks out, and which objects are lost
frames      a frame, and a source of frames
sources     opens a folder, a video or a camera
video       videos and cameras, read and written by PyAV, which only this file imports
job         glesam-run --follow: all frames, an overlay, a line of JSON for each
"""
