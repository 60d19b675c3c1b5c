"""Export of a trained network with its preprocessing, and the proof that the file gives the answers that were tested.

``graph`` is what every format holds: uint8 images in, probabilities out. ``formats`` lists the formats, one file each,
and opens what they wrote. ``proof`` compares the answers of a file with those of the checkpoint; ``exporter`` does it
all.
"""
