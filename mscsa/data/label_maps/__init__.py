"""Images with label maps: index PNG beside a list of classes, and ADE20K's own layout."""
