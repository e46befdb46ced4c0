"""Oracle Cloud: who one is there, its container registry, and its model catalog.

The SDK is large, an extra (`ocimlpack[oci]`), and imported by `_sdk` alone, when a call needs it.
"""
