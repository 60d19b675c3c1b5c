"""Lists of images in CSV and Parquet files: ``ImageList``.

``table`` reads the file, ``columns`` finds out which column is what, ``rows`` checks labels, splits and groups,
``files`` finds the images, and ``datamodule`` feeds them to a task.
"""
