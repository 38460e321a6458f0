"""Which texts are published."""

from __future__ import annotations

import time

import pytest

from anon_batch.manifest.publish.values import kind_of_text, kinds_of_texts

DIGEST = "d41d8cd98f00b204e9800998ecf8427e"
WITHHELD = {
    "address": [
        *[
            "https://a.b/c.jpg?token=1",
            "http:\\/\\/a.b",
            "s3://b/k",
            "https%3A%2F%2Fa.b",
            "www.x.de",
            "flickr.com/photos/123",
        ],
        *[
            "example.com",
            "bit.ly/x",
            "t.co/3xYz",
            "see youtu.be/abc for more",
            "see http://x.y now",
            "ftp://x",
            "mailto:x",
            "//cdn.example.com/a",
            "data:image/png;base64,AAAA",
        ],
        "https：//a.b/c",
        *["/home/jane/x", "/tmp", "C:\\Users\\jane", "\\\\srv\\x", "~/x", "../x", "see /var/www/x for", "a/b/c.jpg"],
        *["IMG_2034.jpg", "photo IMG_2034.JPG here", "DSC 01.jpeg", "file:x"],
    ],
    "digest": [
        *["3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ", "BTAXLOOA6G3KQMODTHRGS5ZGME", "btaxlooa6g3kqmodthrgs5zgme"],
        *[
            DIGEST,
            DIGEST.upper(),
            "000a1249af2bc5f0",
            "550e8400-e29b-41d4-a716-446655440000",
            f"the hash {DIGEST} of it",
        ],
        *["sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="],
        *[
            "I+6q9zEc3vVoLcvbPTM6mA==",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "0ujtsYcgvSTl8PAuAdqWYSMnLOv",
            "507f1f77bcf86cd799439011",
            "0x00ff00ff00ff00ff",
            "aGVsbG8gd29ybGQgMTIzNDU2Nzg5MCBoZWxsbyB3b3JsZA1",
        ],
    ],
    "contact": [
        *["jane＠example.com", "０３０ 1234567"],
        *[
            "jane@example.com",
            "write to jane.doe+x@mail.example.co.uk!",
            "jane (at) example (dot) com",
            "jané@exämple.com",
            "jane @ example.com",
            "jane @example . com",
            "jane at example dot com",
            "write to jane at mail.example.org",
        ],
        *[
            "+49 30 1234567",
            "(555) 123-4567",
            "555-123-4567",
            "030 1234567",
            "06 12 34 56 78",
            "tel: 030",
            "0049 30 123456",
            "(030) 123 456 78",
            "030 123 456 78",
            "0171/123 45 67",
        ],
    ],
    "place": [
        *["52.52,13.40", "-33.87, 151.21", "52 deg 31' 12.00\" N", "52º31'12\"N"],
        *["52.5200, 13.4050", "(52.5200 13.4050)", "52.5200° N", "52° 31' 12\"", "POINT (13.4 52.5)", "geo:52,13"],
        *["GPSLatitude: 52.5", "lat=52.51", "52.52N 13.40E", "lat 52.5 lon 13.4", "9F4MGC22+22"],
    ],
    "person": [
        *[
            "Photo by Jane",
            "a cat. Photo by Jane Doe / Example",
            "Credit: Jane Doe",
            "© 2012 Jane Doe",
            "(c) Jane",
            "courtesy of Jane Doe",
        ],
        *["123-45-6789", "4111 1111 1111 1111", "GB29NWBK60161331926819"],
    ],
    "device": ["192.168.0.1", "from 10.0.0.7 today", "fe80::1", "2001:db8:0:0:0:0:0:1", "00:1B:44:11:3A:B7"],
    "account": ["@jane_doe", "photo by @jane_doe", "12345678@N00"],
    "credential": [
        *[
            "AKIAIOSFODNN7EXAMPLE",
            "eyJhbGciOiJIUzI1NiJ9.e30.x",
            "-----BEGIN RSA PRIVATE KEY-----",
            "password = hunter2",
        ],
        *["X-Amz-Signature=abc", "token=abc123", "Bearer abcdef123", "pwd=hunter2", "xoxb-1234-5678-abcdefgh"],
    ],
}
PUBLISHED = [
    *[
        "cat",
        "golden retriever",
        "Great Dane",
        "n01440764",
        "n01440764/tench",
        "a photo of a cat, 3.5 x 2.1 m",
        "and/or",
        "24/7",
    ],
    *[
        "text/plain",
        "12:30",
        "12:30:45",
        "2020-01-01T12:30:45",
        "2019/04/05",
        "v1.2.3",
        "0.123456,0.654321",
        "3.14159",
        "10°C",
    ],
    *[
        "this_is_a_very_long_class_name_with_underscores_and_more_2",
        "12345678901234567890",
        "and @ the beach",
        "90° angle",
    ],
    *[
        "AC/DC",
        "deadbeef",
        "1 2 3 4",
        "[1, 2, 3]",
        "1.0000000000000002e+16",
        "http",
        "Dr. Smith. He",
        "e.g. this",
        "U.S.A",
        "No. 555",
        "rock'n'roll",
    ],
    *[
        "St. Petersburg",
        "point of view",
        "2001: A Space Odyssey",
        "100%",
        "C: drive",
        "C++",
        "file under",
        "I am at home (dot)",
    ],
    *[
        "00012345",
        "1,234,567",
        "tel aviv",
        "+1",
        "B&W",
        "#sunset",
        "AAAAAAAAAAAAAAAA",
        "Mr.Jones",
        "tiger.",
        "in.the.mood",
    ],
    *[
        "a.m./p.m.",
        "women/men",
        "/imagine a cat",
        "/m/0dzct",
        "https://creativecommons.org/licenses/by/2.0/",
        "",
        "  ",
        "🙂 猫",
    ],
    *[
        "000000012",
        "000000000139",
        "Chevrolet-Silverado-2012",
        "BMW_3_Series_Sedan_2012",
        "1234 5678",
        "2012-05-06",
        "0" * 26,
        "AbstractExpressionism1950s",
        "vit_base_patch16_224",
        "CLIP-ViT-B-32-laion2B",
        "UNLIKELY",
        "?",
        "0.31",
        "-1",
        "true",
        "2013-11-14 17:02:52",
        "3 of 4",
        "50/50",
        "1920x1080",
        "4:3",
        "ISO 100",
    ],
    *[
        "a photo by the river",
        "made by hand",
        "we are at home. In summer it rains",
        "he looked at me. it was late",
        "dogs @ play",
        "a photo of Paris",
        "Photo: three dogs",
        "2012 034 567",
        "abcdefghijklmnopqrstuvwxyz",
        "(c) 2012",
        "0 12 34",
        "w/o hat",
        "km/h",
        "pneumonoultramicroscopicsi",
    ],
]


@pytest.mark.parametrize(("kind", "texts"), WITHHELD.items())
def test_texts_that_lead_to_a_source_or_a_person_are_withheld(kind: str, texts: list[str]) -> None:
    assert {text: kind_of_text(text) for text in texts} == dict.fromkeys(texts, kind)
    assert kinds_of_texts(texts) == dict.fromkeys(texts, kind)  # what finds suspects fast misses none


def test_labels_captions_numbers_and_dates_are_published() -> None:
    assert kinds_of_texts(PUBLISHED) == {}
    assert [text for text in PUBLISHED if kind_of_text(text)] == []


@pytest.mark.parametrize("piece", ["a", "/", "a.", "1:", "@", "0", "A1a", "1.1111 ", "//a", "a@b", "(at)", "\\", "%40"])
def test_a_long_text_is_judged_in_bounded_time_and_a_longer_one_is_not_published(piece: str) -> None:
    begin = time.perf_counter()
    kinds_of_texts([piece * (99_999 // len(piece))])
    assert time.perf_counter() - begin < 3
    assert kinds_of_texts(["a" * 100_001]) == {"a" * 100_001: "too long to check"}
