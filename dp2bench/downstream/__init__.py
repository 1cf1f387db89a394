"""Trainers of the models that use anonymised data: keypoints, instances."""
