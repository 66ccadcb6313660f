"""What a model costs: parameters and multiply-adds, beside the paper's figures."""
