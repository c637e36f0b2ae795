"""Masks in other programs' forms: boxes, polygons, COCO RLE, JSON, supervision's Detections.

prediction    Prediction, whose methods give them
polygons      outlines of a mask
schema        the JSON of a mask, a picture and a run, as Python and as a JSON Schema
"""
