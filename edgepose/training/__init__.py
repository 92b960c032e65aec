"""Training of Lightweight OpenPose on any COCO-format keypoint file. Needs the extra `train`.

    python -m edgepose.training --annotations A.json --images FOLDER_OR_TARS --output RUN --minutes 120

The way of a crop: `annotations` reads and checks the labels, `images` the photos, `dataset` draws batches, `augmentation`
cuts and colours them on the device, `targets` draws what is to be learnt, `loop` learns it, `state` keeps it, `validation`
measures it on held-out photos, `curves` records it.
"""
