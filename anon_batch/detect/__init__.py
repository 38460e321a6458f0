"""Detection of faces and of whatever else a plug-in finds.

Each detector is a file here or a plug-in; `ensemble.build_detector` combines those of a job.
"""
