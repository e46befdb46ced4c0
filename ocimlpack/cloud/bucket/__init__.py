"""A bucket for models: what it is to be, what stands, the way from one to the other.

`spec` says what it is to be, `given` and `file` how that is written; `standing` reads what stands,
`plan` compares without any I/O, `apply` and `removal` do what is to be done. `terraform` and
`pulumi` write the same bucket as code.
"""
