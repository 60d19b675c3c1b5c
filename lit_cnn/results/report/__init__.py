"""report.html: what a run was trained on, how it went and what its scores are worth, as one page that needs no network.

``facts`` reads the files of a run folder, ``evaluation`` those of its newest test, ``page`` fills the template. Nothing
here needs torch, so that the page of any run, also an old one, is made in about a second.
"""
