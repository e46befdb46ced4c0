"""Where content lives: memory, an image layout on disk, a registry. Each is a `Store`."""
