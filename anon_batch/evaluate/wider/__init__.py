"""The easy, medium and hard evaluation of WIDER FACE.

Source: S. Yang, P. Luo, C. C. Loy, X. Tang, WIDER FACE: A Face Detection Benchmark, CVPR 2016, and the evaluation code that comes
with the data set (`eval_tools`), whose rules the modules follow step by step.
"""
