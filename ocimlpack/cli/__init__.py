"""The command line: arguments in, the app's functions called, results and errors made visible.

Nothing here decides anything about models, registries or stores. The modules of the commands import
the app when a command runs, so that help, completion and `--version` stay fast.
"""
