"""Pictures with masks, as training and evaluation read them.

descriptions, datasets    what a folder of data sets holds, and how it is split
picture_folders, coco     data sets: pictures with a mask or label map each; COCO and LVIS annotations
pictures, label_maps      masks and label maps as they are read, and the objects in them
sample, masks, in_memory  one picture with its masks, kept compactly
augmentation, compositing random views of a picture; objects pasted into another picture
innermost                 the pixel of a mask that is farthest from its edge
prompts, batches          prompts drawn from masks; training batches
"""
