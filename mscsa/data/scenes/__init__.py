"""Scenes rendered from embedded digits: labels, boxes, instance masks and label maps with no download."""
