"""What a model sees and finds, drawn."""
