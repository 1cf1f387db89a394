"""Trainers of the models that use anonymized data: keypoints, instances."""
