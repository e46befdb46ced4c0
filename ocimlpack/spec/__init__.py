"""Values of the OCI specifications: digests, media types, descriptors, manifests, references.

Nothing here does I/O. (Oracle's SDK is also called `oci`; this package is not about it.)
"""
