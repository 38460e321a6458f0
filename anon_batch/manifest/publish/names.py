"""Judge a column, or a key inside one, by its name: whether it looks like something that leads to a person or a source."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

ADDRESS = "address"
DIGEST = "digest"
CAMERA = "camera metadata"
PLACE = "place"
PERSON = "person"
CONTACT = "contact"
ACCOUNT = "account"
DEVICE = "device"
CREDENTIAL = "credential"
FACE = "face data"

_WORDS = {
    ADDRESS: """url urls uri uris link links href http https www website homepage hostname permalink shortcode referer
        referrer path paths filepath filename filenames file basename s3 bucket youtube ytid vimeo""",
    DIGEST: """md md5 sha hash hashes phash ahash dhash whash pdq digest digests checksum crc etag blake xxhash fingerprint
        uuid guid uid""",
    CAMERA: "exif xmp iptc makernote mpf photoshop",
    PLACE: """gps lat latitude lon lng longitude latlon latlng latlong geo geotag geolocation geohash geoip coordinates
        location place venue woeid address addr adresse street postcode postal zip zipcode city town village altitude""",
    PERSON: """author authors artist artists photographer creator owner uploader contributor byline credit credits copyright
        attribution username nickname surname lastname firstname fullname forename realname vorname nachname prenom person
        fname lname celebrity identity patient physician mrn ssn dob birthday birthdate passport iban vin plate plates
        numberplate""",
    CONTACT: """email emails mail mails mailto correo phone phones telephone telefon telefono tel fax whatsapp telegram skype
        wechat contact""",
    ACCOUNT: """user users userid account login handle nsid profile follower followers twitter instagram facebook tiktok
        linkedin snapchat discord weibo flickr tweet cookie session subject""",
    DEVICE: "ip ipv ipaddr ipaddress useragent imei imsi idfa gaid serial mac macaddr ssid bssid",
    CREDENTIAL: "token password passwd secret secrets apikey credential credentials signature auth authorization",
    FACE: "arcface facenet insightface faceid facebox faceboxes facebbox facebboxes",
}
_PAIRS = {
    ADDRESS: "photo-id s-3 img-src image-src image-name img-name photo-name original-name",
    DIGEST: "unique-id",
    CAMERA: """date-captured date-taken date-original date-digitized time-captured time-taken time-original capture-date
        capture-time captured-at captured-on taken-at taken-on taken-time taken-date capture-datetime maker-note""",
    PERSON: """first-name last-name full-name family-name given-name middle-name real-name screen-name people-name
        actor-name player-name customer-name client-name student-name employee-name operator-name
        operators-name driver-name of-birth birth-date birth-year birth-day license-number licence-number national-id tax-id""",
    CONTACT: "mobile-number mobile-phone cell-phone",
    ACCOUNT: """people-id actor-id player-id customer-id client-id member-id student-id employee-id driver-id channel-id
        post-id""",
    DEVICE: "device-id user-agent",
    CREDENTIAL: "api-key access-key secret-key private-key",
}
_GLUED = {  # beginnings and ends of names without separators
    ADDRESS: "-url -urls -uri -filepath -imagepath -filename",
    DIGEST: "-uuid -phash sha256- md5-",
    CAMERA: "exif- datetimeoriginal- datetimedigitized-",
    PLACE: "gps- -latitude -longitude",
    PERSON: "-username -nickname",
    CONTACT: "-email -phonenumber",
    ACCOUNT: "-userid",
    CREDENTIAL: "secret-",
}
_OF_WORD = {word: kind for kind, words in _WORDS.items() for word in words.split()}
_OF_PAIR = {tuple(pair.split("-")): kind for kind, pairs in _PAIRS.items() for pair in pairs.split()}
_OF_WHOLE = {
    **{"".join(pair): kind for pair, kind in _OF_PAIR.items()},
    **{word + end: kind for kind in (PERSON, ACCOUNT) for word in _WORDS[kind].split() for end in ("name", "id")},
    **_OF_WORD,
    "src": ADDRESS,
}
_OF_END = [(*text.split("-"), kind) for kind, texts in _GLUED.items() for text in texts.split()]

_FACE_WORDS = frozenset("face faces facial person persons head heads".split())  # noqa: SIM905  a list is harder to read
_FACE_PARTS = frozenset(
    """bbox bboxes box boxes rect rects landmark landmarks keypoint keypoints embedding embeddings encoding encodings vector
    vectors feature features descriptor descriptors id ids crop crops region regions location locations""".split()  # noqa: SIM905
)
_ABOUT_FIRST = frozenset({"num", "n", "is", "has", "count"})  # a figure about something, not the thing
_ABOUT_LAST = frozenset(
    {"count", "counts", "num", "score", "scores", "similarity", "size", "bytes", "length", "format", "type"}
)
_CLASS_WORDS = frozenset({"class", "classes", "category", "categories", "label", "labels", "cls"})
_CLASSES_AROUND = _CLASS_WORDS | {
    "objects",
    "object",
    "tags",
    "tag",
    "attributes",
    "species",
    "model",
    "licenses",
    "license",
}
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")


@lru_cache(10_000)
def kind_of_name(name: str, parents: tuple[str, ...] = (), *, is_number: bool = False) -> str | None:
    """Return what a column seems to hold, judged by its name; None if the name says nothing of the kind.

    Args:
        name: of the column, or of a key inside it.
        parents: the names around it, the outermost first.
        is_number: whether it holds numbers, which are no names of persons.
    """
    words = _words(name)
    if not words or words[0] in _ABOUT_FIRST or words[-1] in _ABOUT_LAST:
        return None
    if words in (["name"], ["names"]):
        around = {word for parent in parents for word in _words(parent)}
        return None if is_number or around & _CLASSES_AROUND else PERSON
    if words == ["long"]:
        return PLACE if is_number else None
    if (words[-1] == "faces" and not is_number) or (
        _FACE_WORDS.intersection(words) and _FACE_PARTS.intersection(words)
    ):
        return FACE
    kind = _kind(words)
    if words[-1] in (*_CLASS_WORDS, "model") and kind not in (PERSON, ACCOUNT, CAMERA):  # e.g. the class of a place
        return None
    if kind == ADDRESS and words[0] in ("license", "licence"):  # its value tells the text of a licence from a source
        return None
    return kind


def _words(name: str) -> list[str]:
    return [word.lower() for word in _PART.findall(unicodedata.normalize("NFKC", name))]


def _kind(words: list[str]) -> str | None:
    whole = "".join(words)
    kinds = [
        *(_OF_WORD.get(word) for word in words),
        *(_OF_PAIR.get(pair) for pair in pairwise(words)),
        _OF_WHOLE.get(whole),
        *(kind for first, last, kind in _OF_END if whole.startswith(first) and whole.endswith(last)),
    ]
    return next((kind for kind in kinds if kind is not None), None)
