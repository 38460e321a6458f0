"""Which names of columns are published: the habits of known datasets, with the false alarms that must not happen."""

from __future__ import annotations

import pytest

from anon_batch.manifest.publish.names import kind_of_name

WITHHELD = {
    "address": """url URL urls image_url imageUrl IMAGE_URL OriginalURL OriginalLandingURL Thumbnail300KURL coco_url pageurl
        downloadurl uri source_uri href link permalink page_link website file_name filename FileName originalFilename filepath
        image_path path s3_bucket s3_key image_name basename SourceFile photo_id photoid http_referer youtube_id ｕｒｌ""",
    "digest": "sha256 SHA-1 md5 OriginalMD5 source_sha256 phash image_phash dhash hash checksum etag uuid uid ImageUniqueID",
    "camera metadata": "exif EXIF exif_data xmp iptc maker_note DateTimeOriginal date_captured datetaken taken_at capture_time "
    "photoTakenTime EXIF:Model",
    "place": "lat latitude GPSLatitude gps gps_info gpsimgdirection lon lng longitude latlon geo geotag geolocation location "
    "city address street zip_code postcode venue altitude coordinates",
    "person": "author Author AuthorProfileURL artist photographer creator owner ownername uploader username "
    "unickname first_name lastName full_name screen_name copyright credit person celebrity identity patient_id PatientName dob "
    "PatientBirthDate driver_name ReferringPhysicianName date_of_birth plate_number licence_plate name",
    "contact": "email e-mail Email_Address mail phone phone_number PhoneNumber telephone mobile_number",
    "account": "user user_name userEmail user_agent user_id userid userId account nsid profile instagram twitter_handle "
    "subject_id post_id flickr_id",
    "device": "ip ip_address ipAddress ipv4 client_ip mac_address device_id imei serial_number BodySerialNumber",
    "credential": "token access_token api_key apikey password secret secretoriginal signature credentials",
    "face data": "face_bboxes faces source_faces face_boxes faceBoundingBox_bbox face_landmarks face_embedding face_id "
    "person_bbox arcface",
}
PUBLISHED = """label labels label_name class class_name class_id name_id cls txt json caption captions text TEXT title description
    key status error_message width height original_width original_height WIDTH HEIGHT aspect_ratio license LICENSE
    LicenseName license_url clip_b32_similarity_score clip_l14_similarity_score similarity NSFW punsafe pwatermark
    AESTHETIC_SCORE SAMPLE_ID id image source source_image_id category category_id supercategory area iscrowd bbox
    boxes objects keypoints Subset Rotation Confidence LabelName XMin OriginalSize split fold age gender race species
    scientific_name common_name model make color lang language score scores num_faces face_count has_gps is_user
    n_persons url_count file_size file_format location_class place_label geometry latency lateral hourly shape
    clip ship relationship photo camera mask depth timestamp year month prompt negative_prompt seed steps sampler
    attributes tags domain view pose phone_model src_dataset"""


@pytest.mark.parametrize(("kind", "names"), WITHHELD.items())
def test_names_that_lead_to_a_source_or_a_person_are_withheld(kind: str, names: str) -> None:
    found = {name: kind_of_name(name) for name in names.split()}
    assert found == dict.fromkeys(names.split(), kind)


def test_names_of_labels_texts_and_figures_are_published() -> None:
    found = {name: kind_of_name(name) for name in PUBLISHED.split()}
    assert {name: kind for name, kind in found.items() if kind is not None} == {}


def test_what_a_name_means_depends_on_what_is_around_it() -> None:
    assert kind_of_name("name", ("category",)) is None
    assert kind_of_name("name", ("objects",)) is None
    assert kind_of_name("name", ("uploads",)) == "person"
    assert kind_of_name("name", is_number=True) is None
    assert kind_of_name("faces", is_number=True) is None
    assert kind_of_name("long", is_number=True) == "place"
    assert kind_of_name("long") is None
