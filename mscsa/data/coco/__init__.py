"""Detection and instance segmentation data in COCO's format."""
