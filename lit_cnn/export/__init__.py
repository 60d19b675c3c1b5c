"""Export of a trained network with its preprocessing, and the proof that the file gives the answers that were tested.

``graph`` is what the file of a classifier holds: uint8 images in, probabilities out; that of an image restorer is in
``restoration``, with its proof. ``formats`` lists the formats, one file each, and opens what they wrote. ``proof``
compares the answers of a classifier's file with those of the checkpoint; ``exporter`` does it all.
"""
