"""What a bucket store needs of an object store, and the object stores that have it."""
