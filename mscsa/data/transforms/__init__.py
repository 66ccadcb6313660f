"""From images and what is known of them to tensors, by task."""
