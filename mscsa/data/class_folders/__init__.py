"""Images in class folders: ImageNet's layout."""
