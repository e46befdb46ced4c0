"""What a model is: its files, their formats, and how they become an artifact and files again."""
