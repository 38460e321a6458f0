from __future__ import annotations

from anon_batch.label_words import join_nouns, noun_of


def test_labels_are_called_by_what_they_are():
    assert [noun_of(label) for label in ("face", "licence_plate", "dog")] == ["faces", "number plates", "regions “dog”"]


def test_faces_come_first_and_every_label_once():
    assert join_nouns(["licence_plate", "face", "face"]) == "faces and number plates"
    assert join_nouns(["face"]) == "faces"
    assert join_nouns(["person", "licence_plate", "face"], "or") == "faces, number plates or persons"
