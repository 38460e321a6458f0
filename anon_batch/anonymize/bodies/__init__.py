"""A jointed figure drawn from the keypoints of a body."""
