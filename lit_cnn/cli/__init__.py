"""The command line: the only package that spells flags.

:mod:`~lit_cnn.cli.main` dispatches to one file a command in :mod:`~lit_cnn.cli.commands`. Importing this package, or
asking for help, imports the standard library only.
"""
