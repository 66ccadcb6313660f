"""What a model takes: latency and memory, measured side by side."""
