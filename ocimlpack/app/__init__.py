"""What the program does, one function a command: plain arguments in, a frozen result out.

They print nothing and ask nothing; progress goes to the `report` callable, and failure is an
`OcimlpackError`. The command line and the public Python API are both made of them.
"""
